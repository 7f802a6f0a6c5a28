"""What is taken from PyMySQL's private parts is there, and does what we rely on."""

from __future__ import annotations

import inspect
import io
import re
import socket
import ssl
import struct
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from pymysql.connections import Connection as PlainConnection
from pymysql.connections import MAX_PACKET_LEN
from pymysql.connections import MySQLResult
from pymysql.constants import CLIENT
from pymysql.constants import COMMAND
from pymysql.cursors import DictCursor
from pymysql.cursors import SSCursor
from pymysql.protocol import MysqlPacket

from flask_mysqlpool.driver import results
from flask_mysqlpool.driver import wire as protocol
from flask_mysqlpool.driver.connector import Opener
from flask_mysqlpool.driver.session import Connection
from flask_mysqlpool.driver.socket_probe import listener
from flask_mysqlpool.driver.socket_probe import taker
from flask_mysqlpool.driver.wire import COM_QUERY
from flask_mysqlpool.driver.wire import COM_RESET_CONNECTION
from flask_mysqlpool.driver.wire import IN_TRANS
from flask_mysqlpool.driver.wire import WireConnection

from .conftest import settings_for
from .conftest import wait_until
from .wire import Wire

# Called or overridden by us, as PyMySQL has it.
METHODS = {
    PlainConnection: {
        "_create_ssl_ctx": "self, sslp",
        "_execute_command": "self, command, sql",
        "_force_close": "self",
        "_read_ok_packet": "self",
        "_read_packet": "self, packet_type=<class 'pymysql.protocol.MysqlPacket'>",
        "_read_query_result": "self, unbuffered=False",
        "_request_authentication": "self",
        "_write_bytes": "self, data",
        "connect": "self, sock=None",
        "set_character_set": "self, charset, collation=None",
    },
    MySQLResult: {
        "_check_packet_is_eof": "self, packet",
        "_finish_unbuffered_query": "self",
        "_get_descriptions": "self",
        "_read_ok_packet": "self, packet",
        "_read_row_from_packet": "self, packet",
        "_read_rowdata_packet_unbuffered": "self",
        "init_unbuffered_query": "self",
        "read": "self",
    },
}


@pytest.fixture
def wire(mysql_url: str) -> Iterator[Wire]:
    with Wire(mysql_url) as wire:
        yield wire


@pytest.fixture
def raw(wire: Wire) -> Iterator[t.Any]:
    """A connection of no pool, with autocommit off."""
    settings = settings_for(
        wire.url, ssl_disabled=True, client_flag=CLIENT.MULTI_STATEMENTS, read_timeout=9
    )
    raw = Opener(settings).open(time.monotonic() + 10)
    yield raw
    raw.abandon()


@pytest.mark.parametrize("owner", METHODS)
def test_private_methods_are_there(owner: type) -> None:
    for name, parameters in METHODS[owner].items():
        signature = inspect.signature(getattr(owner, name))
        assert str(signature).partition(" ->")[0] == f"({parameters})", name


def test_private_attributes_are_there(raw: t.Any) -> None:
    text = Path(inspect.getfile(protocol)).read_text()
    contract = text.partition("# The written contract with PyMySQL.")[2]
    names = re.findall(r"^    (\w+):", contract.partition("\n\n")[0], re.MULTILINE)
    assert len(names) > 10
    plain = PlainConnection(user="nobody", defer_connect=True)
    source = inspect.getsource(PlainConnection)
    assert set(names) <= {*dir(plain), *re.findall(r"self\.(\w+) = ", source)}
    assert isinstance(raw.db, bytes), "the reset sends it as it is"


