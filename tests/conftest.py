"""What all tests share: pools on a real server, and a watch over what they leave."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Iterator

import flask
import pytest

from .support.waiting import wait_until

pytest_plugins = [
    "flask_mysqlpool.testing.fixtures",
    "tests.support.pools",
    "tests.support.flask_apps",
    "tests.support.ledger",
    "tests.support.runtime_folders",
    "tests.support.scripted_server",
]


def pytest_configure() -> None:
    """Heed SIGINT, and let the children do so: a shell has its background jobs ignore
    it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Spare the collection after each test what stays for the whole run anyway."""
    gc.collect()
    gc.freeze()


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
