"""Procedures and stored functions in and before a transaction() block: what they do is
not in the answer, and is found out all the same.
"""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable
from collections.abc import Iterator

import flask
import pymysql
import pytest
from pymysql.constants import CLIENT
from pymysql.cursors import Cursor
from pymysql.cursors import SSCursor

from flask_mysqlpool import get_db
from flask_mysqlpool import transaction
from flask_mysqlpool.driver.unseen import calls_stored_function

from ..support.flask_apps import MakeApp
from ..support.flask_apps import pool_of
from ..support.ledger import change
from ..support.ledger import Ledger
from ..support.ledger import NOTHING
from ..support.queries import execute
from ..support.waiting import wait_until

ENDED = "ended within its block"

# Each ends the transaction and leaves another one open.
RESTARTS = {
    "truncates": "BEGIN TRUNCATE other; INSERT INTO other VALUES (1); END",
    "starts": "BEGIN START TRANSACTION; INSERT INTO other VALUES (1); END",
    "starts_and_shows": "BEGIN SELECT 1; START TRANSACTION; SELECT 2; END",
    "chains": "COMMIT AND CHAIN",
    "undoes": "BEGIN ROLLBACK; START TRANSACTION; INSERT INTO other VALUES (1); END",
}
ENDS = {
    "commits": "COMMIT",
    "shows_and_commits": "BEGIN SELECT 1; SELECT 2; COMMIT; END",
    "commits_between": "BEGIN SELECT 1; COMMIT; SELECT 2; END",
}
HARMLESS = {
    "looks": "BEGIN SELECT 1; SELECT 2; END",
    "writes": "INSERT INTO other VALUES (1)",
    "goes_back": "BEGIN SAVEPOINT own; DELETE FROM other; ROLLBACK TO own; END",
}


@pytest.fixture(params=[False, True], ids=["autocommit off", "autocommit on"])
def site(request: pytest.FixtureRequest, make_app: MakeApp) -> flask.Flask:
    return make_app(
        autocommit=request.param, max_size=2, client_flag=CLIENT.MULTI_STATEMENTS
    )


@pytest.fixture
def context(site: flask.Flask, ledger: Ledger) -> Iterator[None]:
    ledger.ask("CREATE TABLE other (v INT) ENGINE=InnoDB")
    ledger.ask("CREATE TABLE third SELECT 1 AS v")
    for name, body in (RESTARTS | ENDS | HARMLESS).items():
        ledger.ask(f"CREATE PROCEDURE {name}() {body}")
    with site.app_context():
        yield


def skip_where_unknown(sql: str) -> None:
    if sql.startswith(("EXECUTE IM", "SET STATEMENT")):
        if "MariaDB" not in get_db().get_server_info():
            pytest.skip("only MariaDB has it")


HIDDEN = (
    *(f"CALL {name}()" for name in RESTARTS),
    "/* traced */ CALL starts()",
    "EXECUTE prepared",
    "EXECUTE IMMEDIATE 'CALL starts()'",
    "SET STATEMENT sort_buffer_size = 100000 FOR CALL starts()",
    "DO 1; COMMIT AND CHAIN",
    "DO 1; BEGIN",
)


# In a block


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("sql", HIDDEN)
def test_block_whose_transaction_was_replaced_raises(
    ledger: Ledger, sql: str, blocks: int
) -> None:
    skip_where_unknown(sql)
    execute(get_db(), "PREPARE prepared FROM 'CALL starts()'")
    get_db().rollback()
    with pytest.raises(pymysql.err.ProgrammingError, match=ENDED):
        with contextlib.ExitStack() as stack:
            db = [stack.enter_context(transaction()) for _ in range(blocks)][0]
            change(db, 1)
            execute(db, sql)
            for _ in range(2):
                with pytest.raises(pymysql.err.ProgrammingError, match=ENDED):
                    change(db, 2)
    get_db().commit()
    assert ledger.rows == {1: 0 if "undoes" in sql else 1, 2: 0}
    with transaction() as db:
        change(db, 2)
    assert ledger.rows[2] == 1


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("sql", HIDDEN)
def test_nothing_after_the_replacement_is_committed(ledger: Ledger, sql: str) -> None:
    skip_where_unknown(sql)
    execute(get_db(), "PREPARE prepared FROM 'CALL starts()'")
    get_db().rollback()
    with pytest.raises(pymysql.err.ProgrammingError, match=ENDED):
        with transaction() as db:
            execute(db, sql)
    get_db().commit()
    if "truncates" not in sql:
        assert ledger.ask("SELECT COUNT(*) FROM other") == ((0,),)


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("name", RESTARTS | ENDS)
def test_block_that_fails_after_its_transaction_was_ended(
    ledger: Ledger, name: str, outer: bool
) -> None:
    """Who handles the block's own error would take it to be undone."""
    with pytest.raises(pymysql.err.ProgrammingError, match=ENDED) as caught:
        with transaction() as db:
            change(db, 1)
            with transaction() if outer else contextlib.nullcontext():
                execute(db, f"CALL {name}()")
                raise ValueError("nothing was done")
    assert isinstance(caught.value.__cause__, ValueError)
    get_db().commit()
    assert ledger.rows == {1: 0 if name == "undoes" else 1, 2: 0}


