"""``flask pool`` shows what is there, says what is wrong, and keeps secrets."""

from __future__ import annotations

import json
import logging
import socket
import traceback
import typing as t
from pathlib import Path
from urllib.parse import quote
from urllib.parse import urlsplit

import flask
import pymysql
import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool.cli.commands import pool_cli
from flask_mysqlpool.config.settings import MASK
from flask_mysqlpool.control import client
from flask_mysqlpool.control.runtime_dir import runtime_folder

from ..support.cli_runner import run
from ..support.cli_runner import run_json
from ..support.flask_apps import MakeApp

READING = {
    "size": int,
    "in_use": int,
    "idle": int,
    "waiting": int,
    "min_size": int,
    "max_size": int,
    "checkouts": int,
    "timeouts": int,
    "queued": int,
    "leaks": int,
    "opened": int,
    "closed": dict,
    "wait_seconds": dict,
    "use_seconds": dict,
    "create_seconds": dict,
    "oldest_wait_seconds": float,
    "oldest_use_seconds": float,
    "exhausted_ago": type(None),
    "endpoints": dict,
}
CHECKS = {
    *("connect", "version", "tls", "charset", "wait_timeout", "settings", "clock"),
    *("limits", "account", "workers", "exhausted", "leaks"),
}


@pytest.fixture
def app(base: Path, make_app: MakeApp) -> flask.Flask:
    return make_app(runtime_dir=str(base), binds={"reports": {"max_size": 4}})


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# stats


def test_stats_as_json(app: flask.Flask) -> None:
    with app.app_context():
        get_db("reports").ping()
        get_db().ping()
        with get_db().cursor() as cursor:
            cursor.execute("SELECT SLEEP(0.01)")
        stats = run_json(app, "stats")
    assert set(stats) == {"workers", "totals", "server"}
    (worker,) = stats["workers"]
    assert set(worker) == {"pid", "binds"}
    assert isinstance(worker["pid"], int)
    assert set(worker["binds"]) == set(stats["totals"]) == {"default", "reports"}
    for reading in (*worker["binds"].values(), *stats["totals"].values()):
        assert {name: type(value) for name, value in reading.items()} == READING
        for name in ("wait_seconds", "use_seconds", "create_seconds"):
            kinds = {key: type(value) for key, value in reading[name].items()}
            assert kinds == {"p50": float, "p99": float, "max": float}
        assert (reading["size"], reading["in_use"], reading["idle"]) == (1, 1, 0)
        assert (reading["checkouts"], reading["opened"]) == (1, 1)
        assert reading["oldest_use_seconds"] > 0.01
    assert worker["binds"]["default"]["max_size"] == 10
    assert worker["binds"]["reports"]["max_size"] == 4
    assert set(stats["server"]) == {"default", "reports"}
    for view in stats["server"].values():
        assert isinstance(view["version"], str)
        assert view["max_connections"] >= view["threads_connected"] >= 2


def test_stats_of_what_was_returned(app: flask.Flask) -> None:
    for _ in range(5):
        with app.app_context():
            get_db().ping()
    reading = run_json(app, "stats")["totals"]["default"]
    assert (reading["size"], reading["in_use"], reading["idle"]) == (1, 0, 1)
    assert (reading["checkouts"], reading["opened"], reading["closed"]) == (5, 1, {})
    assert 0 < reading["use_seconds"]["p50"] <= reading["use_seconds"]["max"]
    app.extensions["mysqlpool"]["default"].recycle()
    reading = run_json(app, "stats")["totals"]["default"]
    assert (reading["size"], reading["closed"]) == (0, {"recycled": 1})


def test_stats_as_text(app: flask.Flask) -> None:
    with app.app_context():
        get_db().ping()
        lines = run(app, "stats").stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines.count("Pool default") == lines.count("Pool reports") == 1
    row = lines[lines.index("Pool default") + 4].split()
    assert row[1:7] == ["1", "0", "0", "10", "1", "0"]
    assert [line for line in lines if line.startswith("Server of default: ")]
    assert lines[-1].startswith("Server of reports: ")
    assert lines[-1].endswith(" connections open")


