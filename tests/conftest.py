"""What all tests share: pools on a real server, and a watch over what they leave."""

from __future__ import annotations

import gc
import signal
import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterator

import flask
import pytest

from flask_mysqlpool import MySQLPool
from flask_mysqlpool import Pool
from flask_mysqlpool.config.settings import Settings
from flask_mysqlpool.pool.housekeeper import housekeeper

pytest_plugins = ["flask_mysqlpool.testing.fixtures", "tests.workbench"]

MakePool = Callable[..., Pool]
MakeApp = Callable[..., flask.Flask]


def wait_until(condition: Callable[[], t.Any], seconds: float = 10.0) -> None:
    """Wait for ``condition`` to hold; fail the test if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.005)


def settings_for(url: str, **settings: t.Any) -> Settings:
    keys = {f"MYSQLPOOL_{name.upper()}": value for name, value in settings.items()}
    return Settings.from_config({"MYSQLPOOL_URL": url, **keys})["default"]


def pytest_configure() -> None:
    """Heed SIGINT, and let the children do so: a shell has its background jobs ignore
    it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Spare the collection after each test what stays for the whole run anyway."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def make_pool(mysql_url: str) -> Iterator[MakePool]:
    """Make pools on a fresh database: ``make_pool(max_size=2)``."""
    pools = []

    def make(url: str = mysql_url, /, **settings: t.Any) -> Pool:
        pool = Pool(settings_for(url, **{"ssl_disabled": True, **settings}))
        pool.on_first_use.append(housekeeper.watch)
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.close()
        assert pool.stats().in_use == 0, f"{pool!r} still lends"


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


@pytest.fixture(autouse=True)
def leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a thread running or a context pushed."""
    before = set(threading.enumerate())
    pushed = flask.has_app_context()
    yield
    monkeypatch.undo()
    gc.collect()
    wait_until(lambda: set(threading.enumerate()) <= before | housekeeping())
    assert flask.has_app_context() == pushed, "a context was left pushed"


def housekeeping() -> set[threading.Thread]:
    """The threads of this package that end by themselves, with their pools."""
    return {
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("mysqlpool-")
    }
