"""A request has one connection, which comes back whatever happens, and an answer when
there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import socket
import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from importlib.metadata import version

import flask
import pymysql
import pytest
from dbutils.pooled_db import PooledDB
from flask import Flask
from flask import stream_with_context
from pymysql.cursors import SSCursor
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import ServiceUnavailable

from flask_mysqlpool import ConnectionBusyError
from flask_mysqlpool import get_db
from flask_mysqlpool import MySQLPool
from flask_mysqlpool import MySQLPoolError
from flask_mysqlpool import NotInitializedError
from flask_mysqlpool import Pool
from flask_mysqlpool import PooledConnection
from flask_mysqlpool import PoolError
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool import StaleConnectionError
from flask_mysqlpool import transaction
from flask_mysqlpool.connection import Connection

from .conftest import MakeApp
from .conftest import wait_until
from .workbench import change
from .workbench import Ledger
from .workbench import Proxy
from .workbench import run


@pytest.fixture
def ledger(mysql_server: t.Any, mysql_url: str) -> Iterator[Ledger]:
    ledger = Ledger(mysql_server, mysql_url)
    yield ledger
    ledger.close()


@pytest.fixture
def site(make_app: MakeApp) -> Flask:
    return make_app(max_size=2)


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:  # and does not listen
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def pool_of(site: Flask, bind: str = "default") -> Pool:
    pool: Pool = site.extensions["mysqlpool"][bind]
    return pool


def in_use(site: Flask) -> int:
    return sum(pool.stats().in_use for pool in site.extensions["mysqlpool"].values())


def session_id() -> int:
    ((session,),) = run(get_db(), "SELECT CONNECTION_ID()")
    assert isinstance(session, int)
    return session


# Set-up


def test_init_app_connects_to_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        app = Flask(__name__)
        app.config["MYSQLPOOL_URL"] = (
            f"mysql://app:secret@127.0.0.1:{listener.getsockname()[1]}/t"
        )
        app.config["MYSQLPOOL_MIN_SIZE"] = 2
        app.config["MYSQLPOOL_BINDS"] = {"reports": {"min_size": 3}}
        MySQLPool(app)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_pool_is_a_pooled_db(site: Flask) -> None:
    assert isinstance(site.extensions["mysqlpool"]["default"], PooledDB)


def test_second_init_app_raises(site: Flask) -> None:
    pools = site.extensions["mysqlpool"]
    with pytest.raises(RuntimeError, match="once for each app"):
        MySQLPool(site)
    with pytest.raises(RuntimeError, match="once for each app"):
        MySQLPool().init_app(site)
    assert site.extensions["mysqlpool"] is pools


def test_one_instance_serves_many_apps(mysql_url: str) -> None:
    mysqlpool = MySQLPool()

    def create_app(max_size: int) -> Flask:
        app = Flask(__name__)
        app.config.update(MYSQLPOOL_URL=mysql_url, MYSQLPOOL_MAX_SIZE=max_size)
        mysqlpool.init_app(app)
        return app

    one, other = create_app(3), create_app(4)
    with one.app_context(), other.app_context():
        assert run(get_db(), "SELECT 1") == ((1,),)
        assert (in_use(one), in_use(other)) == (0, 1)
    assert pool_of(one).stats().max_size == 3
    assert pool_of(other).stats().max_size == 4
    assert not vars(mysqlpool), "nothing of an app stays on the instance"
    pool_of(other).close()


def test_binds_have_pools_of_their_own(make_app: MakeApp) -> None:
    app = make_app(binds={"reports": {"max_size": 4}}, max_size=2)
    with app.app_context():
        db, reports = get_db(), get_db("reports")
        assert db is get_db("default")
        assert reports is get_db("reports")
        assert db.thread_id() != reports.thread_id()
        assert in_use(app) == 2
    assert in_use(app) == 0
    assert pool_of(app, "reports").stats().max_size == 4
    assert pool_of(app, "reports").stats().checkouts == 1


# Errors that say what to do


def test_get_db_outside_an_app_context() -> None:
    with pytest.raises(NotInitializedError, match=r"with app\.app_context\(\):"):
        get_db()
    with pytest.raises(RuntimeError):  # which Flask raises elsewhere
        get_db()


def test_get_db_on_an_app_without_the_extension() -> None:
    with Flask("bare").app_context():
        with pytest.raises(NotInitializedError, match=r"'bare'.*init_app\(app\)"):
            get_db()


@pytest.mark.parametrize("call", [get_db, lambda bind: transaction(bind).__enter__()])
def test_unknown_bind(site: Flask, call: Callable[[str], t.Any]) -> None:
    with site.app_context():
        with pytest.raises(
            NotInitializedError, match=r"'nope'.*'default'.*MYSQLPOOL_BINDS"
        ):
            call("nope")
        assert run(get_db(), "SELECT 1") == ((1,),)


# One connection for each context


def test_context_has_one_connection(site: Flask) -> None:
    with site.app_context():
        assert in_use(site) == 0, "taken when asked for"
        db = get_db()
        assert get_db() is db
        with site.app_context():
            assert get_db() is not db, "another context, another connection"
            assert in_use(site) == 2
        assert in_use(site) == 1
    assert in_use(site) == 0
    assert db.returned


def test_connection_returned_early_is_replaced(site: Flask, ledger: Ledger) -> None:
    with site.app_context():
        with get_db() as db:
            change(db, 1)
        assert in_use(site) == 0
        with pytest.raises(StaleConnectionError):
            change(db, 1)
        change(get_db(), 2)
        assert get_db() is not db
        get_db().commit()
    assert ledger.rows == {1: 0, 2: 1}
    assert in_use(site) == 0


def test_context_that_is_pushed_twice(site: Flask) -> None:
    context = site.app_context()
    context.push()
    db = get_db()
    context.push()
    assert get_db() is db
    context.pop()
    assert get_db() is db
    assert in_use(site) == 1
    context.pop()
    assert db.returned
    assert in_use(site) == 0


def test_requests_in_an_outer_app_context(site: Flask) -> None:
    site.add_url_rule("/", view_func=lambda: str(session_id()))
    client = site.test_client()
    with site.app_context():
        session = str(session_id())
        answers = [client.get("/").text for _ in range(2)]
        assert in_use(site) == 1
        # Flask 3.2 gives each request a context of its own.
        shares = tuple(map(int, version("flask").split(".")[:2])) < (3, 2)
        assert [answer == session for answer in answers] == [shares] * 2
        assert str(session_id()) == session
    assert in_use(site) == 0


# Everything comes back


def test_request_returns_its_connection(site: Flask, ledger: Ledger) -> None:
    @site.get("/<int:account>/<end>")
    def view(account: int, end: str) -> str:
        change(get_db(), account)
        if end != "nothing":
            getattr(get_db(), end)()
        return str(in_use(site))

    client = site.test_client()
    assert client.get("/1/nothing").text == "1"
    assert client.get("/1/rollback").text == "1"
    assert client.get("/2/commit").text == "1"
    assert in_use(site) == 0
    assert ledger.rows == {1: 0, 2: 1}
    assert pool_of(site).stats().opened == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_exception_in_the_view(
    site: Flask, ledger: Ledger, error: type[BaseException]
) -> None:
    @site.get("/")
    def view() -> str:
        change(get_db(), 1)
        raise error

    if issubclass(error, Exception):
        assert site.test_client().get("/").status_code == 500
    else:
        with pytest.raises(error):
            site.test_client().get("/")
    assert in_use(site) == 0
    assert ledger.rows == {1: 0, 2: 0}


@pytest.mark.parametrize("where", ["request", "appcontext", "signal", "ours too"])
def test_teardown_of_others_that_raises(site: Flask, where: str) -> None:
    def fail(*_: t.Any, **__: t.Any) -> None:
        get_db()  # it may take one, too
        raise RuntimeError("another extension's teardown failed")

    site.add_url_rule("/", view_func=lambda: str(session_id()))
    site.testing = True
    if where == "request":
        site.teardown_request(fail)
    elif where == "signal":
        flask.appcontext_tearing_down.connect(fail, site)
    else:
        site.teardown_appcontext(fail)
    with pytest.raises(RuntimeError, match="another extension"):
        site.test_client().get("/")
    assert in_use(site) == 0


def test_teardown_of_others_may_use_the_connection(site: Flask, ledger: Ledger) -> None:
    @site.teardown_appcontext
    def audit(error: BaseException | None) -> None:
        change(get_db(), 2)
        get_db().commit()

    site.add_url_rule("/", view_func=lambda: str(session_id()))
    assert site.test_client().get("/").status_code == 200
    assert ledger.rows == {1: 0, 2: 1}
    assert in_use(site) == 0


def stream(site: Flask) -> t.Any:
    """Answer with a stream of which one part has been read."""

    @site.get("/")
    def view() -> flask.Response:
        def parts() -> Iterator[str]:
            for _ in range(3):
                change(get_db(), 1)
                yield "part "

        return flask.Response(stream_with_context(parts()))

    client = site.test_client()
    response = client.get("/")
    assert response.status_code == 200
    assert in_use(site) == 1
    return response


def test_stream_read_to_its_end(site: Flask, ledger: Ledger) -> None:
    response = stream(site)
    assert response.text == "part part part "
    assert in_use(site) == 0
    assert not flask.has_app_context()
    assert ledger.rows == {1: 0, 2: 0}


def test_stream_closed_early(site: Flask, ledger: Ledger) -> None:
    response = stream(site)
    response.close()
    assert in_use(site) == 0
    assert not flask.has_app_context()
    assert ledger.rows == {1: 0, 2: 0}


def test_stream_dropped(site: Flask, ledger: Ledger) -> None:
    response = stream(site)
    del response
    gc.collect()
    assert in_use(site) == 0
    assert not flask.has_app_context()
    assert ledger.rows == {1: 0, 2: 0}


def test_stream_closed_by_another_thread(site: Flask, ledger: Ledger) -> None:
    """Flask cannot end the context there, so that the connection comes back with it
    as garbage.
    """
    responses: list[t.Any] = []
    thread = threading.Thread(target=lambda: responses.append(stream(site)))
    thread.start()
    thread.join()
    with pytest.raises((LookupError, RuntimeError)):
        responses.pop().close()
    gc.collect()
    with site.app_context():
        one, other = get_db(), pool_of(site).connection(0)
        assert in_use(site) == 2, "all that there are"
        other.close()
    assert one.returned
    assert ledger.rows == {1: 0, 2: 0}


def test_stream_takes_a_connection_of_its_own(site: Flask) -> None:
    @site.get("/")
    def view() -> flask.Response:
        db = get_db()

        def parts() -> Iterator[str]:
            yield str(db.returned)
            yield str(get_db() is db)

        return flask.Response(stream_with_context(parts()))

    assert site.test_client().get("/").text == "TrueFalse"
    assert in_use(site) == 0


@pytest.mark.parametrize("fails", [False, True])
def test_command(site: Flask, ledger: Ledger, fails: bool) -> None:
    @site.cli.command("pay")
    def pay() -> None:
        change(get_db(), 1)
        print(in_use(site))
        if fails:
            raise ValueError
        get_db().commit()

    result = site.test_cli_runner().invoke(args=["pay"])
    assert result.output == "1\n"
    assert isinstance(result.exception, ValueError) == fails
    assert in_use(site) == 0
    assert ledger.rows == {1: int(not fails), 2: 0}


@pytest.mark.parametrize("taken_before", [None, "sync", "async"])
def test_async_view(site: Flask, ledger: Ledger, taken_before: str | None) -> None:
    before: list[int] = []

    def take() -> None:
        change(get_db(), 1)
        before.append(session_id())

    async def take_async() -> None:
        take()

    if taken_before:
        site.before_request(take if taken_before == "sync" else take_async)

    @site.get("/")
    async def view() -> str:
        await asyncio.sleep(0)
        change(get_db(), 2)
        get_db().commit()
        return str(session_id())

    answer = site.test_client().get("/").text
    assert before in ([], [int(answer)]), "it goes on with what was taken before"
    assert ledger.rows == {1: len(before), 2: 1}
    assert len(before) == bool(taken_before)
    assert in_use(site) == 0


def test_async_view_that_raises(
    site: Flask, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    @site.get("/")
    async def view() -> str:
        change(get_db(), 1)
        raise ValueError

    assert site.test_client().get("/").status_code == 500
    assert in_use(site) == 0
    assert ledger.rows == {1: 0, 2: 0}
    caplog.clear()  # its traceback keeps the thread of the view


def test_context_preserved_by_the_test_client(site: Flask) -> None:
    site.add_url_rule("/", view_func=lambda: str(session_id()))
    with site.test_client() as client:
        client.get("/")
        assert in_use(site) == 0
        session_id()
        assert in_use(site) == 1
    assert in_use(site) == 0


# A teardown never raises and never hides the response


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


# Threads that share a context


def in_copy_of_context(function: Callable[..., t.Any], *args: t.Any) -> t.Any:
    """Run a function in a thread, in a copy of this context, which shares ``g``."""
    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(function, *args)
    )
    thread.start()
    return thread


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
    with Proxy(mysql_url) as proxy, ledger.lock() as wait:
        app = make_app(url=proxy.url)
        with app.app_context():
            db = get_db()
            run(db, "SET @touched = 0")
            thread = in_copy_of_context(lambda: answers.append(run(get_db(), wait)))
            ledger.await_execution(wait)
            sent = proxy.received
            began = time.monotonic()
            with pytest.raises(ConnectionBusyError, match="another thread"):
                USES[use](db)
            assert time.monotonic() - began < 1, "it does not wait either"
            assert proxy.received == sent
            ledger.ask("SELECT RELEASE_LOCK(%s)", wait.split("'")[1])
            thread.join()
            assert answers == [((1,),)], "the first has its answer"
            assert run(db, "SELECT @touched") == ((0,),)
        pool_of(app).close()


def test_second_thread_while_the_first_reads_rows(site: Flask, ledger: Ledger) -> None:
    errors: list[BaseException] = []

    def use() -> None:
        try:
            run(get_db(), "SELECT 1")
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
            waiting = asyncio.create_task(asyncio.to_thread(run, get_db(), wait))
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
        run(get_db("vault"), "SELECT 1")
        return password

    app = make_app(password=ask_the_vault, binds={"vault": {"password": password}})

    def ask() -> None:
        with app.app_context():
            answers.append(run(get_db(), "SELECT 1"))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(10)
    assert answers == [((1,),)]
    assert in_use(app) == 0


# No connection to be had


class Exhausted:
    """An app whose only connection is taken, and what it answers."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.blueprint = flask.Blueprint("shop", __name__, url_prefix="/shop")
        for target in (app, self.blueprint):
            target.add_url_rule("/", view_func=lambda: str(session_id()))

    def get(self, path: str = "/") -> t.Any:
        self.app.register_blueprint(self.blueprint)
        with pool_of(self.app).connection():
            return self.app.test_client().get(path)


