"""Pytest fixtures: ``pytest_plugins = ["flask_mysqlpool.testing.fixtures"]``."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any
from typing import NoReturn
from urllib.parse import parse_qsl
from urllib.parse import quote
from urllib.parse import unquote
from urllib.parse import urlsplit

import pymysql
import pytest
from pymysql.connections import Connection

from .server import create_database
from .server import PrivateServer
from .server import quote_name

VARIABLE = "MYSQLPOOL_TEST_URL"
# The options of the URL's query that connections made here use. The pool gets all.
_TEXT_OPTIONS = {"charset", "unix_socket", "ssl_ca", "ssl_cert", "ssl_key"}


class ExternalServer:
    """A server that is already running, with the interface of :class:`PrivateServer`.

    It cannot be stopped from here: a test that tries to is skipped.

    :param url: of a user that may create and drop databases.
    """

    running = True

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self.port = self._url.port or 3306

    def connect(self, **keywords: Any) -> Connection:
        """Return a new PyMySQL connection with the rights of the URL's user."""
        query = parse_qsl(self._url.query)
        ours: dict[str, Any] = {
            "host": self._url.hostname,
            "port": self.port,
            "user": unquote(self._url.username or ""),
            "password": unquote(self._url.password or ""),
        }
        ours |= {key: value for key, value in query if key in _TEXT_OPTIONS}
        return pymysql.connect(**(ours | keywords))

    def url(self, database: str) -> str:
        """Return the URL of ``database``, which is created if it does not exist."""
        create_database(self.connect, database)
        return self._url._replace(path="/" + quote(database, safe="")).geturl()

    def _skip(self) -> NoReturn:
        pytest.skip(f"needs a server of its own to stop: unset {VARIABLE}")

    start = stop = kill = restart = _skip
    pid = socket = folder = property(_skip)


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[PrivateServer | ExternalServer]:
    """A server for the whole session: that of MYSQLPOOL_TEST_URL, or a private one.

    A test that stops it need not start it again.
    """
    if url := os.environ.get(VARIABLE):
        yield ExternalServer(url)
        return
    with PrivateServer() as server:
        yield server


@pytest.fixture
def mysql_url(mysql_server: PrivateServer | ExternalServer) -> Iterator[str]:
    """The URL of a fresh database, dropped after the test."""
    if not mysql_server.running:
        mysql_server.start()
    name = f"test_{secrets.token_hex(6)}"
    yield mysql_server.url(name)
    if not mysql_server.running:
        mysql_server.start()
    # A transaction left open holds the database: fail soon, not after a day.
    waits = "SET lock_wait_timeout = 10"
    with mysql_server.connect(init_command=waits) as connection:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {quote_name(name)}")
