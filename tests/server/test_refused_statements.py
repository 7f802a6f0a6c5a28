"""A statement that was refused may have committed the block before it failed, as DDL
does: the block says so, and is not repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import typing as t
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import flask
import pymysql
import pytest
from pymysql.constants import ER

from flask_mysqlpool import get_db
from flask_mysqlpool import Pool
from flask_mysqlpool import transaction
from flask_mysqlpool import transactional
from flask_mysqlpool.driver.session import Session
from flask_mysqlpool.testing import PrivateServer

from ..support.flask_apps import MakeApp
from ..support.ledger import change
from ..support.ledger import Ledger
from ..support.ledger import NOTHING
from ..support.pools import MakePool
from ..support.queries import execute
from ..support.waiting import wait_until

ENDED = "ended within its block"


@pytest.fixture(params=[False, True], ids=["autocommit off", "autocommit on"])
def site(request: pytest.FixtureRequest, make_app: MakeApp) -> flask.Flask:
    return make_app(
        autocommit=request.param, max_size=2, setsession=["SET lock_wait_timeout = 1"]
    )


@pytest.fixture
def context(site: flask.Flask) -> Iterator[None]:
    with site.app_context():
        yield


@pytest.fixture
def used(ledger: Ledger) -> Iterator[None]:
    """A table, which another transaction has read."""
    ledger.ask("CREATE TABLE used (id INT)")
    ledger.ask("CREATE PROCEDURE truncate_it() TRUNCATE used")
    with contextlib.closing(ledger.connect()) as other:
        execute(other, "SELECT * FROM used")
        yield


def from_elsewhere(code: int) -> t.NoReturn:
    """Raise what another connection met."""
    raise pymysql.err.OperationalError(code, "of another bind")


WAIT = (
    "TRUNCATE used",
    "/* daily */ TRUNCATE used",
    "ALTER TABLE used ADD more INT",
    "DROP TABLE used",
    "RENAME TABLE used TO unused",
    "LOCK TABLES used WRITE",
    "CREATE INDEX ids ON used (id)",
    "CREATE TRIGGER twice BEFORE INSERT ON used FOR EACH ROW SET @a = 1",
    "CALL truncate_it()",
)


@pytest.mark.usefixtures("context", "used")
@pytest.mark.parametrize("sql", WAIT)
def test_what_a_statement_committed_that_waited_too_long_is_not_repeated(
    ledger: Ledger, sql: str
) -> None:
    @transactional()
    def body() -> None:
        change(get_db(), 1)
        execute(get_db(), sql)

    with pytest.raises(pymysql.err.ProgrammingError, match=ENDED) as caught:
        body()
    cause = caught.value.__cause__
    assert isinstance(cause, pymysql.err.OperationalError)
    assert cause.args[0] == ER.LOCK_WAIT_TIMEOUT
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.usefixtures("used")
def test_coroutine_that_was_committed_is_not_repeated(
    site: flask.Flask, ledger: Ledger
) -> None:
    @transactional()
    async def body() -> None:
        change(get_db(), 1)
        execute(get_db(), "TRUNCATE used")

    with site.app_context(), pytest.raises(pymysql.err.ProgrammingError, match=ENDED):
        asyncio.run(body())
    assert ledger.rows == {1: 1, 2: 0}


REFUSED = (
    "CREATE TABLE ledger (id INT)",
    "TRUNCATE no_such_table",
    "DROP TABLE no_such_table",
    "CALL truncate_nothing()",
)


@pytest.fixture
def truncate_nothing(ledger: Ledger) -> None:
    ledger.ask("CREATE PROCEDURE truncate_nothing() TRUNCATE no_such_table")


@pytest.mark.usefixtures("context", "truncate_nothing")
@pytest.mark.parametrize("blocks", [0, 1])
@pytest.mark.parametrize("code", [ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT])
@pytest.mark.parametrize("sql", [*REFUSED, "COMMIT RELEASE", "COMMIT AND CHAIN"])
def test_what_was_committed_is_not_repeated_after_an_error_from_elsewhere(
    ledger: Ledger, sql: str, code: int, blocks: int
) -> None:
    """Whether or not an inner block raised that the transaction was ended."""

    @transactional()
    def body() -> None:
        change(get_db(), 1)
        with contextlib.suppress(pymysql.MySQLError):
            with transaction() if blocks else contextlib.nullcontext():
                execute(get_db(), sql)
        from_elsewhere(code)

    with pytest.raises(pymysql.MySQLError):
        body()
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.usefixtures("context", "truncate_nothing")
@pytest.mark.parametrize("sql", REFUSED)
def test_block_that_ends_with_the_refusal_says_what_it_committed(
    ledger: Ledger, sql: str
) -> None:
    with pytest.raises(pymysql.err.ProgrammingError, match=ENDED) as caught:
        with transaction() as db:
            change(db, 1)
            execute(db, sql)
    assert isinstance(caught.value.__cause__, pymysql.MySQLError)
    assert ledger.rows == {1: 1, 2: 0}
    with transaction() as db:
        change(db, 2)
    assert ledger.rows == {1: 1, 2: 1}


@pytest.mark.usefixtures("context", "truncate_nothing")
@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("sql", [*REFUSED, "COMMIT RELEASE"])
def test_block_that_fails_after_a_refusal_says_what_it_committed(
    ledger: Ledger, sql: str, inner: bool
) -> None:
    with pytest.raises(pymysql.err.ProgrammingError, match=ENDED) as caught:
        with transaction() as db:
            change(db, 1)
            with transaction() if inner else contextlib.nullcontext():
                with contextlib.suppress(pymysql.MySQLError):
                    execute(db, sql)
                raise KeyError("nothing was done")
    assert isinstance(caught.value.__cause__, KeyError)
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize(
    "sql", ["INSERT INTO ledger VALUES (1, 0)", "SELECT * FROM no_such_table"]
)
def test_data_statements_that_are_refused_send_nothing_more(
    ledger: Ledger, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pings: list[Session] = []
    monkeypatch.setattr(Session, "ping", pings.append)
    with pytest.raises(pymysql.MySQLError):
        with transaction() as db:
            change(db, 1)
            execute(db, sql)
    assert not pings
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
def test_other_statements_that_are_refused_keep_their_error(ledger: Ledger) -> None:
    with pytest.raises(pymysql.err.OperationalError, match="no_such_variable"):
        with transaction() as db:
            change(db, 1)
            execute(db, "SET no_such_variable = 1")
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize(("commits", "rows"), [(True, {1: 1, 2: 0}), (False, NOTHING)])
def test_read_that_waits_too_long_after_a_procedure(
    ledger: Ledger, commits: bool, rows: dict[int, int]
) -> None:
    """Once the server has rolled back, nothing tells whether the procedure committed
    before: that is asked before a read that may wait.
    """
    end = "COMMIT; START TRANSACTION;" if commits else "DO 1;"
    ledger.ask(f"CREATE PROCEDURE restarts() BEGIN {end} END")
    tries = []

    @transactional(tries=2)
    def body() -> None:
        tries.append(1)
        change(get_db(), 1)
        execute(get_db(), "CALL restarts()")
        execute(get_db(), "SELECT * FROM ledger WHERE id = 2 FOR UPDATE")

    with contextlib.closing(ledger.connect()) as other:
        change(other, 2)
        execute(get_db(), "SET innodb_lock_wait_timeout = 1")
        get_db().rollback()
        with pytest.raises(pymysql.MySQLError):
            body()
        other.rollback()
    assert ledger.rows == rows
    assert len(tries) == (1 if commits else 2)


def test_deadlock_of_a_statement_that_committed_first(
    make_pool: MakePool, ledger: Ledger
) -> None:
    """The server rolls back the transaction of that statement, not the one before."""
    ledger.ask("CREATE TABLE ballast (id INT PRIMARY KEY) ENGINE=InnoDB")
    rows = ", ".join(f"({n})" for n in range(100))
    waiting = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'"
    with (
        make_pool().connection() as db,
        contextlib.closing(ledger.connect()) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        execute(other, f"INSERT INTO ballast VALUES {rows}")  # spared: it changed more
        change(other, 2)

        @db.transactional(tries=2)
        def body() -> None:
            change(db, 1)
            execute(db, "CREATE TABLE copied ENGINE=InnoDB SELECT * FROM ledger")

        done = thread.submit(body)
        wait_until(lambda: ledger.ask(waiting)[0][1] == "1")
        change(other, 1)
        other.rollback()
        with pytest.raises(pymysql.err.ProgrammingError, match=ENDED) as caught:
            done.result(60)
    cause = caught.value.__cause__
    assert isinstance(cause, pymysql.err.OperationalError)
    assert cause.args[0] == ER.LOCK_DEADLOCK
    assert ledger.rows == {1: 1, 2: 0}


# Where a timeout rolls back the whole transaction


@pytest.fixture(scope="module")
def rolling_back() -> Iterator[PrivateServer]:
    with PrivateServer(options=["--innodb-rollback-on-timeout"]) as server:
        with contextlib.closing(server.connect(autocommit=True)) as session:
            for sql in (
                "CREATE DATABASE bank",
                "CREATE TABLE bank.ledger (id INT PRIMARY KEY, v INT) ENGINE=InnoDB",
                "CREATE PROCEDURE bank.change_it()"
                " BEGIN COMMIT; UPDATE ledger SET v = v + 1 WHERE id = 2; END",
            ):
                execute(session, sql)
        yield server


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("UPDATE ledger SET v = v + 1 WHERE id = 2", (3, {1: 0, 2: 0})),
        ("CALL change_it()", (1, {1: 1, 2: 0})),
    ],
)
def test_timeout_that_rolls_back_is_repeated_where_nothing_can_have_committed(
    rolling_back: PrivateServer, sql: str, expected: tuple[int, dict[int, int]]
) -> None:
    tries = []
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(
            contextlib.closing(rolling_back.connect(database="bank"))
        )
        execute(other, "REPLACE INTO ledger VALUES (1, 0), (2, 0)")
        other.commit()
        change(other, 2)
        pool = stack.enter_context(
            Pool.from_url(
                rolling_back.url("bank"),
                setsession=["SET innodb_lock_wait_timeout = 1"],
            )
        )
        db = stack.enter_context(pool.connection())

        @db.transactional()
        def body() -> None:
            tries.append(1)
            change(db, 1)
            execute(db, sql)

        with pytest.raises(pymysql.MySQLError):
            body()
        other.rollback()
        rows = dict(execute(other, "SELECT id, v FROM ledger"))
    assert (len(tries), rows) == expected
