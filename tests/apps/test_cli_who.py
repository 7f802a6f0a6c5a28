"""``flask pool who``, ``recycle`` and ``resize`` on pools in use."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import flask
import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool import Pool
from flask_mysqlpool import transaction
from flask_mysqlpool.cli.commands import pool_cli

from ..support.cli_runner import run
from ..support.cli_runner import run_json
from ..support.flask_apps import MakeApp


@pytest.fixture
def shop(base: Path, make_app: MakeApp) -> flask.Flask:  # pytest-flask enters an `app`
    """An app whose one view asks ``app.extensions["look"]`` while it has two
    connections.
    """
    app = make_app(
        runtime_dir=str(base), leak_after=0, binds={"reports": {"max_size": 4}}
    )

    @app.post("/orders")
    def place_order() -> str:
        with transaction() as db, db.cursor() as cursor:
            cursor.execute("SELECT %s AS name, 4711", ("a secret",))
            with get_db("reports").cursor() as other:
                other.execute("SELECT 'x'")
                cursor.execute("SELECT COUNT(*) FROM information_schema.tables")
                app.extensions["look"]()
        return ""

    return app


def looked(shop: flask.Flask, look: t.Callable[[], t.Any]) -> t.Any:
    """Return what is seen from within the view."""
    seen = []
    shop.extensions["look"] = lambda: seen.append(look())
    assert shop.test_client().post("/orders").status_code == 200
    return seen[0]


def pool_of(shop: flask.Flask, bind: str = "default") -> Pool:
    pool: Pool = shop.extensions["mysqlpool"][bind]
    return pool


def test_who_as_json(shop: flask.Flask) -> None:
    def look() -> t.Any:
        ids = [get_db(bind).thread_id() for bind in ("default", "reports")]
        return ids, run_json(shop, "who", "--stack")

    ids, answer = looked(shop, look)
    (worker,) = answer["workers"]
    assert worker["pid"] == os.getpid()
    for connection_id, (bind, holders) in zip(
        ids, worker["binds"].items(), strict=True
    ):
        (holder,) = holders
        assert holder["connection_id"] == connection_id
        assert holder["holder"] == "POST place_order"
        assert holder["thread"] == "MainThread"
        assert holder["in_transaction"] is (bind == "default")
        assert 0 < holder["seconds"] < 30
        assert any(
            f"{__file__}:" in p or "test_cli_who.py:" in p for p in holder["taken"]
        )
        assert holder["taken"][-1].endswith(" in place_order")
        assert any(place.endswith(" in look") for place in holder["stands"])
    assert worker["binds"]["reports"][0]["statement"] == "SELECT ?"


def test_who_as_text(shop: flask.Flask) -> None:
    plain, stacks, one = looked(
        shop,
        lambda: (
            run(shop, "who").stdout,
            run(shop, "who", "--stack").stdout,
            run(shop, "who", "--bind", "reports").stdout,
        ),
    )
    assert plain.count("POST place_order") == 2
    assert "information_schema" in plain and "secret" not in plain
    assert "Pool default" in plain and "Pool reports" in plain
    assert "in place_order" in stacks and "in place_order" not in plain
    assert "  current " in stacks
    assert "Pool reports" in one and "Pool default" not in one
    assert all(len(line) <= 80 for line in (plain + stacks).splitlines())


def test_who_where_nobody_holds_and_where_nobody_runs(shop: flask.Flask) -> None:
    assert run(shop, "who").stdout.startswith(
        "No worker of this app is using its pools"
    )
    assert run_json(shop, "who") == {"workers": []}
    with shop.app_context():
        get_db()
    lines = run(shop, "who").stdout.splitlines()
    assert lines == [
        "Pool default",
        "No connection is checked out",
        "Pool reports",
        "No connection is checked out",
    ]
    (worker,) = run_json(shop, "who")["workers"]
    assert worker == {"pid": os.getpid(), "binds": {"default": [], "reports": []}}


def test_who_holds_outside_a_request(shop: flask.Flask) -> None:
    with shop.app_context():
        get_db()
        with pool_of(shop).connection(holder="the importer"):
            text = run(shop, "who").stdout
    assert text.count("the importer") == text.count("outside a request") == 1


# recycle and resize


def test_recycle_says_what_was_closed(shop: flask.Flask) -> None:
    with shop.app_context():
        before = get_db().thread_id()
        with pool_of(shop, "reports").connection():
            pass
        answer = run_json(shop, "recycle")
        assert answer == {
            "workers": [
                {
                    "pid": os.getpid(),
                    "binds": {
                        "default": {"closed": 0, "at_return": 1},
                        "reports": {"closed": 1, "at_return": 0},
                    },
                }
            ]
        }
    with shop.app_context():
        assert get_db().thread_id() != before
        text = run(shop, "recycle", "--pid", str(os.getpid())).stdout.splitlines()
    assert text[1].split() == ["worker", "pool", "closed", "at", "return"]
    assert text[3].split() == [str(os.getpid()), "default", "0", "1"]


def test_recycle_of_one_bind_leaves_the_other(shop: flask.Flask) -> None:
    with shop.app_context():
        get_db()
        get_db("reports")
    (worker,) = run_json(shop, "recycle", "--bind", "reports")["workers"]
    assert list(worker["binds"]) == ["reports"]
    assert pool_of(shop).stats().idle == 1
    assert pool_of(shop, "reports").stats().idle == 0


def test_resize_says_what_it_was(shop: flask.Flask) -> None:
    with shop.app_context():
        get_db()
    (worker,) = run_json(shop, "resize", "7")["workers"]
    assert worker["binds"] == {
        "default": {"was": 10, "max_size": 7},
        "reports": {"was": 4, "max_size": 7},
    }
    result = run(shop, "resize", "3", "--bind", "default")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[3:] == [[str(os.getpid()), "default", "7", "3"]]
    assert pool_of(shop).stats().max_size == 3
    assert pool_of(shop, "reports").stats().max_size == 7


@pytest.mark.parametrize("size", ["0", "-1", "x", "1.5", "2147483648", "9" * 30])
def test_resize_to_what_is_no_size(shop: flask.Flask, size: str) -> None:
    with shop.app_context():
        get_db()
    result = run(shop, "resize", "--", size)
    assert result.exit_code == 2
    assert "Invalid value for 'N'" in result.stderr
    assert pool_of(shop).stats().max_size == 10


def test_resize_below_min_size_is_refused(base: Path, make_app: MakeApp) -> None:
    app = make_app(runtime_dir=str(base), min_size=2)
    with app.app_context():
        get_db()
    result = run(app, "resize", "1")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Worker {os.getpid()}: ")
    assert "max_size must be " in result.stderr
    answer = run_json(app, "resize", "1", status=1)
    assert "MYSQLPOOL_MIN_SIZE" in answer["workers"][0]["error"]


@pytest.mark.parametrize("command", ["recycle", "resize 3"])
def test_worker_that_is_not_there_is_an_error(shop: flask.Flask, command: str) -> None:
    with shop.app_context():
        get_db()
    for arguments in ((), ("--json",)):
        result = run(shop, *command.split(), "--pid", "1", *arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert "no worker with process id 1 uses the pools of this app" in (
            " ".join(result.stderr.split())
        )
    assert pool_of(shop).stats().max_size == 10
    assert pool_of(shop).stats().idle == 1


@pytest.mark.parametrize("command", ["who", "recycle", "resize 3"])
def test_bind_that_is_not_there_is_an_error(shop: flask.Flask, command: str) -> None:
    result = run(shop, *command.split(), "--bind", "nope")
    assert result.exit_code == 2
    assert "there is no bind 'nope', only 'default', 'reports'" in result.stderr


# Help


def test_help_is_complete_at_80_columns(shop: flask.Flask) -> None:
    lines = run(shop, "--help").stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert not any(line.endswith("...") for line in lines[1:])
    for name, command in pool_cli.commands.items():
        assert any(line.split()[:1] == [name] for line in lines)
        text = run(shop, name, "--help").stdout
        assert "--json" in text
        assert all(len(line) <= 80 for line in text.splitlines())
        assert command.help is not None


def test_endpoints(shop: flask.Flask) -> None:
    looked(shop, lambda: None)
    text = run(shop, "stats", "--endpoints").stdout
    assert text.count("POST place_order") == 2
    assert "100%" in text and "Server of default" in text
    totals = run_json(shop, "stats")["totals"]
    (endpoint,) = totals["default"]["endpoints"]
    assert endpoint == "POST place_order"


@pytest.mark.parametrize("interval", ["0", "nan", "inf", "x", "1e9"])
def test_watch_at_no_interval(shop: flask.Flask, interval: str) -> None:
    result = run(shop, "stats", f"--watch={interval}")
    assert result.exit_code == 2
    assert "--watch" in result.stderr


def test_terminal_without_unicode(base: Path, make_app: MakeApp) -> None:
    poor = make_app(runtime_dir=str(base), max_idle=0, max_lifetime=0)
    runner = poor.test_cli_runner(charset="ascii")
    with poor.app_context():
        get_db()
        for command in ("stats", "who", "check"):
            result = runner.invoke(args=["pool", command])
            assert result.exit_code == 0, result.exception
    assert "? set MYSQLPOOL_MAX_IDLE" in result.output
