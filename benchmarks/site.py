"""Where it all runs: the server, the longer way to it, and the server's own counts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from urllib.parse import quote
from urllib.parse import unquote
from urllib.parse import urlsplit

import pymysql
from pymysql.connections import Connection

from flask_mysqlpool.testing import PrivateServer
from flask_mysqlpool.testing import ServerError

from .contenders import Arguments
from .forwarder import forward

ROUND_TRIP = 0.001  # seconds that the longer way adds
MOST_CONNECTIONS = 1300  # row J holds 1,110
LEAST_ROOM = 300  # row D holds 257 with all peers
ROWS = 64  # of the table that the requests read and write

# Each command counts once, pings and resets too, which `Questions` leaves out. A login
# is counted as one. Both servers; COM_QUIT, which nobody waits for, is in neither.
COUNTS = (
    r"SHOW GLOBAL STATUS WHERE Variable_name LIKE 'Com\_%'"
    " OR Variable_name = 'Connections'"
)


@dataclass(frozen=True)
class Site:
    """One server, two ways to it, and how long a slice of measuring is.

    :param address: how to connect.
    :param far_port: the port of 127.0.0.1 that is a round trip further away.
    :param monitor: a connection for counting and looking.
    :param notes: what a reader of the results should know about this place.
    """

    address: Arguments
    far_port: int
    monitor: Connection
    seconds: float
    notes: dict[str, str]

    def arguments(
        self, far: bool = False, autocommit: bool = True, tls: bool = False
    ) -> Arguments:
        """Return how a contender connects."""
        way = {"host": "127.0.0.1", "port": self.far_port} if far else {}
        plain = {} if tls else {"ssl_disabled": True}
        return self.address | way | plain | {"autocommit": autocommit}

    def counts(self) -> int:
        """Return how many commands the server has got so far, this one included."""
        with self.monitor.cursor() as cursor:
            cursor.execute(COUNTS)
            return sum(int(value) for _, value in cursor.fetchall())

    def room(self) -> int:
        """Return how many more connections the server would take."""
        with self.monitor.cursor() as cursor:
            cursor.execute("SELECT @@max_connections")
            ((most,),) = cursor.fetchall()
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Threads_connected'")
            ((_, connected),) = cursor.fetchall()
        return int(most) - int(connected)


@contextmanager
def open_site(url: str | None, seconds: float) -> Iterator[Site]:
    """Make the place to measure in.

    :param url: of a server that runs already; without one, a private one is started.
    """
    with ExitStack() as stack:
        if url is None:
            options = [f"--max-connections={MOST_CONNECTIONS}"]
            server = stack.enter_context(PrivateServer(options=options))
            address = parse(server.url("benchmarks"))
            way = server.socket, "-"
        else:
            address = parse(url)
            way = address["host"], str(address["port"])
        plain = address | {"ssl_disabled": True, "autocommit": True}
        try:
            monitor = stack.enter_context(closing(pymysql.connect(**plain)))
            stack.enter_context(_table(monitor))
        except pymysql.Error as error:
            raise ServerError(f"cannot work with this server: {error}") from error
        port = stack.enter_context(forward(way, ROUND_TRIP / 2))
        notes = {
            "server": _version(monitor),
            "forwarder": f"in C, to a {'socket' if url is None else 'port'}",
            "round trip": _round_trip(plain),
            "round trip, far": _round_trip(plain | {"host": "127.0.0.1", "port": port}),
        }
        site = Site(address, port, monitor, seconds, notes)
        if (room := site.room()) < LEAST_ROOM:
            raise ServerError(
                f"the server has room for {room} connections of {LEAST_ROOM}:"
                " raise its max_connections"
            )
        yield site


def parse(url: str) -> Arguments:
    """Return ``mysql://user:password@host:port/database`` as arguments."""
    parts = urlsplit(url)
    return {
        "host": parts.hostname or "127.0.0.1",
        "port": parts.port or 3306,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": unquote(parts.path.lstrip("/")),
    }


def unparse(arguments: Arguments) -> str:
    """Return the URL of :func:`parse`."""
    user, password = (quote(arguments[key], safe="") for key in ("user", "password"))
    return "mysql://{}:{}@{host}:{port}/{database}".format(user, password, **arguments)


@contextmanager
def _table(connection: Connection) -> Iterator[None]:
    """Have the table ``benchmark_account`` for as long as it is needed."""
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS benchmark_account")
        cursor.execute(
            "CREATE TABLE benchmark_account (id INT PRIMARY KEY, balance INT NOT NULL)"
            " ENGINE=InnoDB"
        )
        cursor.executemany(
            "INSERT INTO benchmark_account VALUES (%s, 0)", [(n,) for n in range(ROWS)]
        )
        try:
            yield
        finally:
            cursor.execute("DROP TABLE benchmark_account")


def _version(connection: Connection) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        ((version,),) = cursor.fetchall()
    return str(version)


def _round_trip(arguments: Arguments) -> str:
    """Return what a ping takes, in words."""
    took = []
    with closing(pymysql.connect(**arguments)) as connection:
        for _ in range(100):
            began = time.perf_counter()
            connection.ping(reconnect=False)
            took.append(time.perf_counter() - began)
    return f"{median(took) * 1000:.2f} ms"
