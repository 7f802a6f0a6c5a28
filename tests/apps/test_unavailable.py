"""A request for which there is no connection is answered 503, in the app's own way."""

from __future__ import annotations

import contextlib
import socket
import threading
import typing as t
from collections.abc import Iterator

import flask
import pymysql
import pytest
from flask import Flask
from flask.ctx import AppContext
from flask.globals import app_ctx
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import ServiceUnavailable

from flask_mysqlpool import get_db
from flask_mysqlpool import MySQLPool
from flask_mysqlpool import MySQLPoolError
from flask_mysqlpool import PoolError
from flask_mysqlpool import PoolTimeout

from ..support.flask_apps import MakeApp
from ..support.flask_apps import PASSES_CONTEXT
from ..support.flask_apps import pool_of
from ..support.flask_apps import session_id
from ..support.queries import execute
from ..support.waiting import wait_until


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:  # and does not listen
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


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
    assert ["none is free" in record.message for record in logged] == [True]
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
    app.add_url_rule("/", view_func=lambda: str(execute(get_db(), "SELEKT")))
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


class NewerFlask(Flask):
    """As Flask 3.2: its methods are given the context, in front of the error."""

    def handle_http_exception(self, ctx: AppContext, e: HTTPException) -> t.Any:  # type: ignore[override]
        assert ctx is app_ctx._get_current_object()  # type: ignore[attr-defined]
        handle: t.Any = super().handle_http_exception
        return handle(ctx, e) if PASSES_CONTEXT else handle(e)


@pytest.mark.parametrize("kind", [Flask, NewerFlask])
@pytest.mark.parametrize("page", [True, False])
def test_both_signatures_of_flask(
    mysql_url: str, kind: type[Flask], page: bool
) -> None:
    app = kind(__name__)
    app.config.update(MYSQLPOOL_URL=mysql_url, MYSQLPOOL_TIMEOUT=0)
    MySQLPool(app)
    app.add_url_rule("/", view_func=lambda: str(session_id()))
    if page:
        app.register_error_handler(503, lambda error: ("please wait", 503))
    pool_of(app).close()
    response = app.test_client().get("/")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert ("please wait" in response.text) is page


def test_method_with_any_arguments(mysql_url: str) -> None:
    """As a tracing library may put it around Flask's own."""

    class Traced(Flask):
        if not PASSES_CONTEXT:

            def handle_http_exception(self, *args: t.Any) -> t.Any:
                return super().handle_http_exception(*args)

    app = Traced(__name__)
    app.config.update(MYSQLPOOL_URL=mysql_url, MYSQLPOOL_TIMEOUT=0)
    MySQLPool(app)
    app.add_url_rule("/", view_func=lambda: str(session_id()))
    pool_of(app).close()
    assert app.test_client().get("/").status_code == 503


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
