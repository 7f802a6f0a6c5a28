"""Settings that nobody reads are named: those that came too late, those of another
extension, and none at all.
"""

from __future__ import annotations

import logging
import typing as t

import flask
import pymysql
import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool import MySQLPool
from flask_mysqlpool.config.unread import LateKeys

LOGGER = "flask_mysqlpool.config.unread"
URL = "mysql://app:secret@127.0.0.1:1/bank"  # where nothing listens


def app_with(**config: t.Any) -> flask.Flask:
    app = flask.Flask("an_app", root_path="/")
    app.config.from_mapping(config)
    MySQLPool(app)
    return app


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [record for record in caplog.records if record.name == LOGGER]
    assert all(record.levelno == logging.WARNING for record in records)
    return [record.getMessage() for record in records]


@pytest.mark.parametrize(
    ("config", "hints"),
    [
        ({}, ""),
        ({"MYSQLPOOL_MAX_SIZE": 3}, ""),
        ({"MYSQL_HOST": None}, ""),
        ({"MYSQLPOOL_BINDS": {}, 5: 5}, ""),
        (
            {"MYSQL_HOST": "db", "MYSQL_DB": "bank", "MYSQL_CURSORCLASS": "DictCursor"},
            " (MYSQL_HOST is not read: it is MYSQLPOOL_HOST here; MYSQL_DB is not read:"
            " it is MYSQLPOOL_DATABASE here; MYSQL_CURSORCLASS is not read: it is"
            " MYSQLPOOL_CURSORCLASS here)",
        ),
        (
            {"MYSQL_DATABASE_HOST": "db", "MYSQL_DATABASE_SOCKET": "/s"},
            " (MYSQL_DATABASE_HOST is not read: it is MYSQLPOOL_HOST here;"
            " MYSQL_DATABASE_SOCKET is not read: it is MYSQLPOOL_UNIX_SOCKET here)",
        ),
        (
            {"MYSQL_POOL_URL": URL, "SQLALCHEMY_DATABASE_URI": URL},
            " (MYSQL_POOL_URL is not read: it is MYSQLPOOL_URL here;"
            " SQLALCHEMY_DATABASE_URI is not read: it is MYSQLPOOL_URL here)",
        ),
    ],
)
def test_app_that_names_no_database_is_warned_of(
    config: dict[t.Any, t.Any], hints: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = flask.Flask("an_app", root_path="/")
    app.config.update(config)
    MySQLPool(app)
    assert warnings(caplog) == [
        "no MYSQLPOOL_ setting says where the database of 'default' is, so localhost is"
        f" used: set MYSQLPOOL_URL{hints}"
    ]


@pytest.mark.parametrize(
    "config",
    [
        {"URL": URL},
        {"HOST": "db"},
        {"UNIX_SOCKET": "/s"},
        {"USER": "app"},
        {"DATABASE": "bank"},
        {"BINDS": {"reports": {"host": "replica"}}},
    ],
)
def test_app_that_names_a_database_is_not(
    config: dict[str, t.Any], caplog: pytest.LogCaptureFixture
) -> None:
    keys = {f"MYSQLPOOL_{name}": value for name, value in config.items()}
    app_with(MYSQL_HOST="db", **keys)
    assert warnings(caplog) == []


def test_each_pool_without_a_database_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app_with(MYSQLPOOL_BINDS={"a": {"max_size": 1}, "b": {"host": "db"}})
    (text,) = warnings(caplog)
    assert "the database of 'default' and 'a' is" in text


def connect(app: flask.Flask, bind: str = "default") -> None:
    with app.app_context(), pytest.raises(pymysql.err.OperationalError):
        get_db(bind)


def test_key_that_came_too_late_is_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bind = {"max_size": 2}
    app = app_with(
        MYSQLPOOL_URL=URL, MYSQLPOOL_MAX_SIZE=3, MYSQLPOOL_BINDS={"reports": bind}
    )
    app.config["MYSQLPOOL_MAX_SIZE"] = 3  # the same
    app.config["MYSQLPOOL_PASSWORD"] = "hunter2"
    app.config["MYSQLPOOL_TIMOUT"] = 3
    bind["max_size"] = 5
    assert warnings(caplog) == []
    for _ in range(2):
        connect(app)
        connect(app, "reports")
    assert warnings(caplog) == [
        "set after MySQLPool(app) had read the settings, and so ignored:"
        " MYSQLPOOL_BINDS, MYSQLPOOL_PASSWORD, MYSQLPOOL_TIMOUT; set them before"
    ]
    assert "hunter2" not in caplog.text


def test_key_that_was_removed_is_not_late(caplog: pytest.LogCaptureFixture) -> None:
    app = app_with(MYSQLPOOL_URL=URL, MYSQLPOOL_PASSWORD="x")
    del app.config["MYSQLPOOL_PASSWORD"]
    connect(app)
    assert warnings(caplog) == []


def test_list_that_grew_is_late(caplog: pytest.LogCaptureFixture) -> None:
    config = {"MYSQLPOOL_SETSESSION": ["SET a = 1"]}
    late = LateKeys(config)
    config["MYSQLPOOL_SETSESSION"].append("SET b = 1")
    late.warn(None)
    late.warn(None)
    (text,) = warnings(caplog)
    assert "ignored: MYSQLPOOL_SETSESSION;" in text