def test_stats_are_not_cut_off_on_a_narrow_terminal(
    app: flask.Flask,
) -> None:
    with app.app_context():
        get_db()
        wide = run(app, "stats").stdout.splitlines()
        narrow = run(app, "stats", columns=30).stdout.splitlines()
    assert narrow[2].split() == wide[2].split()
    assert narrow[-1].endswith(" connections open")


def test_stats_of_one_bind(app: flask.Flask) -> None:
    with app.app_context():
        get_db()
        get_db("reports")
        stats = run_json(app, "stats", "--bind", "reports")
        text = run(app, "stats", "--bind", "reports").stdout
    assert set(stats["workers"][0]["binds"]) == {"reports"}
    assert set(stats["totals"]) == set(stats["server"]) == {"reports"}
    assert "Pool reports" in text
    assert "default" not in text


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_unknown_bind_is_an_error(app: flask.Flask, arguments: tuple[str, ...]) -> None:
    result = run(app, "stats", "--bind", "nope", *arguments)
    assert result.exit_code != 0
    assert result.stdout == ""
    assert "there is no bind 'nope', only 'default', 'reports'" in result.stderr


def test_stats_where_nobody_runs(
    app: flask.Flask, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "default_base", lambda: base)  # others run elsewhere
    result = run(app, "stats")
    assert result.exit_code == 0
    first, *servers = result.stdout.splitlines()
    assert first.startswith("No worker of this app is using its pools")
    assert str(runtime_folder(str(base), app.name, app.root_path)) in first
    assert [line.split(":")[0] for line in servers] == [
        "Server of default",
        "Server of reports",
    ]
    stats = run_json(app, "stats")
    assert stats["workers"] == []
    assert stats["totals"]["default"]["checkouts"] == 0
    assert stats["totals"]["default"].keys() == READING.keys()
    assert stats["server"]["default"]["threads_connected"] >= 1


def test_stats_where_one_server_is_down(base: Path, make_app: MakeApp) -> None:
    down = {"url": f"mysql://127.0.0.1:{unused_port()}"}
    app = make_app(runtime_dir=str(base), binds={"down": down})
    with app.app_context():
        get_db().ping()
        result = run(app, "stats")
        stats = run_json(app, "stats", status=1)
    assert result.exit_code == 1
    assert "Server of default: " in result.stdout
    assert result.stderr.startswith("Server of down: cannot connect: ")
    assert stats["totals"]["default"]["in_use"] == 1
    assert "version" in stats["server"]["default"]
    assert stats["server"]["down"]["error"].startswith("cannot connect: ")


def test_stats_where_the_password_cannot_be_had(base: Path, make_app: MakeApp) -> None:
    def ask() -> str:
        raise LookupError("the vault is sealed")

    app = make_app(runtime_dir=str(base), binds={"sealed": {"password": ask}})
    with app.app_context():
        get_db().ping()
        stats = run_json(app, "stats", status=1)
    assert stats["totals"]["default"]["in_use"] == 1
    assert "the vault is sealed" in stats["server"]["sealed"]["error"]
    checked = run_json(app, "check", status=1)
    assert "the vault is sealed" in json.dumps(checked)


def test_unsafe_folder_is_an_error(app: flask.Flask, base: Path) -> None:
    runtime_folder(str(base), app.name, app.root_path).mkdir(mode=0o755)
    for command in ("stats", "stats --watch", "who", "check", "recycle", "resize 3"):
        result = run(app, *command.split())
        assert result.exit_code == 1
        assert result.stdout == ""
        said = result.stderr.replace("\n", " ")
        assert said.startswith("Error: the workers cannot be asked: ")
        assert "is open to others: chmod 700" in said


# check and config


def test_check_of_what_is_well(app: flask.Flask) -> None:
    with app.app_context():
        get_db()
    checked = run_json(app, "check")
    assert checked["ok"] is True
    for bind in ("default", "reports"):
        found = {
            finding["check"]: finding["verdict"]
            for finding in checked["findings"]
            if bind in finding["binds"]
        }
        assert found.keys() >= CHECKS
        assert set(found.values()) == {"ok"}
    result = run(app, "check")
    assert result.exit_code == 0
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert all(check in result.stdout for check in CHECKS)


