"""The example bank, on a fresh database."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from example_app import create_app

from ...support.bank import init_db
from ...support.bank import OpenBank


@pytest.fixture
def open_bank(mysql_url: str) -> Iterator[OpenBank]:
    """Make banks, without tables: ``open_bank(MAX_SIZE=2)``."""
    apps = []

    def make(url: str = mysql_url, **settings: Any) -> Flask:
        config = {f"MYSQLPOOL_{name}": value for name, value in settings.items()}
        app = create_app({"TESTING": True, "MYSQLPOOL_URL": url, **config})
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.extensions["mysqlpool"]["default"].close()


@pytest.fixture
def bank(open_bank: OpenBank) -> Flask:
    """A bank with its sample accounts; each request to it has a context of its own."""
    app = open_bank(MAX_SIZE=4)
    init_db(app)
    return app


@pytest.fixture
def app(bank: Flask) -> Flask:
    """The same bank under the name that pytest-flask looks for."""
    return bank


@pytest.fixture
def closed_bank(open_bank: OpenBank) -> Iterator[Flask]:
    """A bank whose database is down: its port is taken, and refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        yield open_bank(f"mysql://app@127.0.0.1:{port}/bank", TIMEOUT=0.2)
