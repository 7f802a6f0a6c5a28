"""A teardown never raises, never hides the response, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import gc
import threading
import typing as t
from collections.abc import Callable
from contextlib import nullcontext

import pymysql
import pytest
from flask import Flask
from flask.ctx import AppContext
from pymysql.cursors import SSCursor

from flask_mysqlpool import get_db
from flask_mysqlpool import MySQLPool
from flask_mysqlpool import Pool
from flask_mysqlpool import PooledConnection
from flask_mysqlpool.driver.session import Session
from flask_mysqlpool.pool.checkout import Checkout

from ..support.flask_apps import in_copy_of_context
from ..support.flask_apps import in_use
from ..support.flask_apps import MakeApp
from ..support.flask_apps import PASSES_CONTEXT
from ..support.flask_apps import pool_of
from ..support.flask_apps import session_id
from ..support.ledger import change
from ..support.ledger import Ledger
from ..support.ledger import NOTHING
from ..support.queries import execute
from ..support.waiting import wait_until


@pytest.fixture
def site(make_app: MakeApp) -> Flask:
    return make_app(max_size=2)


def lose(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.kill(get_db().thread_id())


def leave_rows_unread(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    cursor = get_db().cursor(SSCursor)
    cursor.execute("SELECT id FROM ledger")
    cursor.fetchone()


def break_the_reset(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: t.Any) -> t.NoReturn:
        raise RuntimeError("a fault of our own")

    monkeypatch.setattr(Session, "start_reset", fail)


def break_the_socket(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: t.Any) -> t.NoReturn:
        raise OSError("broken pipe")

    monkeypatch.setattr(Session, "_write_bytes", fail)


def take_more_meanwhile(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a thread that shares the context take a connection during the teardown."""
    connection, take_back = Pool.connection, Checkout.take_back
    asked, returning = threading.Event(), threading.Event()

    def connect(*args: t.Any, **keywords: t.Any) -> PooledConnection:
        asked.set()
        assert returning.wait(10)
        return connection(*args, **keywords)

    def and_wait(*args: t.Any) -> None:
        take_back(*args)
        returning.set()
        if threading.current_thread() is not thread:
            thread.join()

    monkeypatch.setattr(Pool, "connection", connect)
    thread = in_copy_of_context(get_db, "reports")
    assert asked.wait(10)
    monkeypatch.setattr(Checkout, "take_back", and_wait)


@pytest.mark.parametrize(
    "damage",
    [lose, leave_rows_unread, break_the_reset, break_the_socket, take_more_meanwhile],
)
def test_damage_does_not_reach_the_response(
    make_app: MakeApp,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Ledger, pytest.MonkeyPatch], None],
) -> None:
    app = make_app(max_size=1, binds={"reports": {}})
    app.testing = True

    @app.get("/")
    def view() -> str:
        change(get_db(), 1)
        damage(ledger, monkeypatch)
        return "the answer"

    assert app.test_client().get("/").text == "the answer"
    monkeypatch.undo()
    gc.collect()
    for pool in app.extensions["mysqlpool"].values():
        pool.maintain()
    assert in_use(app) == 0
    with app.app_context():
        assert execute(get_db(), "SELECT 111") == ((111,),)
    assert ledger.rows == {1: 0, 2: 0}


def test_thread_that_gets_a_connection_after_the_context_has_ended(
    make_app: MakeApp,
) -> None:
    app = make_app(max_size=1)
    got: list[PooledConnection] = []
    with pool_of(app).connection():
        with app.app_context():
            thread = in_copy_of_context(lambda: got.append(get_db()))
            wait_until(lambda: pool_of(app).stats().waiting == 1)
    thread.join()
    assert [db.returned for db in got] == [True]
    assert in_use(app) == 0


def test_teardown_while_a_thread_still_uses_the_connection(
    site: Flask, ledger: Ledger
) -> None:
    errors: list[BaseException] = []

    def use(sql: str) -> None:
        try:
            execute(get_db(), sql)
        except pymysql.Error as error:
            errors.append(error)

    with ledger.lock() as wait:
        with site.app_context():
            session = session_id()
            thread = in_copy_of_context(use, wait)
            ledger.await_execution(wait)
        thread.join()
    assert len(errors) == 1
    assert in_use(site) == 0
    with site.app_context():
        assert session_id() != session, "an exchange was under way"


# Changes that nobody committed