def test_check_of_a_pool_that_is_larger_than_its_server(
    base: Path, make_app: MakeApp
) -> None:
    app = make_app(runtime_dir=str(base), max_size=1_000_000)
    checked = run_json(app, "check", status=1)
    assert checked["ok"] is False
    (finding,) = [f for f in checked["findings"] if f["verdict"] == "error"]
    assert finding["check"] == "limits"
    assert "1000000 connections" in finding["text"]
    assert finding["change"].startswith("lower MYSQLPOOL_MAX_SIZE to ")
    result = run(app, "check")
    assert result.exit_code == 1
    assert "→ lower MYSQLPOOL_MAX_SIZE to " in " ".join(result.stdout.split())


def test_check_of_connections_that_outlive_the_servers_patience(
    base: Path, make_app: MakeApp
) -> None:
    app = make_app(runtime_dir=str(base), max_lifetime=0, max_idle=0)
    with app.app_context():
        get_db()
    checked = run_json(app, "check")
    (finding,) = [f for f in checked["findings"] if f["check"] == "wait_timeout"]
    assert finding["verdict"] == "warning"
    assert finding["change"].startswith("set MYSQLPOOL_MAX_IDLE to ")


def test_check_of_a_server_that_is_down(base: Path, make_app: MakeApp) -> None:
    app = make_app(runtime_dir=str(base), host="127.0.0.1", port=unused_port())
    checked = run_json(app, "check", status=1)
    assert checked["ok"] is False
    (finding,) = [f for f in checked["findings"] if f["verdict"] == "error"]
    assert finding["check"] == "connect"
    assert finding["text"].startswith("cannot connect: ")
    assert run(app, "check").exit_code == 1


def test_config(app: flask.Flask, mysql_url: str) -> None:
    settings = run_json(app, "config")
    assert settings["default"]["max_size"] == 10
    assert settings["reports"]["max_size"] == 4
    assert settings["reports"]["host"] == urlsplit(mysql_url).hostname
    assert settings["default"]["password"] == MASK
    assert settings["default"]["setsession"] == []
    text = run(app, "config").stdout
    assert "Settings of default" in text and "Settings of reports" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["max_size", "4"] in rows
    assert ["password", MASK] in rows


def test_help_names_the_commands(app: flask.Flask) -> None:
    text = run(app, "--help").stdout
    assert all(f"\n  {name} " in text for name in pool_cli.commands)


# Secrets


@pytest.mark.parametrize("way", ["url", "key", "callable"])
@pytest.mark.parametrize("fault", ["refused", "down"])
def test_password_shows_nowhere(
    way: str,
    fault: str,
    base: Path,
    make_app: MakeApp,
    mysql_url: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    secret = "Tr0ub4dör&3€"
    caplog.set_level(logging.DEBUG)
    server = urlsplit(mysql_url)
    port = server.port if fault == "refused" else unused_port()
    password = quote(secret, safe="") if way == "url" else ""
    settings: dict[str, t.Any] = {
        "url": f"mysql://somebody:{password}@{server.hostname}:{port}/x",
        "runtime_dir": str(base),
        "min_size": 1,
        "timeout": 0.5,
    }
    if way != "url":
        settings["password"] = secret if way == "key" else lambda: secret
    app = make_app(**settings)
    app.add_url_rule("/", view_func=lambda: repr(get_db()))
    pool = app.extensions["mysqlpool"]["default"]
    texts = [repr(pool), repr(pool.settings), repr(app.extensions)]
    with pytest.raises((PoolTimeout, pymysql.err.OperationalError)) as caught:
        pool.connection()
    error: BaseException | None = caught.value
    texts += traceback.format_exception(error)
    while error is not None:
        texts += [str(error), repr(error), repr(error.args)]
        error = error.__cause__ or error.__context__
    response = app.test_client().get("/")
    assert response.status_code >= 500
    texts += [response.text, str(response.headers)]
    for command in pool_cli.commands:
        arguments = [command, "3"] if command == "resize" else [command]
        result = run(app, *arguments)
        texts += [result.output, run(app, *arguments, "--json").output]
    pool.maintain()
    texts += [caplog.text, *capfd.readouterr()]
    assert "somebody" in "".join(texts)  # it is the right pool
    for text in texts:
        for part in (secret, secret[:-1], quote(secret), ascii(secret)[1:-1]):
            assert part not in text
