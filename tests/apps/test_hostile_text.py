"""What others write is shown as text: by the command line, the log, the page and the
metrics. Each test plants it at one entry, and looks at what comes out.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import typing as t
from collections.abc import Iterator
from pathlib import Path

import flask
import pymysql
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client import generate_latest

from flask_mysqlpool import get_db
from flask_mysqlpool import PoolError
from flask_mysqlpool.context import folder_of
from flask_mysqlpool.diagnostics import server_info
from flask_mysqlpool.metrics.conventions import pool_names
from flask_mysqlpool.metrics.prometheus import PoolCollector
from flask_mysqlpool.status import StatusPage

from ..support.cli_runner import PLAIN
from ..support.flask_apps import MakeApp
from ..support.flask_apps import pool_of
from ..support.hostile_text import assert_harmless
from ..support.hostile_text import HOSTILE
from ..support.hostile_text import hostile_worker
from ..support.hostile_text import MARKUP
from ..support.hostile_text import strings
from ..support.waiting import wait_until

COMMANDS = [
    "stats",
    "stats --json",
    "stats --endpoints",
    "who --stack",
    "who --stack --json",
    "check",
    "check --json",
    "config",
    "config --json",
]
HOSTILE_PATH = HOSTILE.replace("\0", "").replace("\ud83d", "")
TERMINAL = PLAIN | {"FORCE_COLOR": "1", "TERM": "xterm-256color"}


@pytest.fixture
def app(base: Path, make_app: MakeApp) -> flask.Flask:
    app = make_app(runtime_dir=str(base), leak_after=0.01)
    app.register_blueprint(StatusPage(lambda: True), url_prefix="/pool")
    return app


def shown(app: flask.Flask, command: str) -> str:
    """Run a command into a pipe and into a terminal; check and return what it says."""
    runner = app.test_cli_runner()
    texts = []
    for environment in (PLAIN, TERMINAL):
        environment = environment | {"COLUMNS": "5000"}
        result = runner.invoke(args=["pool", *command.split()], env=environment)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert_harmless(result.output, colours="TERM" in environment)
        texts.append(result.stdout if "--json" in command else result.output)
    if command.endswith("--json") and "config" not in command:
        for each in strings(json.loads(texts[0])):
            assert_harmless(each)
    return texts[0]


def assert_all_harmless(app: flask.Flask, commands: list[str] = COMMANDS) -> str:
    """Check all that shows the pools of an app; return the commands' text."""
    text = "".join(shown(app, command) for command in commands)
    page = app.test_client().get("/pool/data.json")
    assert_harmless(page.text)
    for each in strings(page.json):
        assert_harmless(each)
    assert_harmless(app.test_client().get("/pool/health").text)
    registry = CollectorRegistry()
    registry.register(PoolCollector(app))
    assert_harmless(generate_latest(registry).decode())
    return text


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check all that is logged: what is not the package's own lines."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "flask_mysqlpool.checkouts")
    yield
    for record in caplog.get_records("call"):
        assert_harmless(record.getMessage())


@pytest.mark.usefixtures("logged")
def test_holder_thread_path_and_statement_of_this_process(
    app: flask.Flask, caplog: pytest.LogCaptureFixture
) -> None:
    pool, over = pool_of(app), threading.Event()
    source = "def hold(pool, holder):\n    return pool.connection(holder=holder)\n"
    names: dict[str, t.Any] = {}
    exec(compile(source, f"/srv/{HOSTILE_PATH}.py", "exec"), names)

    def hold() -> None:
        with names["hold"](pool, HOSTILE) as db, db.cursor() as cursor:
            cursor.execute(f"SELECT 1 AS `{HOSTILE[:40]}\u202e`")
            over.wait(20)

    thread = threading.Thread(target=hold, name=HOSTILE)
    thread.start()
    try:
        wait_until(lambda: bool(pool.holders() and pool.holders()[0].statement))
        text = assert_all_harmless(app)
        wait_until(lambda: pool.maintain() > 0 and "is held for" in caplog.text)
    finally:
        over.set()
        thread.join()
    assert text.count(MARKUP) >= 3, "it is text, not markup"
    assert "\\x1b]8;;http://evil/\\x07here" in text
    assert_all_harmless(app)  # it counts as an endpoint


@pytest.mark.usefixtures("logged")
def test_endpoint_and_changes_that_were_lost(app: flask.Flask) -> None:
    @app.get("/lose", endpoint=HOSTILE)
    def lose() -> str:
        with get_db().cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS t (id INT)")
            cursor.execute("INSERT INTO t VALUES (1)")
        return ""

    assert app.test_client().get("/lose").status_code == 200
    assert MARKUP in assert_all_harmless(app)