@pytest.fixture
def exhausted(make_app: MakeApp) -> Exhausted:
    return Exhausted(make_app(max_size=1, timeout=0))


def answer(error: t.Any) -> tuple[str, int]:
    return f"ours: {type(error).__name__}", 418


def test_no_handler(
    exhausted: Exhausted, caplog: pytest.LogCaptureFixture, mysql_url: str
) -> None:
    exhausted.app.testing = True
    response = exhausted.get()
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert "Service Unavailable" in response.text
    assert "default" not in response.text, "what goes on inside is not for everybody"
    logged = [record for record in caplog.records if record.levelname == "ERROR"]
    assert ["no connection within" in record.message for record in logged] == [True]
    assert exhausted.app.test_client().get("/").status_code == 200


def test_retry_after_follows_the_timeout(make_app: MakeApp) -> None:
    app = make_app(timeout=2.3)
    app.add_url_rule("/", view_func=lambda: str(session_id()))
    pool_of(app).close()
    response = app.test_client().get("/")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "3"


def test_server_that_cannot_be_reached(make_app: MakeApp, closed_port: int) -> None:
    app = make_app(url=f"mysql://app:secret@127.0.0.1:{closed_port}/t")
    app.add_url_rule("/", view_func=lambda: str(session_id()))
    response = app.test_client().get("/")
    assert response.status_code == 503
    assert "Retry-After" in response.headers
    with app.app_context(), pytest.raises(PoolTimeout) as caught:
        get_db()
    assert isinstance(caught.value.__cause__, pymysql.err.OperationalError)