@pytest.mark.usefixtures("context")
def test_interrupt_is_kept_where_the_transaction_was_ended(ledger: Ledger) -> None:
    with pytest.raises(KeyboardInterrupt):
        with transaction() as db:
            execute(db, "CALL starts()")
            raise KeyboardInterrupt
    with transaction() as db:
        change(db, 1)
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.usefixtures("context")
def test_procedure_that_fails_in_the_transaction_that_it_began(ledger: Ledger) -> None:
    ledger.ask(
        "CREATE PROCEDURE fails() BEGIN START TRANSACTION;"
        " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'of its own'; END"
    )
    with pytest.raises(pymysql.err.ProgrammingError, match=ENDED):
        with transaction() as db:
            change(db, 1)
            execute(db, "CALL fails()")
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("name", HARMLESS)
def test_block_goes_on_after_other_procedures(
    ledger: Ledger, name: str, blocks: int
) -> None:
    with contextlib.ExitStack() as stack:
        db = [stack.enter_context(transaction()) for _ in range(blocks)][0]
        change(db, 1)
        execute(db, "SAVEPOINT mine")
        execute(db, f"CALL {name}()")
        execute(db, f"CALL {name}()")
        change(db, 2)
        execute(db, "ROLLBACK TO SAVEPOINT mine")
        execute(db, f"CALL {name}()")
        with contextlib.suppress(ValueError), transaction():
            change(db, 2, 10)
            execute(db, f"CALL {name}()")
            raise ValueError
        with transaction():
            execute(db, f"CALL {name}()")
            with transaction():
                change(db, 2, 100)
    assert ledger.rows == {1: 1, 2: 100}


@pytest.mark.usefixtures("context")
def test_what_a_call_left_may_be_asked_for(ledger: Ledger) -> None:
    ledger.ask("CREATE PROCEDURE warns() SELECT CAST('x' AS SIGNED)")
    with transaction() as db, db.cursor() as cursor:
        cursor.callproc("warns")
        while cursor.nextset():
            pass
        cursor.execute("SHOW WARNINGS")
        assert len(cursor.fetchall()) == 1
        cursor.execute("CALL writes()")
        cursor.execute("SELECT ROW_COUNT()")
        assert cursor.fetchall() == ((1,),)
        cursor.execute("CALL writes()")
        cursor.execute("SELECT ROW_COUNT() INTO @counted")
        cursor.execute("SELECT @counted")
        assert cursor.fetchall() == ((1,),)


@pytest.mark.usefixtures("context")
def test_only_who_calls_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction() as db:
        sent: list[str | bytes] = []
        session = db.session
        send = session._execute_command

        def note(command: int, sql: str | bytes) -> None:
            sent.append(sql)
            send(command, sql)

        monkeypatch.setattr(session, "_execute_command", note)
        change(db, 1)
        execute(db, "SELECT 1")
        assert len(sent) == 2
        execute(db, "CALL writes()")
        change(db, 2)
    guard = "SAVEPOINT flask_mysqlpool_guard"
    assert sent[2:4] == [guard, "CALL writes()"]
    assert sent[4] == f"RELEASE {guard}"
    assert len(sent) == 7


# Results that are left to be read

LEFT: dict[str, Callable[[t.Any], object]] = {
    "open": lambda cursor: None,
    "fetched": lambda cursor: cursor.fetchall(),
    "second statement": lambda cursor: cursor.execute("SELECT 5"),
    "second call": lambda cursor: cursor.callproc("shows_and_commits"),
    "other cursor": lambda cursor: execute(get_db(), "SELECT 6"),
    "next results": lambda cursor: [0 for _ in iter(cursor.nextset, None)],
    "inner block": lambda cursor: transaction().__enter__(),
}


