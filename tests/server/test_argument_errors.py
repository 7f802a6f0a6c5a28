"""A wrong argument costs nothing: PyMySQL's error is raised before a byte is sent, and
connection and transaction stay as they were.
"""

from __future__ import annotations

import typing as t
import warnings
from collections.abc import Callable

import pymysql
import pytest
from pymysql.cursors import SSCursor

from flask_mysqlpool import Pool

from ..support.interrupted_sockets import check_sound
from ..support.ledger import change
from ..support.ledger import Ledger
from ..support.pools import MakePool
from ..support.queries import execute
from ..support.tcp_proxy import TCPProxy

WRONG: list[t.Any] = [None, 5, 1.5, object(), [], ["SELECT 1"], {}, "\ud800", True]

Use = Callable[[t.Any, t.Any], t.Any]

# What takes an argument and sends it, in PyMySQL's connection and cursor.
CONNECTION_USES: dict[str, Use] = {
    "query": lambda db, wrong: db.query(wrong),
    "kill": lambda db, wrong: db.kill(wrong),
    "select_db": lambda db, wrong: db.select_db(wrong),
    "set_character_set": lambda db, wrong: db.set_character_set(wrong),
    "collation": lambda db, wrong: db.set_character_set("utf8mb4", wrong),
    "escape": lambda db, wrong: db.escape(wrong),
    "escape_string": lambda db, wrong: db.escape_string(wrong),
    "cursor": lambda db, wrong: db.cursor(wrong),
}
CURSOR_USES: dict[str, Use] = {
    "execute": lambda cursor, wrong: cursor.execute(wrong),
    "execute with parameters": lambda cursor, wrong: cursor.execute(wrong, (1,)),
    "parameters": lambda cursor, wrong: cursor.execute("SELECT %s, %s", wrong),
    "executemany": lambda cursor, wrong: cursor.executemany(wrong, [(1,)]),
    "rows": lambda cursor, wrong: cursor.executemany("DO %s", wrong),
    "rows of an insert": lambda cursor, wrong: cursor.executemany(
        "INSERT INTO ledger VALUES (%s, %s)", wrong
    ),
    "callproc": lambda cursor, wrong: cursor.callproc(wrong),
    "mogrify": lambda cursor, wrong: cursor.mogrify(wrong, (1,)),
    "fetchmany": lambda cursor, wrong: cursor.fetchmany(wrong),
    "scroll": lambda cursor, wrong: cursor.scroll(wrong),
}


@pytest.fixture
def pool(make_pool: MakePool, proxy: TCPProxy) -> Pool:
    return make_pool(proxy.url, max_size=1)


def raised_by(use: Use, target: t.Any, wrong: t.Any) -> type[BaseException] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyMySQL's, of single arguments
        try:
            use(target, wrong)
        except Exception as error:
            return type(error)
    return None


def unsent(
    proxy: TCPProxy, target: Callable[[], t.Any], uses: dict[str, Use]
) -> list[tuple[str, t.Any, type[BaseException]]]:
    """Return which uses with which arguments raise what, without a byte sent."""
    found = []
    for name, use in uses.items():
        for wrong in WRONG:
            sent = proxy.sent
            error = raised_by(use, target(), wrong)
            if error is not None and proxy.sent == sent:
                found.append((name, wrong, error))
    return found


@pytest.mark.parametrize("block", [False, True])
def test_error_before_a_byte_costs_nothing(
    pool: Pool, proxy: TCPProxy, ledger: Ledger, block: bool
) -> None:
    with pool.connection() as db:
        number = db.thread_id()
        if block:
            with db.transaction():
                change(db, 1)
                found = unsent(proxy, lambda: db, CONNECTION_USES)
                found += unsent(proxy, db.cursor, CURSOR_USES)
        else:
            change(db, 1)
            found = unsent(proxy, lambda: db, CONNECTION_USES)
            found += unsent(proxy, db.cursor, CURSOR_USES)
            db.commit()
        assert db.thread_id() == number
        for name, wrong, error in found:
            assert not issubclass(error, pymysql.err.InterfaceError), (name, wrong)
    assert {name for name, *_ in found} >= {"query", "kill", "select_db", "execute"}
    assert ledger.rows == {1: 1, 2: 0}
    assert pool.stats().closed == {}
    check_sound(pool)


@pytest.mark.parametrize("uses", [CONNECTION_USES, CURSOR_USES], ids=["db", "cursor"])
def test_error_is_the_one_of_pymysql(
    pool: Pool, proxy: TCPProxy, ledger: Ledger, uses: dict[str, Use]
) -> None:
    ours = {"escape_string", "cursor"}  # which check more than PyMySQL
    plain = ledger.connect()
    with pool.connection() as db:
        of_cursor = uses is CURSOR_USES
        found = unsent(proxy, db.cursor if of_cursor else lambda: db, uses)
        for name, wrong, error in found:
            if name not in ours:
                target = plain.cursor() if of_cursor else plain
                assert raised_by(uses[name], target, wrong) is error, (name, wrong)
    plain.close()


@pytest.mark.parametrize(
    "use",
    [
        lambda db: db.query(None),
        lambda db: db.kill("x"),
        lambda db: db.select_db(None),
        lambda db: db.set_character_set("no"),
        lambda db: db.cursor().execute(object()),
    ],
)
def test_error_in_a_transaction_needs_no_ping(
    pool: Pool, proxy: TCPProxy, ledger: Ledger, use: Callable[[t.Any], t.Any]
) -> None:
    with pool.connection() as db, db.transaction():
        change(db, 1)
        with pytest.raises((TypeError, AttributeError)):
            use(db)
        proxy.commands.clear()
        change(db, 2)
        assert len(proxy.commands) == 1
    assert ledger.rows == {1: 1, 2: 1}


def test_error_amid_a_stream_leaves_the_stream(pool: Pool) -> None:
    with pool.connection() as db, db.cursor(SSCursor) as cursor:
        cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
        cursor.fetchone()
        for wrong in ("kill", "set_character_set", "cursor"):
            with pytest.raises((TypeError, AttributeError)):
                CONNECTION_USES[wrong](db, "no")
        assert cursor.fetchall() == [(2,), (3,)]


def test_warnings_as_errors_do_not_end_a_connection(
    pool: Pool, proxy: TCPProxy, ledger: Ledger
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pool.connection() as db:
            change(db, 1)
            cursor = db.cursor(SSCursor)
            cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
            cursor.fetchone()
            del cursor
            assert execute(db, "SELECT 4") == ((4,),)
            db.commit()
            cursor = db.cursor(SSCursor)
            cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
            cursor.execute("SELECT 5 UNION SELECT 6")  # on the same cursor
            assert cursor.fetchall() == [(5,), (6,)]
    assert ledger.rows == {1: 1, 2: 0}
    assert pool.stats().closed == {}


def test_wrong_statement_is_not_the_last_one(pool: Pool) -> None:
    """What shows the holders reads it as text."""
    with pool.connection() as db:
        db.query("SELECT 1")
        for wrong in WRONG:
            if not isinstance(wrong, str):
                with pytest.raises(TypeError):
                    db.query(wrong)
                (holder,) = pool.holders()
                assert holder.statement == "SELECT ?"