def test_other_errors_of_the_server_are_not_503(make_app: MakeApp) -> None:
    app = make_app()
    app.add_url_rule("/", view_func=lambda: str(run(get_db(), "SELEKT")))
    response = app.test_client().get("/")
    assert response.status_code == 500
    assert "Retry-After" not in response.headers


@pytest.mark.parametrize("registered", ["before", "after"])
@pytest.mark.parametrize(
    "kind", [PoolTimeout, PoolError, MySQLPoolError, pymysql.err.OperationalError]
)
def test_handler_of_the_error(
    mysql_url: str, kind: type[Exception], registered: str
) -> None:
    app = Flask(__name__)
    app.config.update(
        MYSQLPOOL_URL=mysql_url, MYSQLPOOL_MAX_SIZE=1, MYSQLPOOL_TIMEOUT=0
    )
    if registered == "before":
        app.register_error_handler(kind, answer)
    MySQLPool(app)
    if registered == "after":
        app.register_error_handler(kind, answer)
    response = Exhausted(app).get()
    assert (response.status_code, response.text) == (418, "ours: PoolTimeout")
    assert "Retry-After" not in response.headers
    pool_of(app).close()


def test_handler_that_is_async(exhausted: Exhausted) -> None:
    @exhausted.app.errorhandler(pymysql.err.OperationalError)
    async def handle(error: pymysql.err.OperationalError) -> t.Any:
        return answer(error)

    assert exhausted.get().text == "ours: PoolTimeout"