@pytest.mark.usefixtures("context")
@pytest.mark.filterwarnings("ignore:Previous unbuffered result:UserWarning")
@pytest.mark.parametrize(
    "name", ["shows_and_commits", "commits_between", "starts_and_shows"]
)
@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("kind", [Cursor, SSCursor])
def test_end_that_unread_results_hide(
    ledger: Ledger, name: str, left: str, closed: bool, kind: type[Cursor]
) -> None:
    with pytest.raises(pymysql.err.ProgrammingError, match=ENDED):
        with transaction() as db:
            change(db, 1)
            cursor = db.cursor(kind)
            with cursor if closed else contextlib.nullcontext():
                cursor.callproc(name)
                LEFT[left](cursor)
    get_db().commit()
    assert ledger.rows == {1: 1, 2: 0}


# The return, with a cursor left open


def await_end(ledger: Ledger, session: int) -> None:
    """Wait until a session waits for its next command: all of its answer is sent."""
    wait_until(
        lambda: (
            (session, "Sleep")
            in [(row[0], row[4]) for row in ledger.ask("SHOW PROCESSLIST")]
        )
    )


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("shows", [1, 200_000])  # within a packet of TCP, and not
@pytest.mark.parametrize("read_timeout", [None, 30])
def test_open_cursor_of_a_call_costs_no_connection(
    make_app: MakeApp, ledger: Ledger, shows: int, read_timeout: int | None
) -> None:
    app = make_app("another", autocommit=False, read_timeout=read_timeout)
    ledger.ask(
        "CREATE PROCEDURE debit() BEGIN UPDATE ledger SET v = v - 1 WHERE id = 1;"
        f" SELECT REPEAT('x', {shows}); END"
    )

    @app.get("/")
    def view() -> str:
        cursor = get_db().cursor()
        cursor.execute("CALL debit()")
        assert cursor.fetchall() == (("x" * shows,),)
        await_end(ledger, get_db().thread_id())
        return str(get_db().thread_id())

    client = app.test_client()
    assert len({client.get("/").text for _ in range(5)}) == 1
    assert pool_of(app).stats().opened == 1
    assert ledger.rows == NOTHING, "it is rolled back"


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("kind", [Cursor, SSCursor])
@pytest.mark.parametrize(
    "body", ["SELECT 1; SELECT 2", "SELECT 1; SIGNAL SQLSTATE '45000'"]
)
def test_more_than_the_closing_result_is_not_read(
    site: flask.Flask, ledger: Ledger, body: str, kind: type[Cursor]
) -> None:
    ledger.ask(f"CREATE PROCEDURE leaves() BEGIN {body}; END")
    for _ in range(2):
        with pool_of(site).connection() as db:
            db.cursor(kind).execute("CALL leaves()")
            await_end(ledger, db.thread_id())
    with pool_of(site).connection() as db:
        assert execute(db, "SELECT 5") == ((5,),)
    assert pool_of(site).stats().opened >= 3, "both were closed"


# Before a block

WROTE = (
    "CALL quietly()",
    "EXECUTE prepared",
    "SELECT debit()",
    "SELECT v FROM third WHERE debit() = 1",
    "DO debit()",
    "SET @a = debit()",
    "UPDATE third SET v = 7 WHERE debit() = 0",
    "DELETE FROM third WHERE debit() = 0",
    "CREATE TEMPORARY TABLE fourth AS SELECT debit() AS a",
    "SHOW TABLES WHERE debit() = 1",
    "UPDATE ledger SET v = 5 WHERE id = 1; DO 1",
    "DO 1; UPDATE ledger SET v = 5 WHERE id = 1",
    "SELECT 1; UPDATE ledger SET v = 5 WHERE id = 1; SELECT 1",
    "UPDATE ledger SET v = v WHERE id = 2",  # with a trigger
    "INSERT IGNORE INTO ledger VALUES (2, 0)",  # with a trigger
)


@pytest.fixture
def open_transaction(context: None, ledger: Ledger) -> Iterator[t.Any]:
    """A connection with a transaction that the user has begun, and what writes in it
    without telling.
    """
    ledger.ask("SET GLOBAL log_bin_trust_function_creators = 1")
    write = "UPDATE ledger SET v = 5 WHERE id = 1"
    ledger.ask(f"CREATE PROCEDURE quietly() BEGIN {write}; SELECT 1; DO 1; END")
    ledger.ask(f"CREATE FUNCTION debit() RETURNS INT BEGIN {write}; RETURN 1; END")
    for when in ("UPDATE", "INSERT"):
        ledger.ask(
            f"CREATE TRIGGER before_{when} BEFORE {when} ON ledger FOR EACH ROW"
            " INSERT INTO other VALUES (2)"
        )
    db = get_db()
    execute(db, "PREPARE prepared FROM 'CALL quietly()'")
    if not db.server_status & 2:  # autocommit
        db.rollback()
    else:
        db.begin()
    yield db


