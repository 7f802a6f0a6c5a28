"""The programs that people learn pooling from, ported.

Each is what a tutorial or README has, in its style: mysql-connector's pool,
pymysql-pool, a pool made of a queue, DBUtils with PyMySQL, and a pool class of one's
own with a context manager. What differs from the original is stated by an assertion.
"""

from __future__ import annotations

import logging
import threading
import typing as t
from collections.abc import Callable
from pathlib import Path

import flask
import pymysql
import pytest
from pymysql.cursors import DictCursor

from flask_mysqlpool import ConfigError
from flask_mysqlpool import get_db
from flask_mysqlpool import NotInitializedError
from flask_mysqlpool import Pool
from flask_mysqlpool import PoolClosed
from flask_mysqlpool import PooledConnection
from flask_mysqlpool import PoolError
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool import StaleConnectionError

from ..support.flask_apps import in_use
from ..support.flask_apps import MakeApp
from ..support.flask_apps import pool_of
from ..support.ledger import Ledger
from ..support.ledger import NOTHING
from ..support.pools import MakePool
from ..support.queries import execute
from ..support.waiting import wait_until

MIGRATION = Path(__file__).parents[2] / "docs" / "migration.rst"
ALL = "SELECT id, v FROM ledger ORDER BY id"
SET = "UPDATE ledger SET v = %s WHERE id = %s"


def in_threads(count: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("theirs", "here"),
    [
        ("connection_id", "``thread_id()``"),
        ("is_connected()", "``open``"),
        ("size()", "``pool.stats()``"),
        ("len(pool)", "``TypeError``"),
        ("clear()", "``pool.recycle()``"),
        ("with con as cur", "**not committed**"),
        ("get_connection()", "NotInitializedError"),
        ("mysql.connector.Error", ":exc:`pymysql.err.Error`"),
        ("pymysql.connect()", "does not do it"),
    ],
)
def test_migration_page_says_what_it_is_here(theirs: str, here: str) -> None:
    tables = MIGRATION.read_text().split(".. peer:: ")[1:]
    rows = [row for table in tables for row in table.split("\n   * - ")[1:]]
    (row,) = (row for row in rows if f"``{theirs}``" in row.partition("\n")[0])
    assert here in row


# mysql-connector's pool: a pool with a name, get_connection(), is_connected(), a
# dictionary cursor, close() in a finally.


class ConnectorProgram:
    """The class that tutorials build around ``MySQLConnectionPool``."""

    def __init__(self, url: str) -> None:
        self.pool = Pool.from_url(
            url,
            name="mypool",
            max_size=2,
            reset="session",
            timeout=0,
            ssl_disabled=True,
        )

    def read(self, sql: str, args: t.Any = None) -> t.Any:
        connection = self.pool.connection()  # get_connection()
        try:
            if connection.open:  # is_connected()
                cursor = connection.cursor(DictCursor)  # dictionary=True
                cursor.execute(sql, args)
                return cursor.fetchall()
        except pymysql.Error as error:  # mysql.connector.Error
            code, text = error.args  # errno, msg
            return f"{code}: {text}"
        finally:
            if connection.open:
                connection.close()

    def write(self, sql: str, args: t.Any) -> int:
        connection = self.pool.connection()
        cursor = connection.cursor()
        cursor.execute(sql, args)
        connection.commit()
        cursor.close()
        connection.close()
        return cursor.rowcount


def test_program_for_the_pool_of_mysql_connector(
    ledger: Ledger, mysql_url: str
) -> None:
    program = ConnectorProgram(mysql_url)
    with program.pool as pool:
        assert program.write(SET, (5, 1)) == 1
        assert program.read(ALL) == [{"id": 1, "v": 5}, {"id": 2, "v": 0}]
        assert program.read("SELECT nothing") == (
            "1054: Unknown column 'nothing' in 'SELECT'"
        )
        assert (pool.name, pool.stats().max_size) == ("mypool", 2)
        # Connections are opened when they are needed, not all in __init__().
        assert pool.stats().size == 1
        # pool_reset_session: variables of a user do not survive.
        with pool.connection() as connection:
            execute(connection, "SET @seen = 1")
        with pool.connection() as connection:
            assert execute(connection, "SELECT @seen") == ((None,),)


def test_names_of_mysql_connector(ledger: Ledger, mysql_url: str) -> None:
    with ConnectorProgram(mysql_url).pool as pool:
        with pool.connection() as connection:
            assert not hasattr(connection, "connection_id")
            assert not hasattr(connection, "is_connected")
            assert connection.thread_id() in ledger.sessions
            connection.ping()
            with pytest.raises(TypeError, match="dictionary"):
                connection.cursor(dictionary=True)  # type: ignore[call-overload]
            ledger.kill(connection.thread_id())
            before = connection.open  # it asks nobody
            with pytest.raises(pymysql.err.OperationalError):
                connection.ping()
            assert (before, connection.open) == (True, False)
        first, second = pool.connection(), pool.connection()
        with pytest.raises(PoolError) as full:  # the name of their error, too
            pool.connection()
        assert isinstance(full.value, PoolTimeout)
        pool.resize(3)  # add_connection()
        pool.connection().close()
        first.close()
        second.close()


