"""A pooled connection has the public names of PyMySQL's, or says in words why not."""

from __future__ import annotations

import functools
import typing as t
import warnings

import pymysql
import pytest
from pymysql.cursors import Cursor
from pymysql.cursors import DictCursor
from pymysql.cursors import SSDictCursor

import flask_mysqlpool
from flask_mysqlpool import ConfigError
from flask_mysqlpool import Pool
from flask_mysqlpool import StaleConnectionError

from ..support.ledger import Ledger
from ..support.pools import MakePool
from ..support.queries import execute

REFUSED = {"connect", "ctx", "password", "salt", "server_public_key", "write_packet"}


@pytest.fixture
def pool(make_pool: MakePool) -> Pool:
    return make_pool(max_size=1)


def public_names(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_each_name_of_pymysql_is_there_or_refused(pool: Pool, ledger: Ledger) -> None:
    plain = ledger.connect()
    with pool.connection() as db:
        for name in sorted(public_names(plain)):
            if name in REFUSED:
                with pytest.raises(AttributeError, match=f"has no {name}: .{{20}}"):
                    getattr(db, name)
                assert not hasattr(db, name)
            else:
                assert hasattr(db, name), name
        assert public_names(plain.cursor()) <= public_names(db.cursor())
    plain.close()


def test_what_is_read_is_as_in_pymysql(make_pool: MakePool, ledger: Ledger) -> None:
    settings: dict[str, t.Any] = {
        "sql_mode": "ANSI",
        "init_command": "SET @a = 1",
        "connect_timeout": 7,
        "autocommit": True,
    }
    plain = ledger.connect(**settings)
    with make_pool(**settings).connection() as db:
        for name in (*settings, "port", "user", "db", "charset", "unix_socket"):
            if name != "autocommit":
                assert getattr(db, name) == getattr(plain, name), name
        assert db.autocommit_mode == plain.autocommit_mode
    plain.close()


def test_character_set_by_its_old_name(pool: Pool) -> None:
    with pool.connection() as db:
        db.set_charset("latin1")
        assert (db.charset, db.encoding) == ("latin1", "cp1252")
        assert execute(db, "SELECT @@character_set_client") == (("latin1",),)
    with pool.connection() as db:
        assert execute(db, "SELECT @@character_set_client") == (("utf8mb4",),)


def test_nothing_deprecated_is_called(pool: Pool) -> None:
    with warnings.catch_warnings(), pool.connection() as db:
        warnings.simplefilter("error")
        assert db.literal("it's") == db.escape("it's") == "'it\\'s'"
        db.ping()
        db.ping(True)
        db.set_charset("utf8mb4")
        with db.transaction():
            with pytest.raises(pymysql.Error):
                execute(db, "SELEKT")
            execute(db, "SELECT 1")  # asks with a ping whether the block goes on


def test_pymysql_without_what_it_will_drop(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ping(self: t.Any) -> None:
        self._execute_command(0x0E, "")
        self._read_ok_packet()

    monkeypatch.delattr(pymysql.connections.Connection, "literal")
    monkeypatch.setattr(pymysql.connections.Connection, "ping", ping)
    monkeypatch.delattr(pymysql.connections.Connection, "set_charset")
    test_nothing_deprecated_is_called(pool)


@pytest.mark.parametrize("wrong", [12345, None, b"text", 1.5, ["a"]])
def test_only_text_is_escaped(pool: Pool, wrong: t.Any) -> None:
    with pool.connection() as db:
        with pytest.raises(TypeError, match="takes a str, not"):
            db.escape_string(wrong)
        assert db.escape_string("it's") == "it\\'s"


# Cursors


class Row(dict[str, t.Any]):
    """A row of a program's own."""


class RowCursor(DictCursor):
    dict_type = Row


class Callable:
    """Makes cursors, and has no hash."""

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, connection: t.Any) -> DictCursor:
        return DictCursor(connection)


FACTORIES: dict[str, t.Any] = {
    "function": lambda connection: DictCursor(connection),
    "partial": functools.partial(RowCursor),
    "without a hash": Callable(),
    "unbuffered": lambda connection: SSDictCursor(connection),
    "by cursor()": lambda connection: connection.cursor(DictCursor),
}


@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
def test_cursor_of_a_function(pool: Pool, factory: t.Any) -> None:
    with pool.connection() as old:
        cursor = old.cursor(factory)
        cursor.execute("SELECT 1 AS n UNION SELECT 2")
        assert cursor.fetchone() == {"n": 1}
    assert isinstance(cursor, Cursor)
    with pool.connection():
        for use in (cursor.fetchone, lambda: cursor.execute("SELECT 2")):
            with pytest.raises(StaleConnectionError):
                use()


def test_function_is_not_kept(pool: Pool) -> None:
    from flask_mysqlpool.driver.cursors import GUARDED

    with pool.connection() as db:
        db.cursor(lambda connection: Cursor(connection))
        kept = len(GUARDED)
        for _ in range(10):
            db.cursor(lambda connection: Cursor(connection))
        assert len(GUARDED) == kept


class Wrapper:
    """What a tracing library puts around a cursor."""

    def __init__(self, connection: t.Any) -> None:
        self.cursor = connection.cursor()


def test_function_may_wrap_a_cursor(pool: Pool) -> None:
    with pool.connection() as db:
        wrapper = db.cursor(lambda connection: Wrapper(connection))
        wrapper.cursor.execute("SELECT 1")
        assert wrapper.cursor.fetchall() == ((1,),)
    with pytest.raises(StaleConnectionError):
        wrapper.cursor.execute("SELECT 2")


class TheirDictCursor:
    """As MySQLdb's, which looks the same from outside."""

    def __init__(self, connection: t.Any) -> None:
        self.connection = connection


TheirDictCursor.__module__, TheirDictCursor.__qualname__ = (
    "MySQLdb.cursors",
    "DictCursor",
)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (TheirDictCursor, r"not MySQLdb\.cursors\.DictCursor"),
        (dict, r"not builtins\.dict"),
        ("DictCursor", "not 'DictCursor'"),
        (5, "not 5"),
        (["DictCursor"], r"not \['DictCursor'\]"),
    ],
)
def test_cursor_of_another_driver(pool: Pool, wrong: t.Any, name: str) -> None:
    with pool.connection() as db:
        number = db.thread_id()
        with pytest.raises(TypeError, match=name):
            db.cursor(wrong)
        assert execute(db, "SELECT CONNECTION_ID()") == ((number,),)


def test_setting_of_another_drivers_cursor(make_pool: MakePool) -> None:
    with pytest.raises(ConfigError, match="CURSORCLASS"):
        make_pool(cursorclass=TheirDictCursor)


# The module


def test_names_of_a_database_module() -> None:
    """PEP 249, Module Interface: what libraries look for."""
    for name in ("apilevel", "threadsafety", "paramstyle"):
        assert getattr(flask_mysqlpool, name) == getattr(pymysql, name)
        assert name in flask_mysqlpool.__all__
