"""An app whose pools all have names has no other pool."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator
from pathlib import Path

import flask
import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool import MySQLPool
from flask_mysqlpool import NotInitializedError
from flask_mysqlpool import transaction
from flask_mysqlpool.config.settings import Settings

from ..support.cli_runner import run
from ..support.cli_runner import run_json
from ..support.queries import execute

BINDS = {"bank": {"url": "mysql://bank"}, "reports": {"url": "mysql://replica"}}


@pytest.fixture
def app(base: Path, mysql_url: str) -> Iterator[flask.Flask]:
    app = flask.Flask("an_app", root_path="/")
    app.config["MYSQLPOOL_RUNTIME_DIR"] = str(base)
    app.config["MYSQLPOOL_MAX_SIZE"] = 3
    app.config["MYSQLPOOL_BINDS"] = {
        name: {"url": mysql_url, "ssl_disabled": True} for name in BINDS
    }
    MySQLPool(app)
    yield app
    for pool in app.extensions["mysqlpool"].values():
        pool.close()


@pytest.mark.parametrize(
    "plain",
    [{}, {"MAX_SIZE": 3, "USER": "app", "PASSWORD": "x"}, {"URL": None}],
)
def test_named_pools_alone_have_no_default(plain: dict[str, t.Any]) -> None:
    keys = {f"MYSQLPOOL_{name}": value for name, value in plain.items()}
    settings = Settings.from_config({**keys, "MYSQLPOOL_BINDS": BINDS})
    assert list(settings) == ["bank", "reports"]
    assert {each.user for each in settings.values()} == {plain.get("USER")}


@pytest.mark.parametrize(
    "plain", [{"URL": "mysql://db"}, {"HOST": "db"}, {"UNIX_SOCKET": "/s"}]
)
def test_server_in_the_plain_keys_is_the_default(plain: dict[str, t.Any]) -> None:
    keys = {f"MYSQLPOOL_{name}": value for name, value in plain.items()}
    settings = Settings.from_config({**keys, "MYSQLPOOL_BINDS": BINDS})
    assert list(settings) == ["default", "bank", "reports"]


@pytest.mark.parametrize(
    "binds", [{}, {"reports": {}}, {"bank": {"host": "db"}, "reports": {"user": "r"}}]
)
def test_bind_without_a_server_has_that_of_the_default(
    binds: dict[str, dict[str, str]],
) -> None:
    settings = Settings.from_config({"MYSQLPOOL_BINDS": binds})
    assert list(settings) == ["default", *binds]


@pytest.mark.parametrize("use", [get_db, lambda: transaction().__enter__()])
def test_use_of_the_default_names_the_pools(
    app: flask.Flask, use: t.Callable[[], object]
) -> None:
    said = "there is no bind 'default', only 'bank', 'reports': name one, as in"
    with app.app_context():
        with pytest.raises(NotInitializedError, match=re.escape(said)) as caught:
            use()
        assert "get_db('bank'), or set MYSQLPOOL_URL" in str(caught.value)
        with pytest.raises(NotInitializedError, match="add it to MYSQLPOOL_BINDS"):
            get_db("archive")
        with transaction("reports") as db:
            assert execute(db, "SELECT 1") == ((1,),)


def test_command_line_knows_the_named_pools_alone(app: flask.Flask) -> None:
    with app.app_context():
        get_db("bank").ping()
    stats = run_json(app, "stats")
    assert list(stats["totals"]) == list(stats["server"]) == ["bank", "reports"]
    checked = run_json(app, "check")
    assert checked["ok"] is True
    named = {bind for finding in checked["findings"] for bind in finding["binds"]}
    assert named == {"bank", "reports"}
    assert list(run_json(app, "config")) == ["bank", "reports"]
    for command in ("stats", "who", "check", "config", "recycle"):
        result = run(app, command)
        assert result.exit_code == 0
        assert "default" not in result.stdout.replace("server's default", "")
