"""A teardown never raises, never hides the response, and leaves nothing behind."""

from __future__ import annotations

import gc
import threading
import typing as t
from collections.abc import Callable

import pymysql
import pytest
from flask import Flask
from pymysql.cursors import SSCursor

from flask_mysqlpool import get_db
from flask_mysqlpool import Pool
from flask_mysqlpool import PooledConnection
from flask_mysqlpool.connection import Connection

from .conftest import MakeApp
from .conftest import wait_until
from .workbench import change
from .workbench import in_copy_of_context
from .workbench import in_use
from .workbench import Ledger
from .workbench import pool_of
from .workbench import run
from .workbench import session_id


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

    monkeypatch.setattr(Connection, "start_reset", fail)


def break_the_socket(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: t.Any) -> t.NoReturn:
        raise OSError("broken pipe")

    monkeypatch.setattr(Connection, "_write_bytes", fail)


def take_more_meanwhile(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a thread that shares the context take a connection during the teardown."""
    connection, give_back = Pool.connection, Pool.give_back
    asked, returning = threading.Event(), threading.Event()

    def connect(*args: t.Any, **keywords: t.Any) -> PooledConnection:
        asked.set()
        assert returning.wait(10)
        return connection(*args, **keywords)

    def and_wait(pool: Pool, lease: int) -> None:
        give_back(pool, lease)
        returning.set()
        if threading.current_thread() is not thread:
            thread.join()

    monkeypatch.setattr(Pool, "connection", connect)
    thread = in_copy_of_context(get_db, "reports")
    assert asked.wait(10)
    monkeypatch.setattr(Pool, "give_back", and_wait)


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
        pool.tend()
    assert in_use(app) == 0
    with app.app_context():
        assert run(get_db(), "SELECT 111") == ((111,),)
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
            run(get_db(), sql)
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
