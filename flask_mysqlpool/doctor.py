"""Looks at the server from outside the pools, and at how the settings fit it."""

from __future__ import annotations

import dataclasses
import time
import typing as t
from collections.abc import Iterator

from pymysql.cursors import DictCursor

from .config import Settings
from .connection import Connection
from .opener import Opener
from .stats import PoolStats

PATIENCE = 5.0  # seconds to connect

OLDEST = {"MariaDB": (10, 3), "MySQL": (8, 0)}  # with session tracking and resets

_VIEW = """
    SELECT @@version AS version, @@max_connections AS max_connections,
           @@max_user_connections AS max_user_connections,
           @@wait_timeout AS wait_timeout
"""


@dataclasses.dataclass(frozen=True)
class ServerView:
    """What the server says of itself."""

    version: str
    max_connections: int
    threads_connected: int
    max_user_connections: int  # 0: no limit of the user's own
    wait_timeout: int
    tls: str  # name of the cipher, empty without TLS

    def as_dict(self) -> dict[str, t.Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    bind: str
    check: str
    verdict: str  # "ok", "warning" or "error"
    text: str


def view_server(settings: Settings) -> ServerView:
    """Ask the server, on a connection of its own.

    :raise pymysql.Error: it cannot be reached or refuses us.
    """
    patience = min(settings.connect_timeout, PATIENCE)
    connection = Opener(settings).open(time.monotonic() + patience)
    try:
        return _view(connection)
    finally:
        connection.quit(time.monotonic() + 1)


def _view(connection: Connection) -> ServerView:
    with connection.cursor(DictCursor) as cursor:
        cursor.execute(_VIEW)
        variables = t.cast("dict[str, t.Any]", cursor.fetchone())
        status = {}
        for name in ("Threads_connected", "Ssl_cipher"):
            cursor.execute("SHOW STATUS LIKE %s", (name,))
            row = cursor.fetchone()
            status[name] = row["Value"] if row else ""
    return ServerView(
        **variables,
        threads_connected=int(status["Threads_connected"]),
        tls=status["Ssl_cipher"],
    )


def examine(
    binds: dict[str, Settings], totals: dict[str, PoolStats]
) -> Iterator[Finding]:
    """Check each bind.

    :param totals: the readings of the running workers, added up.
    """
    for bind, settings in binds.items():
        try:
            view = view_server(settings)
        except Exception as error:  # a password callable may raise anything
            yield Finding(bind, "connect", "error", f"cannot connect: {error}")
        else:
            yield from _examine(bind, settings, view, totals.get(bind, PoolStats()))


def _examine(
    bind: str, settings: Settings, view: ServerView, total: PoolStats
) -> Iterator[Finding]:
    yield Finding(bind, "connect", "ok", "can connect")
    yield _version(bind, view)
    yield _tls(bind, settings, view)
    yield _limit(bind, settings, view, total)
    yield _rest(bind, settings, view)


def _tls(bind: str, settings: Settings, view: ServerView) -> Finding:
    checked = settings.ssl or settings.ssl_verify_cert or settings.ssl_verify_identity
    if view.tls and checked:
        return Finding(bind, "tls", "ok", f"encrypted with {view.tls}")
    if view.tls:
        text = (
            f"encrypted with {view.tls}, but the server's certificate is not checked:"
            " set MYSQLPOOL_SSL_CA and MYSQLPOOL_SSL_VERIFY_IDENTITY"
        )
    else:
        text = "not encrypted: fine on one machine, not across a network"
    return Finding(bind, "tls", "ok" if settings.unix_socket else "warning", text)


def _version(bind: str, view: ServerView) -> Finding:
    product = "MariaDB" if "MariaDB" in view.version else "MySQL"
    major, minor, *_ = view.version.split(".")
    if (int(major), int(minor)) >= OLDEST[product]:
        return Finding(bind, "version", "ok", view.version)
    oldest = ".".join(map(str, OLDEST[product]))
    text = f"{view.version}: resets need {product} {oldest} or newer"
    return Finding(bind, "version", "error", text)


def _limit(
    bind: str, settings: Settings, view: ServerView, total: PoolStats
) -> Finding:
    wanted = max(total.max_size, settings.max_size)
    limit = view.max_connections
    if view.max_user_connections:
        limit = min(limit, view.max_user_connections)
    numbers = (
        f"the workers that use the pool may open {wanted} connections, the server"
        f" allows {limit}"
    )
    if wanted <= limit:
        return Finding(bind, "limits", "ok", numbers)
    text = f"{numbers}: lower MYSQLPOOL_MAX_SIZE or raise max_connections"
    return Finding(bind, "limits", "error", text)


def _rest(bind: str, settings: Settings, view: ServerView) -> Finding:
    """Check that the pool lets go of a connection before the server does."""
    limits = [settings.max_lifetime]
    if not settings.min_size:  # what is within min_size may rest for longer
        limits.append(settings.max_idle)
    longest = min((limit for limit in limits if limit), default=0.0)
    numbers = f"the server ends a session after {view.wait_timeout} s of rest"
    if longest and longest < view.wait_timeout:
        text = f"{numbers}, the pool after {longest:g} s at the latest"
        return Finding(bind, "wait_timeout", "ok", text)
    text = (
        f"{numbers}, before the pool does: it will reconnect more often than it needs"
        " to; lower MYSQLPOOL_MAX_LIFETIME or raise wait_timeout"
    )
    return Finding(bind, "wait_timeout", "warning", text)