def test_get_connection_outside_of_an_app_context(make_app: MakeApp) -> None:
    """A thread or a script of an app takes the pool's connection."""
    app = make_app(max_size=1)
    with pytest.raises(NotInitializedError, match="app context"):
        get_db()
    with pool_of(app).connection() as connection:
        assert execute(connection, "SELECT 1") == ((1,),)
    with app.app_context():
        assert get_db() is get_db()
    assert in_use(app) == 0


# pymysql-pool: the session of its README, then its threads.


def test_readme_of_pymysql_pool(mysql_url: str) -> None:
    config: dict[str, t.Any] = {"autocommit": True, "ssl_disabled": True, "timeout": 0}
    pool = Pool.from_url(mysql_url, name="mypool", min_size=2, max_size=3, **config)
    with pool:
        assert pool.stats().size == 0  # pre_create_num: after the first use
        first = pool.connection()
        wait_until(lambda: pool.stats().idle == 1)  # available_num
        second = pool.connection()
        assert pool.stats().size == 2  # total_num
        third = pool.connection()
        with pytest.raises(PoolTimeout, match="none is free"):
            pool.connection()  # get_connection(): at once, or after a wait in a queue
        first.close()
        first.close()  # no ReturnConnectionToPoolError
        with second:
            with second.cursor() as cur:
                cur.execute("SELECT 1+1")
                assert cur.fetchone() == (2,)
        with pytest.raises(StaleConnectionError):
            with second:
                pytest.fail("it was entered")
        assert (pool.stats().size, pool.stats().idle) == (3, 2)
        third.close()


def test_threads_of_pymysql_pool(make_pool: MakePool, ledger: Ledger) -> None:
    pool = make_pool(max_size=2, autocommit=True)

    def work(number: int) -> None:
        with pool.connection() as con, con.cursor() as cur:
            cur.execute("UPDATE ledger SET v = v + 1 WHERE id = 1")

    in_threads(8, work)
    assert ledger.rows == {1: 8, 2: 0}
    assert pool.stats().size <= 2


def test_with_con_as_cur(make_pool: MakePool, ledger: Ledger) -> None:
    """PyMySQL before 1.0 gave a cursor, and committed at the end."""
    pool = make_pool(max_size=1)
    with pool.connection() as cur:
        assert isinstance(cur, PooledConnection)
        assert not hasattr(cur, "execute")
    with pool.connection() as con, con.cursor() as cursor:
        cursor.execute(SET, (5, 1))
    assert ledger.rows == NOTHING
    assert not con.open  # it went back


# A pool made of a queue: filled at the start, get() and put().


