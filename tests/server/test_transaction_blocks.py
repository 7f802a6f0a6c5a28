"""A transaction() block is all or nothing, whatever is done before and within it."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Iterator

import flask
import pymysql
import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool import StaleConnectionError
from flask_mysqlpool import transaction

from ..support.flask_apps import in_copy_of_context
from ..support.flask_apps import MakeApp
from ..support.flask_apps import pool_of
from ..support.ledger import change
from ..support.ledger import Ledger
from ..support.ledger import NOTHING
from ..support.queries import execute


@pytest.fixture(params=[False, True], ids=["autocommit off", "autocommit on"])
def site(request: pytest.FixtureRequest, make_app: MakeApp) -> flask.Flask:
    return make_app(autocommit=request.param, max_size=2)


@pytest.fixture
def context(site: flask.Flask) -> Iterator[None]:
    with site.app_context():
        yield


# What was done before the block

CHANGES = (
    "UPDATE ledger SET v = 5 WHERE id = 1",
    "   update ledger SET v = 5 WHERE id = 1",
    "/* traced */ UPDATE ledger SET v = 5 WHERE id = 1",
    "-- traced\nUPDATE ledger SET v = 5 WHERE id = 1",
    "/*! UPDATE ledger SET v = 5 WHERE id = 1 */",
    "UPDATE ledger SET v = LENGTH('/* :=') WHERE id = 1",
    "INSERT INTO ledger VALUES (3, 0)",
    "INSERT INTO ledger SELECT 3, 0",
    "REPLACE INTO ledger VALUES (1, 5)",
    "DELETE FROM ledger WHERE id = 1",
    "CALL change_it()",
    "EXECUTE prepared",
)


@pytest.fixture
def open_transaction(context: None, ledger: Ledger) -> Iterator[t.Any]:
    """A connection with a transaction that the user has begun."""
    ledger.ask("CREATE PROCEDURE change_it() UPDATE ledger SET v = 5 WHERE id = 1")
    db = get_db()
    execute(db, "PREPARE prepared FROM 'UPDATE ledger SET v = 5 WHERE id = 1'")
    db.begin()
    yield db


@pytest.mark.parametrize("sql", CHANGES)
def test_block_does_not_commit_what_was_changed_before(
    open_transaction: t.Any, ledger: Ledger, sql: str
) -> None:
    execute(open_transaction, sql)
    with pytest.raises(pymysql.err.ProgrammingError, match="before it"):
        with transaction():
            raise AssertionError("the body runs")
    assert ledger.rows == NOTHING
    open_transaction.rollback()
    with transaction() as db:
        change(db, 2)
    assert ledger.rows == {1: 0, 2: 1}


def test_block_does_not_commit_changes_that_returned_rows(
    open_transaction: t.Any, ledger: Ledger
) -> None:
    if "MariaDB" not in open_transaction.get_server_info():
        pytest.skip("MySQL has no RETURNING")
    execute(open_transaction, "DELETE FROM ledger WHERE id = 1 RETURNING v")
    with pytest.raises(pymysql.err.ProgrammingError, match="before it"):
        with transaction():
            raise AssertionError("the body runs")
    assert ledger.rows == NOTHING


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_block_begins_after_the_transaction_before_it_was_ended(
    open_transaction: t.Any, ledger: Ledger, end: str
) -> None:
    change(open_transaction, 1)
    getattr(open_transaction, end)()
    with transaction() as db:
        change(db, 2)
    assert ledger.rows == {1: int(end == "commit"), 2: 1}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM ledger",
        "/* traced */ SELECT * FROM ledger",
        "-- traced\nSELECT * FROM ledger",
        "WITH all_of_it AS (SELECT * FROM ledger) SELECT * FROM all_of_it",
        "SELECT @a := 1",
        "SELECT GET_LOCK('a', 0)",
        "SET @a = 1",
        "DO 1",
        "SHOW TABLES",
    ],
)
@pytest.mark.filterwarnings("ignore::pymysql.err.Warning")
def test_block_may_follow_statements_that_change_nothing(
    open_transaction: t.Any, ledger: Ledger, sql: str
) -> None:
    execute(open_transaction, sql)
    with transaction() as db:
        change(db, 2)
    assert ledger.rows == {1: 0, 2: 1}


# Ended from within


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("method", ["commit", "rollback", "begin"])
def test_block_cannot_be_ended_by_a_method(
    ledger: Ledger, method: str, blocks: int
) -> None:
    with contextlib.ExitStack() as stack:
        db = [stack.enter_context(transaction()) for _ in range(blocks)][0]
        change(db, 1)
        with pytest.raises(pymysql.err.ProgrammingError, match=f"{method}\\(\\)"):
            getattr(db, method)()
        assert ledger.rows == NOTHING
        change(db, 2)
    assert ledger.rows == {1: 1, 2: 1}


ENDS = (
    "COMMIT",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "BEGIN",
    "START TRANSACTION",
    "CREATE TABLE another (id INT)",
    "TRUNCATE TABLE another_one",
    "/* traced */ COMMIT",
    "/* traced */ BEGIN",
    "-- traced\nSTART TRANSACTION",
    "# traced\nCOMMIT AND CHAIN",
    "/*!50000 BEGIN */",
    "/*!99999 of a later server */ BEGIN",
    "SET autocommit = 1 - @@autocommit",
    "LOCK TABLES another_one WRITE",
    "CALL commit_it()",
    "CALL show_and_commit_it()",
)


@pytest.fixture
def ending(context: None, ledger: Ledger) -> None:
    ledger.ask("CREATE TABLE another_one (id INT)")
    ledger.ask("CREATE PROCEDURE commit_it() COMMIT")
    ledger.ask("CREATE PROCEDURE show_and_commit_it() BEGIN SELECT 1; COMMIT; END")


def skip_where_harmless(db: t.Any, sql: str) -> None:
    autocommit = execute(db, "SELECT @@autocommit") == ((1,),)
    if sql.startswith("SET autocommit") and autocommit:
        pytest.skip("to switch autocommit off ends no transaction")


@pytest.mark.usefixtures("ending")
@pytest.mark.parametrize("sql", ENDS)
def test_block_ended_by_a_statement_raises(ledger: Ledger, sql: str) -> None:
    skip_where_harmless(get_db(), sql)
    with pytest.raises(pymysql.err.ProgrammingError, match="ended within its block"):
        with transaction() as db:
            change(db, 1)
            execute(db, sql)
    assert ledger.rows == {1: 0 if sql == "ROLLBACK" else 1, 2: 0}
    get_db().rollback()
    with transaction():
        change(db, 2)
    assert ledger.rows[2] == 1


@pytest.mark.usefixtures("ending")
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("sql", ENDS)
def test_nothing_is_executed_after_a_block_was_ended(
    ledger: Ledger, sql: str, blocks: int
) -> None:
    skip_where_harmless(get_db(), sql)
    with pytest.raises(pymysql.err.ProgrammingError, match="ended within its block"):
        with contextlib.ExitStack() as stack:
            db = [stack.enter_context(transaction()) for _ in range(blocks)][0]
            execute(db, sql)
            for _ in range(2):
                with pytest.raises(
                    pymysql.err.ProgrammingError, match="ended within its block"
                ):
                    change(db, 2)
    get_db().commit()
    assert ledger.rows == NOTHING


def test_block_ended_by_switching_autocommit_on(
    make_app: MakeApp, ledger: Ledger
) -> None:
    with make_app(autocommit=False).app_context():
        with pytest.raises(
            pymysql.err.ProgrammingError, match="ended within its block"
        ):
            with transaction() as db:
                change(db, 1)
                db.autocommit(True)
                with pytest.raises(pymysql.err.ProgrammingError, match="ended within"):
                    change(db, 2)
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TEMPORARY TABLE temporary (id INT)",
        "SELECT 1",
        "SELECT * FROM information_schema.tables LIMIT 1",
        "SHOW TABLES",
        "SHOW STATUS LIKE 'Uptime'",
        "SET @a = 1",
        "SET @@SESSION.sql_mode = ''",
        "SAVEPOINT mine",
        "DO 1",
        "EXPLAIN SELECT 1",
        "PREPARE prepared FROM 'SELECT 1'",
        "INSERT INTO ledger SELECT 3, 0",
        "DELETE FROM ledger WHERE id > 2",
        "CALL do_it()",
    ],
)
def test_block_is_not_ended_by_other_statements(ledger: Ledger, sql: str) -> None:
    ledger.ask("CREATE PROCEDURE do_it() BEGIN SELECT 1; UPDATE ledger SET v = v; END")
    with transaction() as db:
        change(db, 1)
        with transaction():
            execute(db, sql)
            db.ping()
            change(db, 2)
    assert ledger.rows.items() >= {1: 1, 2: 1}.items()


@pytest.mark.usefixtures("context")
def test_user_may_have_savepoints(ledger: Ledger) -> None:
    with transaction() as db:
        change(db, 1)
        execute(db, "SAVEPOINT mine")
        change(db, 2)
        execute(db, "ROLLBACK TO SAVEPOINT mine")
        execute(db, "RELEASE SAVEPOINT mine")
    assert ledger.rows == {1: 1, 2: 0}


# Returned within


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("blocks", [1, 2])
def test_connection_returned_within_the_block(
    site: flask.Flask, ledger: Ledger, blocks: int
) -> None:
    with pytest.raises(StaleConnectionError):
        with contextlib.ExitStack() as stack:
            for _ in range(blocks):
                stack.enter_context(transaction())
            with get_db() as db:
                change(db, 1)
            assert pool_of(site).stats().in_use == 0
    with transaction() as db:
        change(db, 2)
    assert ledger.rows == {1: 0, 2: 1}


# Generators


def change_in_steps(account: int) -> Iterator[None]:
    with transaction() as db:
        change(db, account)
        yield
        change(db, account, 10)


@pytest.mark.usefixtures("context")
def test_generator_closed_within_its_block(ledger: Ledger) -> None:
    steps = change_in_steps(1)
    next(steps)
    steps.close()  # type: ignore[attr-defined]  # it is a generator
    get_db().commit()
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
def test_generator_dropped_within_its_block(ledger: Ledger) -> None:
    for _ in change_in_steps(1):
        break
    get_db().commit()
    assert ledger.rows == NOTHING


@pytest.mark.parametrize("finish", [True, False])
def test_generator_that_outlives_the_context(
    site: flask.Flask, ledger: Ledger, finish: bool
) -> None:
    with site.app_context():
        steps = change_in_steps(1)
        next(steps)
    assert pool_of(site).stats().in_use == 0
    with site.app_context():
        db = get_db()
        change(db, 2)
        if finish:
            with pytest.raises(StaleConnectionError):
                next(steps)
        else:
            steps.close()  # type: ignore[attr-defined]  # it is a generator
        db.commit()
    assert ledger.rows == {1: 0, 2: 1}


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("first", [0, 1])
def test_order_in_which_the_blocks_of_two_generators_end(
    ledger: Ledger, first: int
) -> None:
    steps = [change_in_steps(1), change_in_steps(2)]
    for each in steps:
        next(each)
    order = (steps[first], steps[1 - first])
    if first == 1:  # the inner block ends first, as it should
        for each in order:
            assert next(each, "ended") == "ended"
        assert ledger.rows == {1: 11, 2: 11}
        return
    with pytest.raises(pymysql.err.ProgrammingError, match="within it"):
        next(order[0])
    with pytest.raises(pymysql.Error, match="within it"):
        next(order[1])
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
def test_outer_block_that_fails_while_an_inner_one_is_open(ledger: Ledger) -> None:
    with pytest.raises(ValueError):
        with transaction() as db:
            steps = change_in_steps(1)
            next(steps)
            change(db, 2)
            raise ValueError
    with pytest.raises(pymysql.Error, match="connection was lost.*: .*within it"):
        next(steps)
    with pytest.raises(pymysql.Error, match="connection was lost.*: .*within it"):
        db.commit()
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
def test_lost_connection_names_an_error_without_text() -> None:
    db = get_db()
    db.close_because(db.session, KeyboardInterrupt())
    with pytest.raises(pymysql.err.InterfaceError, match=": KeyboardInterrupt"):
        execute(db, "DO 1")


# Two threads


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("blocks", [1, 2])
def test_rollback_that_another_thread_stands_against(
    ledger: Ledger, blocks: int
) -> None:
    """The block fails while another thread uses its connection: the changes must not
    stay behind in a transaction that goes on.
    """

    def use(sql: str) -> None:
        with contextlib.suppress(pymysql.Error):
            execute(get_db(), sql)

    with ledger.lock() as wait:
        with contextlib.ExitStack() as outer:
            if blocks == 2:
                outer.enter_context(pytest.raises(pymysql.err.InterfaceError))
                outer.enter_context(transaction())
            with pytest.raises(ValueError):
                with transaction() as db:
                    change(db, 1)
                    thread = in_copy_of_context(use, wait)
                    ledger.await_execution(wait)
                    raise ValueError
    thread.join()
    with pytest.raises(pymysql.Error, match="connection was lost"):
        db.commit()
    assert ledger.rows == NOTHING
