"""Threads and tasks may share an app context, and with it a connection, in turns."""

from __future__ import annotations

import asyncio
import threading
import time
import typing as t
from collections.abc import Callable

import flask
import pytest
from flask import Flask
from pymysql.cursors import SSCursor

from flask_mysqlpool import ConnectionBusyError
from flask_mysqlpool import get_db
from flask_mysqlpool import PooledConnection
from flask_mysqlpool import transaction

from ..support.flask_apps import in_copy_of_context
from ..support.flask_apps import in_use
from ..support.flask_apps import MakeApp
from ..support.flask_apps import pool_of
from ..support.flask_apps import session_id
from ..support.ledger import Ledger
from ..support.queries import execute
from ..support.tcp_proxy import TCPProxy


@pytest.fixture
def site(make_app: MakeApp) -> Flask:
    return make_app(max_size=2)


USES: dict[str, Callable[[t.Any], t.Any]] = {
    "execute": lambda db: db.cursor().execute("SET @touched = 1"),
    "query": lambda db: db.query("SET @touched = 1"),
    "unbuffered": lambda db: db.cursor(SSCursor).execute("SET @touched = 1"),
    "commit": lambda db: db.commit(),
    "ping": lambda db: db.ping(),
    "select_db": lambda db: db.select_db("mysql"),
    "transaction": lambda db: transaction().__enter__(),
}


@pytest.mark.parametrize("use", USES)
def test_second_thread_sends_nothing_while_the_first_waits(
    make_app: MakeApp, ledger: Ledger, mysql_url: str, use: str
) -> None:
    answers: list[t.Any] = []
    with TCPProxy(mysql_url) as proxy, ledger.lock() as wait:
        app = make_app(url=proxy.url)
        with app.app_context():
            db = get_db()
            execute(db, "SET @touched = 0")
            thread = in_copy_of_context(lambda: answers.append(execute(get_db(), wait)))
            ledger.await_execution(wait)
            sent = proxy.sent
            began = time.monotonic()
            with pytest.raises(ConnectionBusyError, match="another thread"):
                USES[use](db)
            assert time.monotonic() - began < 1, "it does not wait either"
            assert proxy.sent == sent
            ledger.ask("SELECT RELEASE_LOCK(%s)", wait.split("'")[1])
            thread.join()
            assert answers == [((1,),)], "the first has its answer"
            assert execute(db, "SELECT @touched") == ((0,),)
        pool_of(app).close()


def test_second_thread_while_the_first_reads_rows(site: Flask, ledger: Ledger) -> None:
    errors: list[BaseException] = []

    def use() -> None:
        try:
            execute(get_db(), "SELECT 1")
        except BaseException as error:
            errors.append(error)

    with site.app_context():
        cursor = get_db().cursor(SSCursor)
        cursor.execute("SELECT id FROM ledger ORDER BY id")
        assert cursor.fetchone() == (1,)
        in_copy_of_context(use).join()
        assert [type(error) for error in errors] == [ConnectionBusyError]
        assert list(cursor.fetchall()) == [(2,)]
        in_copy_of_context(use).join()
        assert len(errors) == 1, "one after the other is fine"


def test_to_thread_shares_the_connection(site: Flask, ledger: Ledger) -> None:
    @site.get("/")
    async def view() -> list[bool]:
        sessions = [session_id()]
        sessions += [await asyncio.to_thread(session_id) for _ in range(2)]
        with ledger.lock() as wait:
            waiting = asyncio.create_task(asyncio.to_thread(execute, get_db(), wait))
            await asyncio.to_thread(ledger.await_execution, wait)
            busy = await asyncio.gather(
                asyncio.to_thread(session_id), return_exceptions=True
            )
        await waiting
        return [len(set(sessions)) == 1, isinstance(busy[0], ConnectionBusyError)]

    assert site.test_client().get("/").json == [True, True]
    assert in_use(site) == 0


def test_threads_that_ask_at_once_get_one_connection(make_app: MakeApp) -> None:
    app = make_app(max_size=8)
    start = threading.Barrier(8)
    got: list[PooledConnection] = []

    def ask() -> None:
        start.wait()
        got.append(get_db())

    with app.app_context():
        for thread in [in_copy_of_context(ask) for _ in range(8)]:
            thread.join()
        assert len(got) == 8
        assert set(got) == {get_db()}
        assert pool_of(app).stats().checkouts == 1
    got.clear()


def test_thread_with_a_copied_request_context_has_its_own(site: Flask) -> None:
    sessions: list[int] = []

    @site.get("/")
    def view() -> str:
        sessions.append(session_id())
        ask = flask.copy_current_request_context(lambda: sessions.append(session_id()))
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return str(in_use(site))

    assert site.test_client().get("/").text == "1"
    assert len(set(sessions)) == 2
    assert in_use(site) == 0


def test_password_may_come_out_of_another_bind(
    make_app: MakeApp, mysql_url: str
) -> None:
    user, _, password = mysql_url.partition("://")[2].partition("@")[0].partition(":")
    answers: list[t.Any] = []

    def ask_the_vault() -> str:
        execute(get_db("vault"), "SELECT 1")
        return password

    app = make_app(password=ask_the_vault, binds={"vault": {"password": password}})

    def ask() -> None:
        with app.app_context():
            answers.append(execute(get_db(), "SELECT 1"))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(10)
    assert answers == [((1,),)]
    assert in_use(app) == 0