class QueueProgram:
    """What is left of the class around ``queue.Queue``."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def get(self, timeout: float | None = None) -> PooledConnection:
        return self.pool.connection(timeout)

    def put(self, connection: PooledConnection) -> None:
        connection.close()

    def size(self) -> int:
        return self.pool.stats().idle  # qsize()

    def clear(self) -> None:
        self.pool.recycle()

    def close_all(self) -> None:
        self.pool.close()


def test_pool_made_of_a_queue(make_pool: MakePool, ledger: Ledger) -> None:
    program = QueueProgram(make_pool(max_size=2))
    first, second = program.get(), program.get()
    with pytest.raises(PoolTimeout):  # queue.Empty
        program.get(timeout=0.01)
    execute(first, SET, 5, 1)
    program.put(first)
    program.put(first)  # in a queue it would be there twice
    program.put(second)
    assert program.size() == 2
    with program.get() as third:  # a queue hands the open transaction on
        third.commit()
    assert ledger.rows == NOTHING
    with pytest.raises(StaleConnectionError):  # in a queue: the next user's connection
        first.cursor()
    with pytest.raises(TypeError):
        len(program.pool)
    sessions = set(ledger.sessions)
    program.clear()
    assert program.size() == 0
    with program.get() as fourth:
        assert fourth.thread_id() not in sessions
    program.close_all()
    with pytest.raises(PoolClosed):
        program.get()


def test_queue_and_a_server_that_went_away(make_pool: MakePool, ledger: Ledger) -> None:
    """A queue hands a dead connection out, unless its user pings."""
    program = QueueProgram(make_pool(max_size=1))
    connection = program.get()
    ledger.kill(connection.thread_id())
    program.put(connection)
    with program.get() as connection:
        assert execute(connection, "SELECT 1") == ((1,),)


# DBUtils with PyMySQL, in a Flask app: POOL in the configuration, a helper class with
# open(), fetch_one(), fetch_all(), insert().


class SQLHelper:
    """The helper class of the tutorials, with ``POOL`` from the app."""

    @staticmethod
    def open(cursor: type[DictCursor]) -> tuple[PooledConnection, t.Any]:
        pool: Pool = flask.current_app.extensions["mysqlpool"]["default"]
        connection = pool.connection(shareable=False)
        return connection, connection.cursor(cursor=cursor)

    @staticmethod
    def close(connection: PooledConnection, cursor: t.Any) -> None:
        connection.commit()
        cursor.close()
        connection.close()

    @classmethod
    def fetch_all(cls, sql: str, *args: t.Any) -> t.Any:
        connection, cursor = cls.open(DictCursor)
        cursor.execute(sql, args)
        found = cursor.fetchall()
        cls.close(connection, cursor)
        return found

    @classmethod
    def execute(cls, sql: str, *args: t.Any) -> t.Any:
        connection, cursor = cls.open(DictCursor)
        affected = cursor.execute(sql, args)
        cls.close(connection, cursor)
        return affected


DBUTILS: dict[str, t.Any] = {
    "maxconnections": 5,
    "mincached": 2,
    "blocking": True,
    "maxusage": None,
}


def test_helper_class_over_dbutils(make_app: MakeApp, ledger: Ledger) -> None:
    app = make_app(max_size=5, min_size=2, setsession=["SET time_zone = '+00:00'"])

    @app.get("/<int:value>")
    def view(value: int) -> t.Any:
        assert SQLHelper.execute(SET, value, 1) == 1
        return SQLHelper.fetch_all(ALL)

    assert app.test_client().get("/7").json == [{"id": 1, "v": 7}, {"id": 2, "v": 0}]
    assert in_use(app) == 0
    wait_until(lambda: pool_of(app).stats().size == 2)  # mincached: after the first use


@pytest.mark.parametrize("name", DBUTILS)
def test_names_of_dbutils_are_not_taken_in_silence(mysql_url: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"MYSQLPOOL_{name.upper()} is not a setting"):
        Pool.from_url(mysql_url, **{name: DBUTILS[name]})


def test_forgotten_commit_in_the_style_of_dbutils(
    make_app: MakeApp, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """Rolled back, as there with ``reset=True``, but not in silence."""
    app = make_app(max_size=1)

    @app.get("/")
    def order() -> str:
        conn = pool_of(app).connection()
        cursor = conn.cursor()
        cursor.execute(SET, (5, 1))
        cursor.close()
        conn.close()
        return "ordered"

    with caplog.at_level(logging.WARNING):
        assert app.test_client().get("/").text == "ordered"
    assert ledger.rows == NOTHING
    assert "GET order changed data in 'default' and did not commit" in caplog.text


def test_statement_is_not_sent_again(make_pool: MakePool, ledger: Ledger) -> None:
    """DBUtils opens another connection amid the transaction and goes on."""
    pool = make_pool(max_size=1)
    with pool.connection() as connection:
        execute(connection, SET, 5, 1)
        ledger.kill(connection.thread_id())
        with pytest.raises(pymysql.err.OperationalError):
            execute(connection, SET, 5, 2)
        with pytest.raises(pymysql.err.InterfaceError, match="was lost"):
            connection.commit()
    assert ledger.rows == NOTHING


# A pool class of one's own: acquire(), release(), a context manager that commits, or
# rolls back on an error.


class Database:
    """``with database.session() as cursor``, over ``get_db()`` or a pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def acquire(self) -> PooledConnection:
        return self.pool.connection()

    def release(self, connection: PooledConnection) -> None:
        connection.close()

    def transfer(self, amount: int) -> None:
        with self.acquire() as connection, connection.transaction():
            with connection.cursor() as cursor:
                cursor.execute("UPDATE ledger SET v = v - %s WHERE id = 1", (amount,))
                if amount > 100:
                    raise ValueError("too much")
                cursor.execute("UPDATE ledger SET v = v + %s WHERE id = 2", (amount,))


def test_pool_class_of_ones_own(make_pool: MakePool, ledger: Ledger) -> None:
    database = Database(make_pool(max_size=2))
    database.transfer(10)
    with pytest.raises(ValueError, match="too much"):
        database.transfer(101)
    in_threads(4, lambda number: database.transfer(1))
    assert ledger.rows == {1: -14, 2: 14}
    connection = database.acquire()
    # The original commits in release(): here what was not committed is rolled back.
    execute(connection, SET, 0, 1)
    database.release(connection)
    assert ledger.rows == {1: -14, 2: 14}
    assert database.pool.stats().in_use == 0


def test_replacing_connect_is_left_to_its_user(
    make_pool: MakePool, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package leaves ``pymysql.connect()`` alone, and works where a program has
    replaced it by the pool; but then its arguments count for nothing.
    """
    plain = pymysql.connect
    pool = make_pool(max_size=1)
    pool.connection().close()
    assert pymysql.connect is plain
    with monkeypatch.context() as patch:
        patch.setattr(pymysql, "connect", lambda **keywords: pool.connection())
        with pymysql.connect(host="elsewhere", database="other") as connection:
            assert execute(connection, ALL) == ((1, 0), (2, 0))
            with pytest.raises(AttributeError, match="has no connect"):
                connection.connect()
