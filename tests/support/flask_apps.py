"""Flask apps with a pool on a fresh database, and what tests ask of them."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
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

#: Whether this Flask passes its context to its own methods, as from 3.2 on, which also
#: gives each request a context of its own.
PASSES_CONTEXT = "ctx" in inspect.signature(flask.Flask.handle_exception).parameters


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


@contextlib.contextmanager
def raises_at_teardown(
    kind: type[BaseException], match: str = ""
) -> Iterator[list[BaseException]]:
    """Check that the block raises ``kind``, alone or in groups, as from Flask 3.2 on;
    yield a list that gets the error.
    """
    found: list[BaseException] = []
    with pytest.raises(BaseException) as raised:  # noqa: B017, PT011  # looked at below
        yield found
    error: t.Any = raised.value
    while not isinstance(error, kind) and len(getattr(error, "exceptions", ())) == 1:
        (error,) = error.exceptions
    assert isinstance(error, kind), raised.value
    assert match in str(error)
    found.append(error)


def in_copy_of_context(
    function: Callable[..., t.Any], *args: t.Any
) -> threading.Thread:
    """Run a function in a thread, in a copy of this context, which shares ``g``."""
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(function, *args))
    thread.start()
    return thread