def test_handler_nearest_to_the_error_wins(exhausted: Exhausted) -> None:
    exhausted.app.register_error_handler(pymysql.err.Error, lambda error: "far")
    exhausted.app.register_error_handler(MySQLPoolError, lambda error: "near")
    exhausted.app.register_error_handler(Exception, lambda error: "farther")
    assert exhausted.get().text == "near"


@pytest.mark.parametrize(
    "kind", [PoolTimeout, PoolError, pymysql.err.OperationalError, Exception]
)
def test_handler_of_a_blueprint(exhausted: Exhausted, kind: type[Exception]) -> None:
    exhausted.blueprint.register_error_handler(kind, answer)
    assert exhausted.get("/shop/").text == "ours: PoolTimeout"
    assert exhausted.app.test_client().get("/").status_code == 200


def test_page_of_a_blueprint(exhausted: Exhausted) -> None:
    exhausted.app.register_error_handler(503, lambda error: ("the app's", 503))
    exhausted.blueprint.register_error_handler(503, lambda error: ("the shop's", 503))
    response = exhausted.get("/shop/")
    assert (response.status_code, response.text) == (503, "the shop's")
    assert response.headers["Retry-After"] == "1"


def test_page_of_the_app(exhausted: Exhausted) -> None:
    @exhausted.app.errorhandler(503)
    def page(error: ServiceUnavailable) -> tuple[str, int]:
        return f"please wait {error.retry_after} s", 503

    response = exhausted.get("/shop/")
    assert (response.status_code, response.text) == (503, "please wait 1 s")
    assert response.headers["Retry-After"] == "1"


