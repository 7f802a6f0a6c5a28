"""A request has one connection, and it comes back whatever happens."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import typing as t
from collections.abc import Callable
from collections.abc import Iterator

import flask
import pytest
from dbutils.pooled_db import PooledDB
from flask import Flask
from flask import stream_with_context

from flask_mysqlpool import get_db
from flask_mysqlpool import MySQLPool
from flask_mysqlpool import NotInitializedError
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool import StaleConnectionError
from flask_mysqlpool import transaction

from ..support.flask_apps import in_use
from ..support.flask_apps import MakeApp
from ..support.flask_apps import PASSES_CONTEXT
from ..support.flask_apps import pool_of
from ..support.flask_apps import raises_at_teardown
from ..support.flask_apps import session_id
from ..support.ledger import change
from ..support.ledger import Ledger
from ..support.queries import execute


@pytest.fixture
def site(make_app: MakeApp) -> Flask:
    return make_app(max_size=2)


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
        assert execute(get_db(), "SELECT 1") == ((1,),)
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
        assert execute(get_db(), "SELECT 1") == ((1,),)


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
        assert [answer == session for answer in answers] == [not PASSES_CONTEXT] * 2
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
    with raises_at_teardown(RuntimeError, "another extension"):
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


def test_stream_of_a_view_that_had_a_connection(site: Flask) -> None:
    """Before Flask 3.1.2 it is the same one, whose context lasts with the stream."""

    @site.get("/")
    def view() -> flask.Response:
        session_id()

        def parts() -> Iterator[str]:
            yield f"{execute(get_db(), 'SELECT 1')} of {in_use(site)}"

        return flask.Response(stream_with_context(parts()))

    assert site.test_client().get("/").text == "((1,),) of 1"
    assert in_use(site) == 0


def test_stream_without_a_connection_is_logged(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot be answered with 503 any more."""
    site = make_app(max_size=1, timeout=0)

    @site.get("/export")
    def export() -> flask.Response:
        def parts() -> Iterator[str]:
            get_db()
            yield "part"

        return flask.Response(stream_with_context(parts()))

    @site.get("/view")
    def view() -> str:
        get_db()
        return "part"

    with pool_of(site).connection():
        assert site.test_client().get("/view").status_code == 503
        streams = [each for each in caplog.messages if "streamed" in each]
        assert not streams
        with pytest.raises(PoolTimeout):
            site.test_client().get("/export")
    (message,) = (each for each in caplog.messages if "streamed" in each)
    assert message.startswith("GET export: ")
    assert "pool.connection()" in message


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
