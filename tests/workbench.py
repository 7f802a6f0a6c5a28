"""What tests of damage need: a ledger seen from outside the pool, a way to the server
that can be cut, threads that share a context.
"""

from __future__ import annotations

import contextlib
import contextvars
import socket
import threading
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from urllib.parse import urlsplit

import flask
import pymysql
import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool import Pool

from .conftest import wait_until

NOTHING = {1: 0, 2: 0}  # what a fresh ledger has


class Ledger:
    """A table of two accounts, both 0, and a session of its own to look at it."""

    def __init__(self, server: t.Any, url: str) -> None:
        self._server = server
        self._database = urlsplit(url).path[1:]
        self._session = self.connect(autocommit=True)
        self.ask("CREATE TABLE ledger (id INT PRIMARY KEY, v INT) ENGINE=InnoDB")
        self.ask("INSERT INTO ledger VALUES (1, 0), (2, 0)")

    def connect(self, **keywords: t.Any) -> t.Any:
        """Return a connection of no pool."""
        return self._server.connect(database=self._database, **keywords)

    def close(self) -> None:
        self._session.close()

    def ask(self, sql: str, *parameters: t.Any) -> t.Any:
        """Execute in autocommit mode, return all rows."""
        with self._session.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return cursor.fetchall()

    @property
    def rows(self) -> dict[int, int]:
        """What is committed."""
        return dict(self.ask("SELECT id, v FROM ledger"))

    @property
    def sessions(self) -> dict[int, str]:
        """What each session of the server executes now."""
        listed = self.ask("SHOW FULL PROCESSLIST")
        return {row[0]: row[7] or "" for row in listed}

    def kill(self, session: int) -> None:
        """End a session from outside, as an administrator or a failover does."""
        self.ask(f"KILL {session}")
        wait_until(lambda: session not in self.sessions)

    @contextlib.contextmanager
    def lock(self, name: str = "gate") -> Iterator[str]:
        """Hold a lock; yield the statement that waits for it as long as the block
        lasts, and then gets it.
        """
        name = f"{self._database}.{name}"
        self.ask("SELECT GET_LOCK(%s, 0)", name)
        try:
            yield f"SELECT GET_LOCK('{name}', 60)"
        finally:
            self.ask("SELECT RELEASE_LOCK(%s)", name)

    def await_execution(self, sql: str) -> None:
        """Wait until some session executes ``sql``."""
        wait_until(lambda: sql in self.sessions.values())


@pytest.fixture
def ledger(mysql_server: t.Any, mysql_url: str) -> Iterator[Ledger]:
    """A ledger in the test's own database."""
    ledger = Ledger(mysql_server, mysql_url)
    yield ledger
    ledger.close()


def run(db: t.Any, sql: str, *parameters: t.Any) -> t.Any:
    """Execute a statement and return its rows."""
    with db.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchall()


def change(db: t.Any, account: int, amount: int = 1) -> None:
    run(db, f"UPDATE ledger SET v = v + {amount} WHERE id = {account}")


def swallow(db: t.Any, account: int, times: int) -> list[pymysql.Error]:
    """Change an account again and again; return what that raised."""
    errors = []
    for _ in range(times):
        try:
            change(db, account)
        except pymysql.Error as error:
            errors.append(error)
    return errors


def session_id() -> int:
    """Return the server's number for the session of :func:`get_db`."""
    ((session,),) = run(get_db(), "SELECT CONNECTION_ID()")
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


class Proxy:
    """Passes on what a client and the server of ``url`` say to each other."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port or 3306)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.accepted = 0
        self.received = 0  # bytes from clients
        self._losing = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        user = parts.netloc.rpartition("@")[0]
        port = self._listener.getsockname()[1]
        self.url = parts._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()

    def __enter__(self) -> Proxy:
        self._start(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for each in (self._listener, *self._sockets):
            _end(each)
        for thread in self._threads:
            thread.join()

    def lose_next_answer(self) -> None:
        """Let the next answer of the server vanish, and the client's connection."""
        self._losing.set()

    def _start(self, target: t.Any, *args: t.Any) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            self._start(self._pass_on, client, server, True)
            self._start(self._pass_on, server, client, False)

    def _pass_on(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if up:
                    self.received += len(data)
                elif self._losing.is_set():
                    self._losing.clear()
                    break
                sink.sendall(data)
        _end(sink)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
