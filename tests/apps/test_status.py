"""The live page's blueprint: its guard, its numbers, its health."""

from __future__ import annotations

import json
import threading
import time
import typing as t
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import flask
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import flask_mysqlpool.control.client as control_client
import flask_mysqlpool.status.snapshot as snapshot
from flask_mysqlpool import ConfigError
from flask_mysqlpool import get_db
from flask_mysqlpool import PoolError
from flask_mysqlpool.context import folder_of
from flask_mysqlpool.status import StatusPage
from flask_mysqlpool.status.page import HEADERS

from ..support.flask_apps import in_use
from ..support.flask_apps import MakeApp
from ..support.flask_apps import pool_of
from ..support.queries import execute
from ..support.waiting import wait_until

VIEWS = ["/pool/", "/pool/data.json", "/pool/health", "/pool/assets/status.js"]
TWO_BINDS = {"max_size": 2, "timeout": 0.2, "binds": {"reports": {"max_size": 1}}}
NOBODY_LISTENS = "mysql://app@127.0.0.1:1/bank"


class Client(FlaskClient):
    """Closes the files that are sent."""

    def open(self, *args: t.Any, **options: t.Any) -> TestResponse:
        return super().open(*args, **{"buffered": True, **options})


def show(
    app: flask.Flask, guard: Callable[[], t.Any] = lambda: True, **options: t.Any
) -> t.Any:
    """Register the page at /pool; return a client."""
    app.test_client_class = Client
    app.register_blueprint(StatusPage(guard, **options), url_prefix="/pool")
    return app.test_client()


def ask(client: t.Any, view: str = "/pool/data.json") -> t.Any:
    response: TestResponse = client.get(view)
    assert response.status_code == 200, response.text
    return response.json


# The guard


@pytest.mark.parametrize("guard", [None, True, "admin"])
def test_without_a_guard_it_is_not_registered(guard: t.Any) -> None:
    app = flask.Flask("an_app")
    with pytest.raises(ConfigError) as caught:
        app.register_blueprint(StatusPage(guard), url_prefix="/pool")
    code = str(caught.value).partition("\n\n")[2]
    names: dict[str, t.Any] = {"app": app, "StatusPage": StatusPage}
    exec(f"from flask import session\nif 1:\n{code}", names)  # what it says to write
    assert "mysqlpool_status.index" in app.view_functions


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("verdict", [False, None, 0, ""])
def test_guard_refuses_every_view(make_app: MakeApp, view: str, verdict: t.Any) -> None:
    client = show(make_app(), lambda: verdict)
    for method in ("GET", "HEAD", "OPTIONS"):
        assert client.open(view, method=method).status_code == 403


@pytest.mark.parametrize("view", VIEWS)
def test_guard_lets_pass(make_app: MakeApp, view: str) -> None:
    assert show(make_app()).get(view).status_code == 200


def test_guard_may_answer_or_abort_itself(make_app: MakeApp) -> None:
    app = make_app()
    other = StatusPage(lambda: flask.abort(401), name="other")
    app.register_blueprint(other, url_prefix="/other")
    client = show(app, lambda: flask.redirect("/login", 302))
    answer = client.get("/pool/data.json")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login")
    assert client.get("/other/").status_code == 401


def test_async_guard_is_awaited(make_app: MakeApp) -> None:
    async def nobody() -> bool:
        return False

    assert show(make_app(), nobody).get("/pool/").status_code == 403


@pytest.mark.parametrize("verdict", [1, "ada", ("no", 401)])
def test_guard_that_is_unclear_shuts_the_page(
    make_app: MakeApp, verdict: t.Any
) -> None:
    client = show(make_app(), lambda: verdict)
    assert client.get("/pool/data.json").status_code == 500
    client.application.testing = True
    with pytest.raises(TypeError, match="return True, False or a response"):
        client.get("/pool/data.json")


def test_guard_sees_the_request(make_app: MakeApp) -> None:
    client = show(make_app(), lambda: flask.request.args.get("key") == "right")
    assert client.get("/pool/?key=right").status_code == 200
    assert client.get("/pool/?key=wrong").status_code == 403


def test_it_is_registered_within_another_blueprint(make_app: MakeApp) -> None:
    app, admin = make_app(), flask.Blueprint("admin", __name__)
    admin.register_blueprint(StatusPage(lambda: False), url_prefix="/pool")
    app.register_blueprint(admin, url_prefix="/admin")
    assert app.test_client().get("/admin/pool/health").status_code == 403


# What it answers


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_of_elsewhere_is_let_in(make_app: MakeApp, view: str) -> None:
    headers = show(make_app()).get(view).headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def fail() -> t.NoReturn:
    raise RuntimeError("the guard")