@pytest.mark.usefixtures("logged")
def test_endpoint_of_a_stream_that_is_broken_off(
    app: flask.Flask, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/stream", endpoint=HOSTILE)
    def stream() -> flask.Response:
        def rows() -> Iterator[str]:
            yield "a"
            get_db()

        return flask.Response(flask.stream_with_context(rows()))

    pool_of(app).close()
    with pytest.raises(PoolError):
        app.test_client().get("/stream", buffered=True)
    assert "is broken off" in caplog.text


@pytest.mark.parametrize("error", [False, True])
@pytest.mark.usefixtures("logged")
def test_answers_of_another_worker(app: flask.Flask, error: bool) -> None:
    with hostile_worker(folder_of(app), error):
        text = assert_all_harmless(app, [*COMMANDS, "recycle", "resize 3"])
    assert "\\x1b]8;;http://evil/\\x07here" in text


class HostileCursor:
    """A server that answers everything with :data:`HOSTILE`."""

    def execute(self, sql: str, parameters: t.Any) -> None:
        self._sql = sql

    def fetchone(self) -> dict[str, t.Any]:
        if "timestamp" in self._sql:
            return {"now": "1.0"}
        names = server_info._COLUMNS
        row: dict[str, t.Any] = dict.fromkeys(names, HOSTILE)
        row |= dict.fromkeys(server_info._NUMBERS, 1)
        return row | {"Value": "1" if "connected" in self._sql else HOSTILE}


@pytest.fixture(params=["answers", "error"])
def hostile_server(request: pytest.FixtureRequest) -> t.Any:
    cursor: t.Any = HostileCursor()
    if request.param == "answers":
        return lambda settings: server_info._read(cursor, "VERIFY_CA", HOSTILE)

    def fail(settings: t.Any) -> t.NoReturn:
        raise RuntimeError(HOSTILE)  # as a password callable may

    return fail


def test_what_a_server_says(
    app: flask.Flask, monkeypatch: pytest.MonkeyPatch, hostile_server: t.Any
) -> None:
    monkeypatch.setattr(server_info, "query_server", hostile_server)
    text = assert_all_harmless(app)
    assert "\\x1b]8;;http://evil/\\x07here" in text


@pytest.mark.usefixtures("logged")
def test_error_of_a_server_within_the_errors_of_the_pool(
    app: flask.Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(deadline: float) -> t.NoReturn:
        raise pymysql.err.OperationalError(HOSTILE)

    pool = pool_of(app)
    monkeypatch.setattr(pool._checkout.connector, "open", refuse)
    for _ in range(2):  # the second finds the breaker open
        with pytest.raises(PoolError) as caught:
            pool.connection(0.1)
        assert_harmless(str(caught.value))
    object.__setattr__(pool.settings, "min_size", 1)
    with pool._slots.lock:
        pool._slots.min_size = 1
    pool.maintain()


@pytest.mark.usefixtures("logged")
def test_path_of_a_request_that_gets_503(
    app: flask.Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(deadline: float) -> t.NoReturn:
        raise pymysql.err.OperationalError(2003, "down")

    monkeypatch.setattr(pool_of(app)._checkout.connector, "open", refuse)

    @app.get("/of/<visitor>")
    def view(visitor: str) -> str:
        get_db()
        return ""

    answer = app.test_client().get("/of/a%0d%0aFORGED%201%1b[31m%C2%9B%E2%80%AE")
    assert answer.status_code == 503
    assert r"/of/a\r\nFORGED 1\x1b[31m\x9b\u202e: " in caplog.text


def test_name_of_the_runtime_folder(base: Path, make_app: MakeApp) -> None:
    app = make_app(runtime_dir=f"{base}/\u202e[red]", min_size=0)
    assert "\\u202e[red]" in shown(app, "stats")
    folder = folder_of(app)
    os.makedirs(folder.parent)
    folder.touch()
    assert "\\u202e[red]" in shown(app, "stats")


def test_names_of_host_and_database(make_app: MakeApp) -> None:
    app = make_app("hostile_names")
    settings = pool_of(app).settings
    object.__setattr__(settings, "host", f"db{HOSTILE}")
    object.__setattr__(settings, "database", HOSTILE)
    for name in pool_names(app).values():
        assert_harmless(name)
    assert MARKUP in shown(app, "config")
    assert json.loads(shown(app, "config --json"))["default"]["database"] == HOSTILE