@pytest.fixture
def forgetful(
    make_app: MakeApp, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> Flask:
    """An app whose views end with changes of different kinds."""
    app = make_app()

    @app.get("/<what>")
    def view(what: str) -> str:
        db = get_db()
        if what == "read":
            execute(db, "SELECT * FROM ledger FOR UPDATE")
            return ""
        change(db, 1)
        if what in ("commit", "rollback"):
            getattr(db, what)()
        elif what == "fail":
            raise RuntimeError
        elif what == "no row":
            db.rollback()
            change(db, 99)
            execute(db, "DELETE FROM ledger WHERE id = 99")
        elif what == "close":
            db.close()
        return ""

    @app.get("/blocks/<kind>")
    def block(kind: str) -> str:
        taken = pool_of(app).connection() if kind.startswith("pool") else get_db()
        with contextlib.suppress(ZeroDivisionError), taken as db:
            change(db, 1)
            if kind.endswith("commits"):
                db.commit()
            elif kind.endswith("fails"):
                raise ZeroDivisionError
        return ""

    @app.post("/")
    def other() -> str:
        change(get_db(), 1)
        return ""

    return app


def warnings_of(site: Flask, caplog: pytest.LogCaptureFixture, what: str) -> list[str]:
    caplog.clear()
    with caplog.at_level("WARNING", "flask_mysqlpool"):
        site.test_client().get(f"/{what}")
    return [r.getMessage() for r in caplog.records if r.name.startswith("flask_mysql")]


def told_until(site: Flask) -> dict[str, float]:
    told: dict[str, float] = pool_of(site)._checkout.lost_changes.told_until
    return told


@pytest.mark.parametrize("what", ["close", "blocks/get_db", "blocks/pool"])
def test_commit_forgotten_in_another_way_is_told(
    forgetful: Flask, ledger: Ledger, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """As tutorials have it: the connection goes back before the request ends."""
    (text,) = warnings_of(forgetful, caplog, what)
    view = "block" if what.startswith("blocks") else "view"
    assert text.startswith(f"GET {view} changed data in 'default' and did not commit")
    assert ledger.rows == NOTHING


@pytest.mark.parametrize("kind", ["get_db", "pool"])
@pytest.mark.parametrize("end", ["commits", "fails"])
def test_block_that_commits_or_fails_is_not_told(
    forgetful: Flask, caplog: pytest.LogCaptureFixture, kind: str, end: str
) -> None:
    assert warnings_of(forgetful, caplog, f"blocks/{kind} {end}") == []


@pytest.mark.parametrize("what", ["read", "commit", "rollback", "fail", "no row"])
def test_nothing_forgotten_is_no_warning(
    forgetful: Flask, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    assert warnings_of(forgetful, caplog, what) == []


def test_forgotten_commit_is_told_once_an_hour_and_endpoint(
    forgetful: Flask,
    ledger: Ledger,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (text,) = warnings_of(forgetful, caplog, "forget")
    assert text.startswith("GET view changed data in 'default' and did not commit")
    assert warnings_of(forgetful, caplog, "forget") == []
    with caplog.at_level("WARNING", "flask_mysqlpool"):
        forgetful.test_client().post("/")
    assert caplog.messages[-1].startswith("POST other changed data")
    assert ledger.rows == NOTHING
    monkeypatch.setattr("flask_mysqlpool.pool.lost_changes.WARNING_PAUSE", 0)
    told_until(forgetful).clear()
    for _ in range(2):
        assert len(warnings_of(forgetful, caplog, "forget")) == 1


@pytest.mark.parametrize("sql", ["CALL debit()", "SELECT debits()"])
def test_change_that_no_answer_tells_of_is_told(
    forgetful: Flask, ledger: Ledger, caplog: pytest.LogCaptureFixture, sql: str
) -> None:
    write = "UPDATE ledger SET v = 5 WHERE id = 1"
    ledger.ask("SET GLOBAL log_bin_trust_function_creators = 1")
    ledger.ask(f"CREATE PROCEDURE debit() BEGIN {write}; SELECT 'done'; END")
    ledger.ask(f"CREATE FUNCTION debits() RETURNS INT BEGIN {write}; RETURN 1; END")
    with caplog.at_level("WARNING", "flask_mysqlpool"), forgetful.app_context():
        execute(get_db(), sql)
    assert "outside a request changed data" in caplog.messages[-1]
    assert ledger.rows == NOTHING


@pytest.mark.parametrize("block", [False, True])
def test_changes_that_a_lost_connection_took_along_need_no_commit(
    forgetful: Flask, ledger: Ledger, caplog: pytest.LogCaptureFixture, block: bool
) -> None:
    with caplog.at_level("WARNING", "flask_mysqlpool"), forgetful.app_context():
        db = get_db()
        with pytest.raises(pymysql.MySQLError):
            with db.transaction() if block else nullcontext():
                change(db, 1)
                ledger.kill(db.thread_id())
                change(db, 2)
    assert caplog.messages == []
    assert ledger.rows == NOTHING


def test_uncommitted_change_outside_a_request_is_told(
    forgetful: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "flask_mysqlpool"), forgetful.app_context():
        change(get_db(), 1)
    assert caplog.messages[-1].startswith("outside a request changed data")


def test_names_beyond_the_first_are_not_remembered(
    forgetful: Flask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_until(forgetful).update({str(n): 0.0 for n in range(300)})
    assert warnings_of(forgetful, caplog, "forget") == []
    told_until(forgetful)["GET view"] = 0.0  # an hour ago
    assert len(warnings_of(forgetful, caplog, "forget")) == 1


def test_connection_of_another_process_is_not_warned_of(
    forgetful: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "flask_mysqlpool"), forgetful.app_context():
        change(get_db(), 1)
        get_db().session.pid = 0
    assert caplog.messages == []


def test_teardown_as_flask_3_2_calls_it(forgetful: Flask, ledger: Ledger) -> None:
    """It passes its context in front of the exception."""
    teardown = Flask.do_teardown_appcontext

    class Newer(Flask):
        def do_teardown_appcontext(  # type: ignore[override]
            self, ctx: AppContext, exc: t.Any = None
        ) -> None:
            teardown(self, *([ctx, exc] if PASSES_CONTEXT else [exc]))

    app = Newer(__name__)
    app.config.update(forgetful.config)
    MySQLPool(app)
    for error in (None, ValueError()):
        with app.app_context():
            change(get_db(), 1)
            teardown_now: t.Any = app.do_teardown_appcontext
            teardown_now(object(), error)
            assert in_use(app) == 0
    pool_of(app).close()
    assert ledger.rows == NOTHING