def committed(ledger: Ledger) -> t.Any:
    return ledger.rows, ledger.ask("SELECT COUNT(*) FROM other")


@pytest.mark.filterwarnings("ignore::pymysql.err.Warning")
@pytest.mark.parametrize("sql", WROTE)
def test_block_does_not_commit_what_was_written_unseen(
    open_transaction: t.Any, ledger: Ledger, sql: str
) -> None:
    mariadb = "MariaDB" in open_transaction.get_server_info()
    if sql.startswith("CREATE") and not mariadb:
        pytest.skip("MySQL refuses it")
    execute(open_transaction, sql)
    assert open_transaction.uncommitted
    with pytest.raises(pymysql.err.ProgrammingError, match="before it"):
        with transaction():
            raise AssertionError("the body runs")
    assert committed(ledger) == (NOTHING, ((0,),))
    open_transaction.rollback()
    assert not open_transaction.uncommitted
    with transaction() as db:
        change(db, 2)
    assert ledger.rows == {1: 0, 2: 1}


@pytest.mark.parametrize("kind", [Cursor, SSCursor])
def test_block_does_not_commit_what_a_failed_procedure_wrote(
    open_transaction: t.Any, ledger: Ledger, kind: type[Cursor]
) -> None:
    ledger.ask(
        "CREATE PROCEDURE fails() BEGIN UPDATE ledger SET v = 5 WHERE id = 1;"
        " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'of its own'; END"
    )
    with open_transaction.cursor(kind) as cursor:
        with pytest.raises(pymysql.err.OperationalError, match="of its own"):
            cursor.execute("CALL fails()")
    with pytest.raises(pymysql.err.ProgrammingError, match="before it"):
        with transaction():
            raise AssertionError("the body runs")
    assert committed(ledger) == (NOTHING, ((0,),))


UNCHANGED = (
    "UPDATE ledger SET v = 5 WHERE id = 99",
    "DELETE FROM ledger WHERE id = 99",
    "INSERT INTO ledger SELECT 3, v FROM ledger WHERE id = 99",
    "WITH none AS (SELECT 1 AS n) UPDATE ledger SET v = 5 WHERE id = 99",
    "WITH a (n) AS (SELECT 1) SELECT n FROM a",
    "INSERT INTO ledger (id, v) SELECT 3, v FROM ledger WHERE id = 99",
    r"SELECT 'it\'s a debit()'",
    "SELECT 1 AS `total (net)`",
    "SELECT COUNT(*), COALESCE(SUM(v), 0) FROM ledger WHERE id IN (1, 2)",
    "SELECT 1;",
    "SHOW TABLES",
    "SET @a = (SELECT 1)",
    "CREATE TEMPORARY TABLE temporary (id INT)",
    "PREPARE another FROM 'CALL quietly()'",
)


@pytest.mark.parametrize("sql", UNCHANGED)
def test_block_may_follow_what_changed_nothing(
    open_transaction: t.Any, ledger: Ledger, sql: str
) -> None:
    if sql.startswith("WITH none") and "MariaDB" in open_transaction.get_server_info():
        pytest.skip("only MySQL has it")
    execute(open_transaction, sql)
    assert not open_transaction.uncommitted
    with transaction() as db:
        change(db, 2)
    assert ledger.rows == {1: 0, 2: 1}


@pytest.mark.parametrize("method", ["begin", "commit", "rollback"])
def test_error_after_a_method_is_no_change(
    open_transaction: t.Any, method: str
) -> None:
    execute(open_transaction, "CALL quietly()")
    getattr(open_transaction, method)()
    with pytest.raises(pymysql.err.MySQLError):
        open_transaction.select_db("nowhere")
    assert not open_transaction.uncommitted


@pytest.mark.parametrize("method", ["begin", "commit", "rollback"])
def test_what_a_method_ended_is_not_uncommitted(
    open_transaction: t.Any, method: str
) -> None:
    change(open_transaction, 2)
    execute(open_transaction, "SELECT debit()")
    getattr(open_transaction, method)()
    assert not open_transaction.uncommitted


def test_functions_of_the_server_are_known(ledger: Ledger) -> None:
    if not ledger.ask("SHOW TABLES FROM information_schema LIKE 'SQL_FUNCTIONS'"):
        pytest.skip("this server does not list its functions")
    names = [
        name for (name,) in ledger.ask("SELECT * FROM information_schema.sql_functions")
    ]
    unknown = [
        name for name in names if calls_stored_function(f"SELECT {name}(1)", True)
    ]
    assert [name for name in unknown if not name.endswith("_ORACLE")] == []
