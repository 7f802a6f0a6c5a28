"""A table of two accounts, seen from outside the pool."""

from __future__ import annotations

import contextlib
import threading
import typing as t
from collections.abc import Iterator
from urllib.parse import urlsplit

import pymysql
import pytest

from .queries import execute
from .waiting import wait_until

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


def change(db: t.Any, account: int, amount: int = 1) -> None:
    execute(db, f"UPDATE ledger SET v = v + {amount} WHERE id = {account}")


def swallow(db: t.Any, account: int, times: int) -> list[pymysql.Error]:
    """Change an account again and again; return what that raised."""
    errors = []
    for _ in range(times):
        try:
            change(db, account)
        except pymysql.Error as error:
            errors.append(error)
    return errors


def deadlock(ledger: Ledger, db: t.Any) -> None:
    """Let a transaction that has changed account 1 become the victim of a deadlock.

    :raise pymysql.err.OperationalError: that it is.
    """
    ledger.ask("CREATE TABLE ballast (id INT PRIMARY KEY) ENGINE=InnoDB")
    rows = ", ".join(f"({n})" for n in range(100))
    with contextlib.closing(ledger.connect()) as other:
        execute(other, f"INSERT INTO ballast VALUES {rows}")  # spared: it changed more
        change(other, 2)
        thread = threading.Thread(target=swallow, args=(other, 1, 1))
        thread.start()
        try:
            change(db, 2)
        finally:
            ledger.kill(other.thread_id())
            thread.join()