FAILURES: dict[str, tuple[str, str, t.Any, int]] = {
    "the guard refuses": ("GET", "/pool/data.json", lambda: False, 403),
    "the guard hides it": ("GET", "/pool/", lambda: flask.abort(404), 404),
    "no such asset": ("GET", "/pool/assets/nothing", lambda: True, 404),
    "no such page": ("GET", "/pool/nothing", lambda: True, 404),
    "no such method": ("POST", "/pool/data.json", lambda: True, 405),
    "an invented method": ("BREW", "/pool/", lambda: True, 405),
    "the guard fails": ("GET", "/pool/health", fail, 500),
}


@pytest.mark.parametrize("what", FAILURES)
@pytest.mark.parametrize("nested", [False, True])
def test_failure_is_not_kept_either(make_app: MakeApp, what: str, nested: bool) -> None:
    method, path, guard, status = FAILURES[what]
    app, outer = make_app(), flask.Blueprint("outer", __name__)
    outer.register_blueprint(StatusPage(guard), url_prefix="/pool")
    if nested:
        app.register_blueprint(outer, url_prefix="/admin")
        app.test_client_class = Client
        answer = app.test_client().open(f"/admin{path}", method=method)
    else:
        answer = show(app, guard).open(path, method=method)
    assert answer.status_code == status
    assert answer.headers.getlist("Cache-Control") == ["no-store"]
    assert answer.headers.getlist("X-Content-Type-Options") == ["nosniff"]


@pytest.mark.parametrize("path", ["/nothing", "/pools", "/poo", "/"])
def test_failures_of_the_app_are_left_alone(make_app: MakeApp, path: str) -> None:
    headers = show(make_app()).get(path).headers
    assert "Cache-Control" not in headers and "X-Content-Type-Options" not in headers


def test_error_page_of_the_app_keeps_its_own_policy(make_app: MakeApp) -> None:
    answer = show(make_app(), lambda: False).get("/pool/")
    assert "Content-Security-Policy" not in answer.headers


def test_page_needs_no_context_processor_of_the_app(make_app: MakeApp) -> None:
    app = make_app()
    app.context_processor(lambda: {"user": execute(get_db(), "SELECT 1")})
    assert "<main" in show(app).get("/pool/").text
    assert pool_of(app).stats().opened == 0


def test_json_agrees_with_the_pools(
    base: Path, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "CACHE_SECONDS", -1)
    app = make_app(runtime_dir=str(base), **TWO_BINDS)

    @app.get("/both")
    def both() -> str:
        get_db().begin()
        execute(get_db(), "SELECT 'secret'")
        execute(get_db("reports"), "SELECT 1")
        seen.update(ask(client))
        return ""

    seen: dict[str, t.Any] = {}
    client = show(app)
    app.test_client().get("/both")
    (worker,) = seen["workers"]
    assert (seen["app"], list(seen["totals"])) == ("an_app", ["default", "reports"])
    for bind, total in seen["totals"].items():
        (holder,) = worker["holders"][bind]
        assert holder["holder"] == "GET both"
        assert holder["in_transaction"] == (bind == "default")
        assert (total["in_use"], total["idle"], total["waiting"]) == (1, 0, 0)
        assert total["max_size"] == worker["binds"][bind]["max_size"]
    assert [total["max_size"] for total in seen["totals"].values()] == [2, 1]
    assert worker["holders"]["default"][0]["statement"] == "SELECT ?"
    total = ask(client)["totals"]["default"]
    reading = pool_of(app).stats()
    assert total["checkouts"] == reading.checkouts == 1
    assert total["endpoints"] == reading.as_dict()["endpoints"]
    assert total["use_seconds"] == reading.use_seconds.summary()
    assert sum(count for _, count in total["use_buckets"]) == 1
    assert total["use_buckets"][0][0] >= reading.use_seconds.max


def test_json_is_told_of_pools_that_nobody_has_used(make_app: MakeApp) -> None:
    answer = ask(show(make_app("unused_app", **TWO_BINDS)))
    assert answer["workers"] == []
    assert [total["size"] for total in answer["totals"].values()] == [0, 0]


def test_app_that_a_process_made_twice_shows_all_holders(make_app: MakeApp) -> None:
    one, other = make_app("twice"), make_app("twice")
    with pool_of(one).connection(holder="1"), pool_of(other).connection(holder="2"):
        answer = ask(show(one))
    holders = [worker["holders"]["default"] for worker in answer["workers"]]
    assert sorted(each["holder"] for lent in holders for each in lent) == ["1", "2"]
    assert answer["totals"]["default"]["in_use"] == 2


def test_json_has_no_password(make_app: MakeApp, mysql_url: str) -> None:
    app = make_app()
    client = show(app)
    with app.app_context():
        execute(get_db(), "SELECT 1")
        text = json.dumps([ask(client), ask(client, "/pool/health")])
    assert app.extensions["mysqlpool"]["default"].settings.password not in text