def test_login_calls_what_we_override(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[WireConnection] = []
    method = WireConnection._request_authentication

    def record(self: WireConnection) -> None:
        called.append(self)
        method(self)

    monkeypatch.setattr(WireConnection, "_request_authentication", record)
    settings = settings_for(wire.url, ssl_disabled=True, connect_timeout=7)
    Opener(settings).open(time.monotonic() + 5).abandon()
    assert called


def test_login_sends_what_the_session_needs_in_one_go(raw: t.Any, wire: Wire) -> None:
    first, second = wire.statements
    assert first.startswith("SET NAMES utf8mb4, autocommit = 0")
    assert second == "SELECT CURRENT_ROLE()"
    assert raw.tracked


def test_one_tls_context_serves_all_connections(wire: Wire) -> None:
    opener = Opener(settings_for(wire.url))  # TLS where the server has it
    made = [opener.open(time.monotonic() + 10) for _ in range(2)]
    contexts = {id(connection.ctx) for connection in made}  # type: ignore[attr-defined]
    for connection in made:
        connection.abandon()
    assert len(contexts) == 1
    assert isinstance(opener._tls, ssl.SSLContext)


# Results and their flags


def test_flags_of_the_eof_packet_are_kept(raw: t.Any) -> None:
    raw.query("CREATE TABLE t (n INT) ENGINE=InnoDB")
    assert not raw.server_status & IN_TRANS
    raw.query("SELECT n FROM t")
    assert raw.server_status & IN_TRANS
    assert raw.in_transaction
    raw.rollback()
    assert not raw.in_transaction


def test_flags_come_at_the_end_of_unbuffered_rows(raw: t.Any) -> None:
    raw.query("CREATE TABLE t (n INT) ENGINE=InnoDB")
    raw.query("SELECT n FROM t UNION SELECT 2", unbuffered=True)
    assert raw.in_exchange
    result = raw._result
    while result._read_rowdata_packet_unbuffered() is not None:
        pass
    assert not raw.in_exchange
    assert raw.in_transaction


def test_further_results_are_noticed(raw: t.Any) -> None:
    raw.query("SELECT 1; DO 0; SELECT 3")
    for rows in (((1,),), None, ((3,),)):
        assert raw._result.rows == rows
        if raw.in_exchange:
            raw.next_result()
    assert not raw.in_exchange


def test_message_is_that_of_the_server(raw: t.Any) -> None:
    raw.query("CREATE TABLE t (n INT) ENGINE=InnoDB")
    raw.query("INSERT INTO t VALUES (1), (2)")
    assert raw._result.message == b"Records: 2  Duplicates: 0  Warnings: 0"
    raw.query("SET @a = 1")  # with session information behind it
    assert raw._result.message == b""


def test_long_message_is_taken_from_before_the_session_information() -> None:
    long = b"m" * 300
    assert results.message_text(b"") == b""
    assert results.message_text(b"\x03abc\x02xy") == b"abc"
    assert results.message_text(b"\xfc" + struct.pack("<H", 300) + long + b"xy") == long


def test_large_numbers_in_an_ok_packet(raw: t.Any) -> None:
    raw.query("CREATE TABLE t (id BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB")
    raw.query("INSERT INTO t VALUES (99999999999)")
    assert raw.query("INSERT INTO t VALUES (NULL)") == 1
    assert raw.insert_id() == 100000000000
    for _ in range(9):
        raw.query("INSERT INTO t (id) SELECT NULL FROM t")
    assert raw.affected_rows() == 512
    assert raw.session_changed


def test_columns_are_taken_apart_once_and_rightly(raw: t.Any) -> None:
    def ask(sql: str, kind: t.Any = DictCursor) -> t.Any:
        with kind(raw) as cursor:
            cursor.execute(sql)
            return [column[:2] for column in cursor.description], cursor.fetchall()

    one = ask("SELECT 1 AS n, 'é' AS s")
    kept = len(raw.columns)
    assert ask("SELECT 1 AS n, 'é' AS s") == one
    assert len(raw.columns) == kept
    assert one[1] == [{"n": 1, "s": "é"}]
    assert ask("SELECT 2.5 AS n, 'è' AS s")[1] == [{"n": pytest.approx(2.5), "s": "è"}]
    raw.set_character_set("latin1")
    assert ask("SELECT 1 AS n, 'é' AS s")[1] == [{"n": 1, "s": "é"}]
    assert ask("SELECT 1 AS n, 'é' AS s", SSCursor)[1] == [(1, "é")]
    for number in range(results.COLUMNS_KEPT + 5):
        ask(f"SELECT 1 AS n{number}")
    assert len(raw.columns) <= results.COLUMNS_KEPT


# Packets


def fed(data: bytes) -> t.Any:
    """A connection that reads ``data`` and nothing else."""
    url = "mysql://user:secret@127.0.0.1/t"
    connection = Connection(Opener(settings_for(url)), {"ssl_disabled": True})
    connection._sock, other = socket.socketpair()
    other.close()
    connection._rfile = io.BytesIO(data)
    connection._current_timeout = connection._read_timeout
    connection._next_seq_id = 1
    return connection


class Pieces(io.RawIOBase):
    """A stream that gives a piece at each read."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        piece = self._pieces.pop(0) if self._pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


def length_encoded(value: bytes | None) -> bytes:
    if value is None:
        return b"\xfb"
    size = len(value)
    if size < 251:
        return bytes([size]) + value
    for mark, room in ((b"\xfc", 2), (b"\xfd", 3)):
        if size < 1 << 8 * room:
            return mark + size.to_bytes(room, "little") + value
    return b"\xfe" + size.to_bytes(8, "little") + value


VALUES = (
    None,
    b"",
    b"7",
    "é".encode(),
    *(b"1" * n for n in (250, 251, 65536, 1 << 24)),
)


@pytest.mark.parametrize("value", VALUES, ids=lambda v: "NULL" if v is None else len(v))
@pytest.mark.parametrize("kind", ["bytes", "text", "converted"])
def test_rows_are_those_of_pymysql(value: bytes | None, kind: str) -> None:
    encoding, converter = {
        "bytes": (None, None),
        "text": ("utf8", None),
        "converted": ("utf8", str.upper),
    }[kind]
    connection = fed(b"")
    result = results.TrackedResult(connection)
    result.converters = [(encoding, converter)] * 3
    data = length_encoded(value) + b"\x01a" + length_encoded(value)
    for row in (data, data[: -len(length_encoded(value))]):  # the last one is left out
        theirs: t.Any = MySQLResult
        expected = theirs._read_row_from_packet(result, MysqlPacket(row, "utf8"))
        assert result._read_row_from_packet(MysqlPacket(row, "utf8")) == expected
    connection.abandon()


@pytest.mark.parametrize("row", [b"\x05abc", b"\xfc\x00\x01abc", b"\x01a\x01"])
def test_row_that_is_cut_off_ends_the_connection(row: bytes) -> None:
    connection = fed(b"")
    result = results.TrackedResult(connection)
    result.converters = [("utf8", None)] * 2
    with pytest.raises(pymysql.err.OperationalError, match="cut off"):
        result._read_row_from_packet(MysqlPacket(row, "utf8"))
    assert not connection.open
    connection.abandon()


def test_error_of_a_converter_is_not_swallowed() -> None:
    connection = fed(b"")
    result = results.TrackedResult(connection)
    result.converters = [("utf8", lambda value: "ab"[int(value)])]
    with pytest.raises(IndexError):
        result._read_row_from_packet(MysqlPacket(b"\x017", "utf8"))
    connection.abandon()


def test_columns_are_the_same_in_whatever_pieces_they_come(raw: t.Any) -> None:
    raw.send_ahead([(COM_QUERY, "SELECT 1 AS n, 'é' AS s".encode())])
    whole = raw._rfile.peek(1)
    raw.read_ahead()
    seen = set()
    for end in range(len(whole) + 1):
        connection = fed(b"")
        for _ in range(2):  # with columns that are new, and with known ones
            pieces = [piece for piece in (whole[:end], whole[end:]) if piece]
            connection._rfile = io.BufferedReader(Pieces(*pieces))
            connection._next_seq_id = 1
            result = results.TrackedResult(connection)
            result.read()
            seen.add((result.rows, str(result.description)))
            assert connection._rfile.read() == b""
            assert connection._next_seq_id == 7
        connection.abandon()
    assert len(seen) == 1
    assert seen.pop()[0] == ((1, "é"),)


def test_known_columns_are_read_in_one_step(
    raw: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    def read() -> t.Any:
        reads.append(1)
        return type(raw)._read_packet(raw)

    monkeypatch.setattr(raw, "_read_packet", read)
    raw.query("SELECT 1 AS a, 2 AS b, 3 AS c")
    # How many columns, those and an end, a row and an end.
    assert len(reads) == 1 + 4 + 2
    reads.clear()
    raw.query("SELECT 4 AS a, 5 AS b, 6 AS c")
    assert raw._result.rows == ((4, 5, 6),)
    assert len(reads) == 1 + 2


def test_columns_of_a_further_result_are_kept_once(raw: t.Any) -> None:
    raw.query("CREATE TABLE t (n INT)")
    raw.query("INSERT INTO t VALUES (1), (2), (3)")
    kept = len(raw.columns)
    for count in (1, 2, 3):  # rows before it number its packets otherwise
        raw.query(f"SELECT n FROM t WHERE n <= {count}; SELECT 'a' AS further")
        raw.next_result()
        assert raw._result.rows == (("a",),)
    assert len(raw.columns) == kept + 2


def test_connection_closed_between_two_steps_is_lost() -> None:
    connection = fed(packet(1, b"abc"))
    connection._rfile = None  # as another thread leaves it
    for name, arguments in (("next_packets", (1,)), ("skip_packets", (1, 4))):
        with pytest.raises(pymysql.err.OperationalError) as raised:
            getattr(connection, name)(*arguments)
        assert raised.value.args[0] == 2013
    connection.abandon()


def test_columns_out_of_order_end_the_connection(raw: t.Any) -> None:
    raw.send_ahead([(COM_QUERY, b"SELECT 1 AS n")])
    whole = raw._rfile.peek(1)
    raw.read_ahead()
    connection = fed(b"")
    connection._rfile = io.BufferedReader(Pieces(whole))
    results.TrackedResult(connection).read()  # from now on they are known
    connection._rfile = io.BufferedReader(Pieces(whole[:3] + b"\x09" + whole[4:]))
    connection._next_seq_id = 9
    with pytest.raises(pymysql.err.OperationalError, match="out of order"):
        results.TrackedResult(connection).read()
    connection.abandon()


def packet(number: int, data: bytes) -> bytes:
    return len(data).to_bytes(3, "little") + bytes([number]) + data


@pytest.mark.parametrize("rest", [b"", b"abc"])
def test_packets_of_more_than_16_megabytes(rest: bytes) -> None:
    full = bytes(MAX_PACKET_LEN)
    connection = fed(packet(1, full) + packet(2, rest) + packet(3, b"next"))
    assert connection._read_packet().get_all_data() == full + rest
    assert connection._read_packet().get_all_data() == b"next"
    connection.abandon()


BROKEN = {
    "nothing": b"",
    "half a header": b"\x01",
    "half a packet": packet(1, b"abc")[:-1],
    "a later one": packet(2, b"abc"),
    "of nobody": packet(0, b"\xff\x1d\x04"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_broken_packet_ends_the_connection(data: bytes) -> None:
    connection = fed(data)
    with pytest.raises(pymysql.err.OperationalError) as raised:
        connection._read_packet()
    assert raised.value.args[0] == 2013
    assert not connection.open
    connection.abandon()


def test_error_among_unbuffered_rows_ends_the_exchange(raw: t.Any) -> None:
    raw.query("SELECT 1 UNION SELECT 2", unbuffered=True)
    result = raw._result
    result._read_rowdata_packet_unbuffered()
    error = b"\xff" + struct.pack("<H", 1317) + b"#70100interrupted"
    raw._rfile = io.BytesIO(packet(raw._next_seq_id, error))
    with pytest.raises(pymysql.err.MySQLError):
        result._read_rowdata_packet_unbuffered()
    assert not result.unbuffered_active
    assert not raw.in_exchange


def test_commands_sent_ahead_are_answered_in_order(raw: t.Any, wire: Wire) -> None:
    wire.commands.clear()
    queries = [b"SELECT 1", b"SELECT 2; SELECT 3", b"SET @a = 4", b"SELECT @a"]
    raw.send_ahead((COM_QUERY, sql) for sql in queries)
    assert raw.unanswered == 4
    assert raw.read_ahead() == ((4,),)
    assert raw.unanswered == 0
    assert [data for _, data in wire.commands] == queries
    raw.send_ahead([(COM_RESET_CONNECTION, b""), (COM_QUERY, b"SELECT @a")])
    assert raw.read_ahead() == ((None,),)
    assert raw.query("SELECT 5") == 1
    assert raw._result.rows == ((5,),)


def test_refused_command_leaves_the_rest_unanswered(raw: t.Any) -> None:
    raw.send_ahead(
        [(COM_QUERY, b"DO 1"), (COM_QUERY, b"NOT SQL"), (COM_QUERY, b"DO 2")]
    )
    with pytest.raises(pymysql.err.ProgrammingError):
        raw.read_ahead()
    assert raw.unanswered == 2


def test_force_close_says_nothing(raw: t.Any, wire: Wire) -> None:
    sent = wire.sent
    raw.abandon()
    wait_until(lambda: wire.sessions[0].ended)
    assert wire.sent == sent
    assert not raw.quiet()
    raw.abandon()  # a second time does nothing


def test_leave_is_taken_by_the_book(raw: t.Any, wire: Wire) -> None:
    raw.send_ahead([(COM_QUERY, b"ROLLBACK")])
    raw.quit(time.monotonic() + 5)
    wait_until(lambda: wire.sessions[0].ended)
    assert wire.commands[-2:] == [(COM_QUERY, b"ROLLBACK"), (COMMAND.COM_QUIT, b"")]


@pytest.fixture
def patient(raw: t.Any) -> t.Any:
    """A connection without a read timeout, that waits for the answer to one command."""
    raw._read_timeout = None
    raw.send_ahead([(COM_QUERY, b"ROLLBACK")])
    raw.read_ahead()
    raw.unanswered = 1
    return raw


OK = packet(1, bytes((0, 0, 0, 2, 0, 0, 0)))


def test_answer_is_read_only_where_it_is_here(patient: t.Any, wire: Wire) -> None:
    assert not patient.read_arrived()
    wire.sessions[0].inject(OK)
    wait_until(lambda: not patient.quiet())
    assert patient.read_arrived()
    assert patient.unanswered == 0
    assert patient.quiet()


@pytest.mark.parametrize("how", ["timeout", "two commands", "TLS"])
def test_answer_is_left_to_the_slow_path(
    patient: t.Any, wire: Wire, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.sessions[0].inject(OK)
    wait_until(lambda: not patient.quiet())
    if how == "timeout":
        patient._write_timeout = 5.0
        patient.send_ahead([(COM_QUERY, b"ROLLBACK")])
    elif how == "two commands":
        patient.unanswered = 2
    else:
        with (
            socket.socket() as plain,
            ssl.create_default_context().wrap_socket(
                plain, server_hostname="localhost", do_handshake_on_connect=False
            ) as sock,
        ):
            monkeypatch.setattr(patient, "take", taker(sock))
    assert not patient.read_arrived()
    assert not patient.quiet()  # it is still there


NOT_THE_ANSWER = {
    "half a header": OK[:3],
    "a header": OK[:4],
    "half": OK[:-1],
    "two": OK + packet(1, b"\xff"),
    "a later one": packet(2, OK[4:]),
    "empty": packet(1, b""),
    "cut short inside": packet(1, b"\0\0"),
    "refused": packet(1, b"\xff\x1d\x04#42000no"),
    "rows": packet(1, b"\1"),
}


@pytest.mark.parametrize("came", NOT_THE_ANSWER.values(), ids=NOT_THE_ANSWER)
def test_what_is_no_whole_answer_is_not_taken_for_one(
    patient: t.Any, wire: Wire, came: bytes
) -> None:
    wire.sessions[0].inject(came)
    wait_until(lambda: not patient.quiet())
    with pytest.raises(pymysql.err.Error):
        patient.read_arrived()


def test_end_of_the_connection_is_no_answer(patient: t.Any, wire: Wire) -> None:
    wire.sessions[0].end()
    wait_until(lambda: not patient.quiet())
    with pytest.raises(pymysql.err.OperationalError, match="cut off"):
        patient.read_arrived()


def test_role_is_asked_once_for_many_connections(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    def questions() -> int:
        opener = Opener(settings_for(wire.url, ssl_disabled=True))
        wire.commands.clear()
        for _ in range(3):
            opener.open(time.monotonic() + 5).abandon()
        return wire.statements.count("SELECT CURRENT_ROLE()")

    assert questions() == 1
    monkeypatch.setattr("flask_mysqlpool.driver.connector.ROLE_KEPT", 0)
    assert questions() == 3


# Time limits


def test_timeouts_are_those_of_pymysql(raw: t.Any) -> None:
    sock = t.cast(socket.socket, raw._sock)
    raw._read_timeout, raw._write_timeout = 3.0, 4.0
    raw._execute_command(COM_QUERY, "DO 1")
    assert sock.gettimeout() == 4.0
    raw._read_query_result()
    assert sock.gettimeout() == 3.0


def test_limit_holds_and_is_lifted(raw: t.Any, wire: Wire) -> None:
    own = (raw._read_timeout, raw._write_timeout)
    raw.limit(time.monotonic() + 0.05)
    wire.sessions[0].hold()
    with pytest.raises(pymysql.err.OperationalError):
        raw.query("SELECT 1")
    raw.limit(None)
    assert (raw._read_timeout, raw._write_timeout) == own


def test_limit_covers_the_login(wire: Wire) -> None:
    wire.holds_new = True
    opener = Opener(settings_for(wire.url, ssl_disabled=True))
    with pytest.raises(pymysql.err.OperationalError):
        opener.open(time.monotonic() + 0.05)


# Quiet


def pair(family: socket.AddressFamily) -> tuple[socket.socket, socket.socket]:
    if family == socket.AF_UNIX:
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
@pytest.mark.parametrize("how", ["bytes", "end", "shutdown", "reset"])
def test_socket_is_quiet_until_something_comes(
    family: socket.AddressFamily, how: str
) -> None:
    ours, theirs = pair(family)
    with ours, theirs:
        quiet = listener(ours)
        assert quiet()
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"
        assert quiet()
        if how == "bytes":
            theirs.sendall(b"x")
        elif how == "shutdown":
            theirs.shutdown(socket.SHUT_WR)
        else:
            if how == "reset":
                linger = struct.pack("ii", 1, 0)
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            theirs.close()
        wait_until(lambda: not quiet())
