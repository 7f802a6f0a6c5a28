"""Flask apps with a pool on a fresh database, and what tests ask of them."""

from __future__ import annotations

import contextvars
import threading
import typing as t
from collections.abc import Callable
from collections.abc import Iterator

import flask
import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool import MySQLPool
from flask_mysqlpool import Pool

from .queries import execute

MakeApp = Callable[..., flask.Flask]


@pytest.fixture
def make_app(mysql_url: str) -> Iterator[MakeApp]:
    """Make apps with a pool on a fresh database: ``make_app(max_size=2)``."""
    apps = []

    def make(import_name: str = "an_app", **settings: t.Any) -> flask.Flask:
        app = flask.Flask(import_name, root_path="/")
        app.config["MYSQLPOOL_URL"] = mysql_url
        app.config["MYSQLPOOL_SSL_DISABLED"] = True
        for name, value in settings.items():
            app.config[f"MYSQLPOOL_{name.upper()}"] = value
        MySQLPool(app)
        apps.append(app)
        return app

    yield make
    for app in apps:
        for pool in app.extensions["mysqlpool"].values():
            pool.close()
            assert pool.stats().in_use == 0, f"{pool!r} still lends"


def session_id() -> int:
    """Return the server's number for the session of :func:`get_db`."""
    ((session,),) = execute(get_db(), "SELECT CONNECTION_ID()")
    assert isinstance(session, int)
    return session


def pool_of(app: flask.Flask, bind: str = "default") -> Pool:
    pool: Pool = app.extensions["mysqlpool"][bind]
    return pool


def in_use(app: flask.Flask) -> int:
    """Return how many connections the pools of ``app`` have lent."""
    return sum(pool.stats().in_use for pool in app.extensions["mysqlpool"].values())


def in_copy_of_context(
    function: Callable[..., t.Any], *args: t.Any
) -> threading.Thread:
    """Run a function in a thread, in a copy of this context, which shares ``g``."""
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(function, *args))
    thread.start()
    return thread