def test_many_viewers_cost_one_question(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    take = snapshot.take

    def counted(*args: t.Any) -> dict[str, t.Any]:
        asked.append("once")
        return take(*args)

    monkeypatch.setattr(snapshot, "take", counted)
    monkeypatch.setattr(snapshot, "CACHE_SECONDS", 60)
    client = show(make_app())
    assert len({ask(client)["time"] for _ in range(5)}) == 1
    assert asked == ["once"]
    monkeypatch.setattr(snapshot, "CACHE_SECONDS", -1)
    ask(client)
    assert len(asked) == 2


def test_snapshot_asks_each_worker_once(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[t.Any] = []
    ask_once = control_client.ask

    def counted(folder: t.Any, request: t.Any, *args: t.Any) -> t.Any:
        questions.append(request)
        return ask_once(folder, request, *args)

    monkeypatch.setattr(control_client, "ask", counted)
    ask(show(make_app()))
    assert len(questions) == 1


def test_folder_of_others_is_said(
    make_app: MakeApp,
) -> None:
    app = make_app()
    with app.app_context():
        execute(get_db(), "SELECT 1")
    folder = folder_of(app)
    folder.chmod(0o755)
    try:
        answer = show(app).get("/pool/data.json")
    finally:
        folder.chmod(0o700)
    assert answer.status_code == 503
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "the workers cannot be asked" in answer.json["error"]
    assert "is open to others" in answer.json["error"]


# Health


def no_socket(*args: t.Any) -> t.NoReturn:
    raise AssertionError("health asked the workers")


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may ask the workers' sockets."""
    monkeypatch.setattr(snapshot, "ask_snapshots", no_socket)


@pytest.mark.usefixtures("silent")
def test_health_answers_while_the_pool_is_exhausted(make_app: MakeApp) -> None:
    app = make_app(**TWO_BINDS)
    pool, client = pool_of(app), show(app)
    with pool.connection(), pool.connection():
        before = pool.stats()
        assert ask(client, "/pool/health")["status"] == "ok"  # full, and nobody waits
        waiter = threading.Thread(target=lambda: pool.connection(10).close())
        waiter.start()
        wait_until(lambda: pool.stats().waiting == 1)
        started = time.perf_counter()
        health = ask(client, "/pool/health")
        assert time.perf_counter() - started < 0.1
        after = pool.stats()
    waiter.join()
    assert health["status"] == health["binds"]["default"]["status"] == "exhausted"
    assert health["binds"]["reports"]["status"] == "ok"
    assert (before.checkouts, before.opened) == (after.checkouts, after.opened)


@pytest.mark.usefixtures("silent")
def test_health_answers_while_the_database_is_down(make_app: MakeApp) -> None:
    app = make_app(url=NOBODY_LISTENS, timeout=0.1)
    client = show(app)
    assert ask(client, "/pool/health")["status"] == "ok"  # nobody has tried
    with app.app_context(), pytest.raises(PoolError):
        get_db()
    before = pool_of(app).stats()
    started = time.perf_counter()
    health = ask(client, "/pool/health")
    assert time.perf_counter() - started < 0.1
    assert health["status"] == "unreachable"
    after = pool_of(app).stats()
    assert (before.checkouts, before.timeouts) == (after.checkouts, after.timeouts)
    assert in_use(app) == 0


def test_health_tells_of_a_closed_pool(make_app: MakeApp) -> None:
    app = make_app(**TWO_BINDS)
    pool_of(app, "reports").close()
    health = ask(show(app), "/pool/health")
    assert [each["status"] for each in health["binds"].values()] == ["ok", "closed"]
    assert health["status"] == "closed"


def test_public_health_says_one_word_and_opens_nothing_else(make_app: MakeApp) -> None:
    client = show(make_app(), lambda: False, public_health=True)
    assert ask(client, "/pool/health") == {"status": "ok"}
    for view in VIEWS:
        expected = 200 if view == "/pool/health" else 403
        assert client.get(view).status_code == expected


# What is kept in the package


def test_charting_library_comes_with_its_licence() -> None:
    static = files("flask_mysqlpool.status") / "static"
    assert "uPlot" in (static / "uPlot.iife.min.js").read_text(encoding="utf-8")[:100]
    assert "Leon Sorokin" in (static / "uPlot.LICENSE.txt").read_text(encoding="utf-8")


def test_page_has_no_assets_of_elsewhere() -> None:
    static = files("flask_mysqlpool.status") / "static"
    for name in ("index.html", "status.css", "status.js"):
        text = (static / name).read_text(encoding="utf-8")
        assert "http" not in text
    script = (static / "status.js").read_text(encoding="utf-8")
    assert "innerHTML" not in script
    assert len(script.splitlines()) < 400
