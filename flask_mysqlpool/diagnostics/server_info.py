"""Queries a server for its version, limits and clock, on a connection of its own."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import time
import typing as t
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager

from pymysql.cursors import DictCursor

from ..config.settings import Settings
from ..driver.connector import Connector
from ..stats.text import printable

MAX_CONNECT_TIMEOUT = 5.0  # seconds
QUERY_TIMEOUT = 5.0  # seconds, of all queries together
QUIT_TIMEOUT = 1.0  # seconds

_COLUMNS = {
    "version": "@@version",
    "max_connections": "@@max_connections",
    "max_user_connections": "@@max_user_connections",  # the account's own, if it has
    "wait_timeout": "@@wait_timeout",
    "hostname": "@@hostname",
    "port": "@@port",
    "socket": "@@socket",
    "account": "CURRENT_USER()",
    "database": "DATABASE()",
    "charset": "@@character_set_client",
    "charset_of_database": "@@character_set_database",
    "charset_of_server": "@@character_set_server",
}
_NUMBERS = {"max_connections", "max_user_connections", "wait_timeout", "port"}
_QUERY = "SELECT " + ", ".join(f"{sql} AS `{key}`" for key, sql in _COLUMNS.items())

MAX_QUERIES = 16  # at a time


@dataclasses.dataclass(frozen=True)
class ServerInfo:
    """What a server reports about itself, and about a session with these settings."""

    version: str
    max_connections: int
    max_user_connections: int  # of this account; 0: no limit
    wait_timeout: int
    hostname: str
    port: int
    socket: str
    account: str
    database: str  # empty if none is selected
    charset: str  # of the connection
    charset_of_database: str  # default of new tables; the server's without a database
    charset_of_server: str
    threads_connected: int
    tls: str  # name of the cipher, empty without TLS
    tls_mode: str  # in force, in the words of MYSQLPOOL_SSL_MODE
    login_plugin: str
    clock_ahead_seconds: float  # the server's clock minus this machine's
    round_trip_seconds: float

    def as_dict(self) -> dict[str, t.Any]:
        """Return the fields for tables and JSON."""
        return dataclasses.asdict(self)

    @property
    def identity(self) -> tuple[str, int, str]:
        """The same for two addresses of one server."""
        return self.hostname, self.port, self.socket


def query_servers(binds: Mapping[str, Settings]) -> dict[str, ServerInfo | Exception]:
    """Query the servers of all binds in parallel; return what each reports, or the
    error that prevented it.
    """

    def query(settings: Settings) -> ServerInfo | Exception:
        try:
            return query_server(settings)
        except Exception as error:  # a password callable may raise anything
            return error

    threads = max(1, min(MAX_QUERIES, len(binds)))
    with concurrent.futures.ThreadPoolExecutor(threads) as executor:
        return dict(zip(binds, executor.map(query, binds.values()), strict=True))


def query_server(settings: Settings) -> ServerInfo:
    """Query a server on a new connection.

    :raise pymysql.Error: it cannot be reached or refuses the login.
    """
    with session_of(settings) as session, session.cursor(DictCursor) as cursor:
        return _read(cursor, session.tls_mode, session.login_plugin)


@contextmanager
def session_of(settings: Settings) -> Iterator[t.Any]:
    """Open a session for a few queries.

    :raise pymysql.Error: the server cannot be reached or refuses the login.
    """
    timeout = min(settings.connect_timeout, MAX_CONNECT_TIMEOUT)
    plain = dataclasses.replace(settings, use_unicode=None, conv=None)
    session = Connector(plain).open(time.monotonic() + timeout)
    session.limit(time.monotonic() + QUERY_TIMEOUT)
    try:
        yield session
    finally:
        session.quit(time.monotonic() + QUIT_TIMEOUT)


def _read(cursor: DictCursor, tls_mode: str, login_plugin: str) -> ServerInfo:
    def row(sql: str, *parameters: str) -> dict[str, t.Any]:
        cursor.execute(sql, parameters)
        return cursor.fetchone() or {}

    columns = row(_QUERY)
    sent_at, began = time.time(), time.monotonic()
    clock = float(row("SELECT @@timestamp AS now")["now"])
    round_trip = time.monotonic() - began
    threads = row("SHOW STATUS LIKE %s", "Threads_connected").get("Value", 0)
    values: dict[str, t.Any] = {key: printable(columns[key] or "") for key in _COLUMNS}
    values |= {key: int(columns[key]) for key in _NUMBERS}
    return ServerInfo(
        **values,
        threads_connected=int(threads),
        tls=printable(row("SHOW STATUS LIKE %s", "Ssl_cipher").get("Value", "")),
        tls_mode=tls_mode,
        login_plugin=printable(login_plugin),
        clock_ahead_seconds=round(clock - sent_at - round_trip / 2, 6),
        round_trip_seconds=round(round_trip, 6),
    )
