"""What a server says of itself and of the account, asked outside the pools."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import time
import typing as t
from collections.abc import Mapping

from pymysql.cursors import DictCursor

from ..config.settings import Settings
from ..driver.connector import Connector
from ..driver.session import Session

PATIENCE = 5.0  # seconds to connect

_ASKED = {
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
_QUESTION = "SELECT " + ", ".join(f"{sql} AS `{key}`" for key, sql in _ASKED.items())


@dataclasses.dataclass(frozen=True)
class ServerView:
    """What the server says of itself, and of a session with these settings."""

    version: str
    max_connections: int
    max_user_connections: int  # 0: no limit of the user's own
    wait_timeout: int
    hostname: str
    port: int
    socket: str
    account: str
    database: str  # empty where none is chosen
    charset: str  # of the connection
    charset_of_database: str  # of tables made anew; the server's without a database
    charset_of_server: str
    threads_connected: int
    tls: str  # name of the cipher, empty without TLS
    clock_ahead_seconds: float  # of the server's clock before ours
    round_trip_seconds: float

    def as_dict(self) -> dict[str, t.Any]:
        """Return what is said for people and JSON."""
        return dataclasses.asdict(self)

    @property
    def identity(self) -> tuple[str, int, str]:
        """The same for two addresses of one server."""
        return self.hostname, self.port, self.socket


def view_servers(binds: Mapping[str, Settings]) -> dict[str, ServerView | Exception]:
    """Ask the server of each bind, all at once; return what it says, or why it says
    nothing.
    """

    def view(settings: Settings) -> ServerView | Exception:
        try:
            return view_server(settings)
        except Exception as error:  # a password callable may raise anything
            return error

    with concurrent.futures.ThreadPoolExecutor(max(1, len(binds))) as executor:
        return dict(zip(binds, executor.map(view, binds.values()), strict=True))


def view_server(settings: Settings) -> ServerView:
    """Ask the server, on a connection of its own.

    :raise pymysql.Error: it cannot be reached or refuses us.
    """
    patience = min(settings.connect_timeout, PATIENCE)
    plain = dataclasses.replace(settings, use_unicode=None, conv=None)
    connection = Connector(plain).open(time.monotonic() + patience)
    try:
        return _view(connection)
    finally:
        connection.quit(time.monotonic() + 1)


def _view(connection: Session) -> ServerView:
    with connection.cursor(DictCursor) as cursor:

        def row(sql: str, *parameters: str) -> dict[str, t.Any]:
            cursor.execute(sql, parameters)
            return cursor.fetchone() or {}

        answers = row(_QUESTION)
        asked_at, began = time.time(), time.monotonic()
        clock = float(row("SELECT @@timestamp AS now")["now"])
        took = time.monotonic() - began
        return ServerView(
            **answers | {"database": answers["database"] or ""},
            threads_connected=int(
                row("SHOW STATUS LIKE %s", "Threads_connected").get("Value", 0)
            ),
            tls=row("SHOW STATUS LIKE %s", "Ssl_cipher").get("Value", ""),
            clock_ahead_seconds=round(clock - asked_at - took / 2, 6),
            round_trip_seconds=round(took, 6),
        )