def test_page_may_say_when_to_retry(exhausted: Exhausted) -> None:
    exhausted.app.register_error_handler(
        503, lambda error: ("later", 503, {"Retry-After": "77"})
    )
    assert exhausted.get().headers.getlist("Retry-After") == ["77"]


def test_json_of_the_app(exhausted: Exhausted) -> None:
    @exhausted.app.errorhandler(HTTPException)
    def as_json(error: HTTPException) -> t.Any:
        response: t.Any = error.get_response()
        response.data = flask.json.dumps({"code": error.code, "name": error.name})
        response.content_type = "application/json"
        return response

    response = exhausted.get()
    assert response.status_code == 503
    assert response.json == {"code": 503, "name": "Service Unavailable"}
    assert response.headers.getlist("Retry-After") == ["1"]


def test_handler_of_every_exception(exhausted: Exhausted) -> None:
    @exhausted.app.errorhandler(Exception)
    def handle(error: Exception) -> t.Any:
        return error if isinstance(error, HTTPException) else answer(error)

    response = exhausted.get()
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"


def test_handler_of_every_exception_with_an_answer_of_its_own(
    exhausted: Exhausted,
) -> None:
    exhausted.app.register_error_handler(Exception, lambda error: ("oops", 500))
    response = exhausted.get()
    assert (response.status_code, response.text) == (500, "oops")
    assert "Retry-After" not in response.headers


def test_no_connection_before_the_request(exhausted: Exhausted) -> None:
    exhausted.app.before_request(lambda: str(session_id()))
    assert exhausted.get().status_code == 503


def test_no_connection_for_an_async_view(
    exhausted: Exhausted, caplog: pytest.LogCaptureFixture
) -> None:
    @exhausted.app.get("/async")
    async def view() -> str:
        return str(session_id())

    assert exhausted.get("/async").status_code == 503
    caplog.clear()  # its traceback keeps the thread of the view


def test_waiting_request_gets_the_place_that_is_freed(make_app: MakeApp) -> None:
    app = make_app(max_size=1)
    app.add_url_rule("/", view_func=lambda: str(session_id()))
    answers: list[int] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(pool_of(app).connection())
        thread = threading.Thread(
            target=lambda: answers.append(app.test_client().get("/").status_code)
        )
        thread.start()
        wait_until(lambda: pool_of(app).stats().waiting == 1)
    thread.join()
    assert answers == [200]
