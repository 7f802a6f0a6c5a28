"""A server that answers slowly, without an end or nonsense costs a caller its deadline
at most, and the pool nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import time
import types
import typing as t
from collections.abc import Iterator

import pymysql
import pytest

from flask_mysqlpool import Pool
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool.diagnostics import server_info
from flask_mysqlpool.driver.packets import MAX_LIMITED_BYTES

from ...support.driver_connections import length_encoded
from ...support.driver_connections import packet
from ...support.pools import settings_for
from ...support.scripted_server import Answer
from ...support.scripted_server import AT_ONCE
from ...support.scripted_server import column
from ...support.scripted_server import eof
from ...support.scripted_server import greeting
from ...support.scripted_server import IN_TRANS
from ...support.scripted_server import ok
from ...support.scripted_server import result
from ...support.scripted_server import scripted_pool
from ...support.scripted_server import ScriptedServer

URL = "mysql://app:secret@127.0.0.1/bank"
TIMEOUT = 2.0
TOO_MUCH = 4 * 1024 * 1024  # bytes: who reads so many reads for ever
MORE_RESULTS = 0x08


def make_pool(**settings: t.Any) -> Pool:
    keys: dict[str, t.Any] = {"timeout": TIMEOUT, "enable_cleartext_plugin": True}
    return scripted_pool(**{**keys, **settings})


# Answers that take for ever


def numbered(
    first: int, *packets: bytes, again: t.Iterable[bytes] = ()
) -> Iterator[bytes]:
    """Packets numbered from ``first``, followed by others again and again."""
    every = itertools.chain(packets, itertools.cycle(again))
    for number, data in enumerate(every, first):
        yield packet(number & 0xFF, data)


def bounded(pieces: t.Iterable[bytes | float]) -> Iterator[bytes | float]:
    sent = 0
    for piece in pieces:
        sent += 0 if isinstance(piece, float) else len(piece)
        assert sent < TOO_MUCH, "it goes on to read"
        yield piece


def drip(good: Answer) -> Iterator[bytes | float]:
    for byte in b"".join(t.cast("list[bytes]", list(good))):
        yield 1.0
        yield bytes([byte])


def trickle(pieces: Iterator[bytes]) -> Iterator[bytes | float]:
    for piece in pieces:
        yield 0.3
        yield piece


def big_packets(first: int) -> Iterator[bytes]:
    for number in itertools.count(first):
        yield b"\xff\xff\xff" + bytes([number & 0xFF])
        yield from itertools.repeat(b"x" * 0xFFFF, 256)
        yield b"x" * 0xFF


ROW = length_encoded(b"x" * 200)
PLUGIN = b"\xfemysql_native_password\0" + b"a" * 20
ENDLESS: dict[str, t.Callable[[int], Iterator[bytes]]] = {
    "rows": lambda n: numbered(n, b"\1", column(), eof(0)[4:], again=[ROW]),
    "columns": lambda n: numbered(n, b"\xfd\xff\xff\xff", again=[column()]),
    "results": lambda n: numbered(n, again=[ok(status=MORE_RESULTS)[4:]]),
    "warnings": lambda n: numbered(n, again=[b"\0\0\0\x08\0\xff\xff"]),
    "empty packets": lambda n: numbered(n, again=[b""]),
    "packets of 16 MB": big_packets,
    "more for the plugin": lambda n: numbered(n, again=[b"\1\3"]),
    "prompts": lambda n: numbered(
        n, b"\xfedialog\0\0Password: ", again=[b"\0Password: "]
    ),
    "other plugins": lambda n: numbered(n, again=[PLUGIN]),
}
FIRST = {"greeting": 0, "login": 2}  # number of the first packet of the answer


def endless(what: str, point: str) -> t.Callable[[Answer], Answer]:
    return lambda good: bounded(ENDLESS[what](FIRST.get(point, 1)))


AT_OPEN = ["greeting", "login", "SET NAMES", "SELECT CURRENT_ROLE"]


def check_failed(pool: Pool, script: ScriptedServer, began: float) -> None:
    """Check that a checkout failed in time, and that nothing of it is left."""
    assert script.clock.now <= began + TIMEOUT + 0.002
    assert max(sock.received for sock in script.sockets) <= MAX_LIMITED_BYTES + AT_ONCE
    stats = pool.stats()
    assert (stats.size, stats.in_use, stats.idle) == (0, 0, 0)
    assert not script.open


@pytest.mark.parametrize("point", AT_OPEN)
@pytest.mark.parametrize("what", ["silence", "drip", "trickle", *ENDLESS])
def test_opening_keeps_deadline(script: ScriptedServer, point: str, what: str) -> None:
    answer: t.Any = endless(what, point) if what in ENDLESS else []
    if what == "drip":
        answer = drip
    elif what == "trickle":
        answer = trickle(ENDLESS["rows"](FIRST.get(point, 1)))
    script.answer_at(point, answer)
    pool, began = make_pool(), script.clock.now
    with pytest.raises(PoolTimeout):
        pool.connection()
    check_failed(pool, script, began)


@pytest.mark.parametrize("point", ["ROLLBACK", "ping"])
@pytest.mark.parametrize("what", ["drip", *ENDLESS])
def test_validation_keeps_deadline(
    script: ScriptedServer, point: str, what: str
) -> None:
    pool = make_pool(ping_after=0 if point == "ping" else 60)
    script.answer_at(point, drip if what == "drip" else endless(what, point))
    with pool.connection() as db, db.cursor() as cursor:
        cursor.execute("INSERT" if point == "ROLLBACK" else "SELECT 1")
    began = script.clock.now
    with pool.connection() as db:
        assert db.open
    assert len(script.sockets) == 2, "the first connection was lent again"
    assert script.clock.now <= began + TIMEOUT
    assert script.sockets[0].received <= MAX_LIMITED_BYTES + AT_ONCE
    assert script.sockets[0] not in script.open


def test_query_of_a_user_has_no_such_limits(script: ScriptedServer) -> None:
    long = [result(*[(b"x" * 1000,)] * (2 * MAX_LIMITED_BYTES // 1000))]
    script.answer_at("SELECT 1", [10 * TIMEOUT, *long])
    pool = make_pool()
    with pool.connection() as db, db.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert sum(len(row[0]) for row in cursor) > MAX_LIMITED_BYTES
    pool.close()


def test_small_answer_is_read_at_once(script: ScriptedServer) -> None:
    pool = make_pool()
    with pool.connection() as db, db.cursor() as cursor:
        before = script.sockets[0].reads
        cursor.execute("SELECT 1")
        assert script.sockets[0].reads == before + 1
    pool.close()


@pytest.mark.parametrize("what", ["drip", "rows"])
def test_check_keeps_its_deadline(
    script: ScriptedServer, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = types.SimpleNamespace(monotonic=script.clock, time=time.time)
    monkeypatch.setattr(server_info, "time", clock)
    point = "SELECT @@"
    script.answer_at(point, drip if what == "drip" else endless(what, point))
    began = script.clock.now
    with pytest.raises(pymysql.err.OperationalError, match="timed out|longer than"):
        server_info.query_server(settings_for(URL, ssl_disabled=True))
    assert script.clock.now <= began + server_info.QUERY_TIMEOUT + 0.002
    assert not script.open


# Answers that are none

NONSENSE: dict[str, bytes] = {
    "an empty packet": packet(1, b""),
    "half an OK packet": packet(1, b"\0"),
    "an OK packet with half a message": ok(rest=b"\xfc"),
    "an ERR packet of one byte": packet(1, b"\xff"),
    "an ERR packet without a text": packet(1, b"\xff\x15\x04"),
    "an ERR packet with a wrong state": packet(1, b"\xff\x15\x04#\xff\xfe\xff\xfe\xff"),
    "an ERR packet with number 0": packet(1, b"\xff\0\0#00000zero"),
    "a file that is wanted": packet(1, b"\xfb/etc/passwd"),
    "columns that do not come": packet(1, b"\5") + eof(2) + b"\0" * 20,
    "half a column": packet(1, b"\1") + packet(2, b"\3de") + eof(3),
    "a column without a name": packet(1, b"\1") + packet(2, b"\xfb" * 30) + eof(3),
    "no number of columns": packet(1, b"\xfe\1"),
    "a row that is no UTF-8": result((b"\xff\xfe",)),
    "a row that is no number": result((b"hunter2",), kinds=[3]),
    "a row that is cut off": result((b"abc",))[:-13] + packet(5, b"\5ab") + eof(6),
    "half a length": packet(1, b"\1")
    + packet(2, column())
    + eof(3)
    + packet(4, b"\xfc"),
    "an empty row": packet(1, b"\1") + packet(2, column()) + eof(3) + packet(4, b""),
    "half an EOF packet": packet(1, b"\1") + packet(2, column()) + packet(3, b"\xfe\0"),
}
GREETINGS: dict[str, bytes] = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "empty": packet(0, b""),
    "a single byte": packet(0, b"\x0a"),
    "short": packet(0, b"\x0a5.7\0\1"),
    "without a salt": packet(0, greeting()[4:30]),
    "no version": greeting(b"banana"),
    "a plugin with a strange name": greeting().replace(b"mysql_n", b"mysql_\xff"),
    "a plugin that is not ASCII": greeting().replace(b"mysql_n", "mysqlß".encode()),
}
LOGINS: dict[str, bytes] = {
    "empty": packet(2, b""),
    "half an OK packet": packet(2, b"\0"),
    "more for no plugin": packet(2, b"\1\4"),
    "another plugin, strange": packet(2, b"\xfe\xff\xfe\x1b[2J\0xxxx"),
    "another plugin without data": packet(2, b"\xfecaching_sha2_password\0"),
    "a plugin without an end": packet(2, b"\xfemysql_native_password"),
    "half an ERR packet": packet(2, b"\xff\x15"),
}
OPENINGS = [
    *(("greeting", data) for data in GREETINGS.values()),
    *(("login", data) for data in LOGINS.values()),
    *((point, data) for point in AT_OPEN[2:] for data in NONSENSE.values()),
    ("SELECT CURRENT_ROLE", ok()),
    ("SELECT CURRENT_ROLE", result((b"a", b"b"))),
]


@pytest.mark.parametrize("point, data", OPENINGS)
def test_nonsense_at_the_opening_is_an_unreachable_server(
    script: ScriptedServer, point: str, data: bytes
) -> None:
    script.answer_at(point, [data, b""])
    pool, began = make_pool(), script.clock.now
    try:
        with pool.connection():  # some ends well: what it answers to SET is not used
            assert point == "SET NAMES"
    except (PoolTimeout, pymysql.err.MySQLError) as error:
        if isinstance(error, PoolTimeout):
            assert isinstance(error.__cause__, pymysql.err.MySQLError)
        check_failed(pool, script, began)
    pool.close()
    assert not script.open


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_for_rows_is_a_mysql_error(
    script: ScriptedServer, data: bytes, unbuffered: bool
) -> None:
    script.answer_at("SELECT 1", [data, b""])
    pool = make_pool()
    kind = pymysql.cursors.SSCursor if unbuffered else pymysql.cursors.Cursor
    with pool.connection() as db:
        with pytest.raises(pymysql.err.MySQLError) as raised, db.cursor(kind) as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
            assert data == ok(rest=b"\xfc")
    assert "hunter2" not in str(raised.value)
    assert pool.stats().in_use == pool.stats().size == 0
    assert not script.open


CALLS: dict[str, t.Callable[[t.Any], object]] = {
    "COMMIT": lambda db: db.commit(),
    "ROLLBACK": lambda db: db.rollback(),
    "ping": lambda db: db.ping(),
    "SHOW WARNINGS": lambda db: db.show_warnings(),
    "SET AUTOCOMMIT": lambda db: db.autocommit(False),
}
SHORT = {"empty": packet(1, b""), "short": packet(1, b"\0"), "ERR": packet(1, b"\xff")}


@pytest.mark.parametrize("point", CALLS)
@pytest.mark.parametrize("data", SHORT.values(), ids=SHORT)
def test_nonsense_for_a_command_is_a_mysql_error(
    script: ScriptedServer, point: str, data: bytes
) -> None:
    script.answer_at(point, [data])
    pool = make_pool()
    with pool.connection() as db, pytest.raises(pymysql.err.MySQLError):
        CALLS[point](db)
    assert pool.stats().size == 0
    assert not script.open


NOT_OK = {what: data for what, data in NONSENSE.items() if "half a mess" not in what}


@pytest.mark.parametrize("data", NOT_OK.values(), ids=NOT_OK)
def test_nonsense_for_a_reset_replaces_the_connection(
    script: ScriptedServer, data: bytes
) -> None:
    script.answer_at("ROLLBACK", [data])
    pool = make_pool()
    with pool.connection() as db:
        db.cursor().execute("INSERT")
    with pool.connection() as db:
        assert db.open
    assert len(script.sockets) == 2
    assert len(script.open) == pool.stats().size == 1


# Errors that are the caller's


class TimeLimit(Exception):
    """What a job queue raises out of a signal handler."""


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, value: object) -> t.NoReturn:
        raise ValueError("of the caller")


@pytest.mark.parametrize("unbuffered", [False, True])
def test_error_of_a_converter_stays_what_it_is(
    script: ScriptedServer, unbuffered: bool
) -> None:
    script.answer_at("SELECT 1", [result((b"1",), kinds=[3])])
    pool = make_pool(conv={**pymysql.converters.conversions, 3: Unhashable()})
    kind = pymysql.cursors.SSCursor if unbuffered else pymysql.cursors.Cursor
    with pool.connection() as db, pytest.raises(ValueError, match="of the caller"):
        cursor = db.cursor(kind)
        cursor.execute("SELECT 1")
        cursor.fetchall()
    assert not script.open


@pytest.mark.parametrize("point", [*AT_OPEN, "SELECT 1", "COMMIT"])
@pytest.mark.parametrize("error", [TimeLimit, KeyboardInterrupt, SystemExit])
def test_interrupt_is_passed_on(
    script: ScriptedServer, point: str, error: type[BaseException]
) -> None:
    def interrupted(good: Answer) -> Iterator[float]:
        yield 0.1
        raise error

    script.answer_at(point, interrupted)
    pool = make_pool()
    with pytest.raises(error), pool.connection() as db:
        db.cursor().execute("SELECT 1")
        db.commit()
    assert pool.stats().in_use == 0
    pool.close()
    assert not script.open


def test_error_of_an_argument_stays_what_it_is(script: ScriptedServer) -> None:
    pool = make_pool()
    with pool.connection() as db, db.cursor() as cursor:
        with pytest.raises(TypeError):
            cursor.execute("SELECT %s", ({1: 2},))
        with pytest.raises(UnicodeEncodeError):
            cursor.execute("SELECT '\ud800'")
        with pytest.raises(TypeError):
            db.kill("1")  # type: ignore[arg-type]
    pool.close()


@pytest.mark.parametrize("statement", ["SELECT 1", "INSERT"])
def test_answer_nobody_asked_for_is_nobodys(
    script: ScriptedServer, statement: str
) -> None:
    """It lies behind another answer in the buffer, where the socket shows nothing."""
    extra = result((b"of the one before",))
    good = {"SELECT 1": result((b"1",)), "INSERT": ok(status=IN_TRANS)}
    pool = make_pool(max_size=1, timeout=0)
    with pool.connection() as db, db.cursor() as cursor:
        script.answer_at(statement, [good[statement] + extra])
        cursor.execute(statement)
    for _ in range(2):
        with contextlib.suppress(pymysql.err.OperationalError):
            with pool.connection() as db, db.cursor() as cursor:
                cursor.execute("SELECT 2")
                assert cursor.fetchall() == (("1", None), ("2", "x" * 300))
    pool.close()
    assert not script.open
