"""A pool without a server: sessions that keep their state and send nothing."""

from __future__ import annotations

import os
import typing as t
from types import SimpleNamespace

from pymysql.converters import encoders
from pymysql.cursors import Cursor

from flask_mysqlpool import Pool
from flask_mysqlpool.driver.session import Session
from flask_mysqlpool.driver.session_state import SessionState
from flask_mysqlpool.pool.pooled_connection import PooledConnection

from .pools import settings_for

URL = "mysql://app:secret@127.0.0.1:1/bank"  # nobody listens there


class FakeSession(Session):
    """A session whose commands all go well; :attr:`calls` has what it was told."""

    def __init__(self, number: int = 0) -> None:
        self.server_thread_id = (number,)
        self.pid = os.getpid()
        self.state = SessionState()
        self.last_statement = ""
        self.status_before = 0
        self.encoding = "utf8"
        self.encoders = encoders
        self.templates_decide = True
        self.cursorclass = Cursor
        self.db: t.Any = b"bank"
        self.alive = True
        self.quiet = lambda: self.alive
        self.calls: list[str] = []
        self._sock: t.Any = object()
        self._takes_many = False
        self._result: t.Any = None

    def __del__(self) -> None:
        """Nothing is open."""

    @property
    def open(self) -> bool:
        return self.alive

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        self.calls.append(sql if isinstance(sql, str) else sql.decode())

    def _read_ok_packet(self) -> tuple[int, int, int, int, bytes]:
        changes = {"BEGIN": 1, "COMMIT": 0, "ROLLBACK": 0}
        self.note_status(changes.get(self.calls[-1], self.server_status), 0)
        return 0, 0, self.server_status, 0, b""

    def _read_query_result(self, unbuffered: bool = False) -> int:
        self._result = SimpleNamespace(
            insert_id=0,
            field_count=0,
            unbuffered_active=False,
            has_next=False,
            affected_rows=0,
            message=b"",
            warning_count=0,
            description=None,
            rows=(),
        )
        return self._read_ok_packet()[0]

    def note_error(self, error: BaseException) -> bool:
        return self.alive

    def needs_reset(self, mode: str) -> bool:
        return True

    @property
    def in_exchange(self) -> bool:
        return False

    def start_reset(self, mode: str) -> bool:
        self.calls.append("reset")
        return self.alive

    def finish_rollback(self) -> bool:
        return self.alive

    def validate(self, deadline: float, ping: bool) -> bool:
        self.calls.append("validate")
        return self.alive

    def abandon(self) -> None:
        self._end("abandon")

    def sever(self) -> None:
        self._end("sever")

    def quit(self, deadline: float) -> None:
        self._end("quit")

    def _end(self, how: str) -> None:
        self.calls.append(how)
        self.alive = False


class FakeConnector:
    """Opens fake sessions, or raises :attr:`error`."""

    def __init__(self) -> None:
        self.opened: list[FakeSession] = []
        self.error: BaseException | None = None

    def open(self, deadline: float) -> t.Any:
        if self.error is not None:
            raise self.error
        self.opened.append(FakeSession(len(self.opened) + 1))
        return self.opened[-1]

    def renew(self) -> None:
        """There are no files."""


def fake_pool(**settings: t.Any) -> Pool:
    """Return a pool of fake sessions, which no housekeeper looks after; its connector
    is ``pool._checkout.connector``.
    """
    pool = Pool(settings_for(URL, **{"timeout": 0.3, "autocommit": True, **settings}))
    pool.on_first_use.clear()
    pool._checkout.connector = FakeConnector()
    return pool


def connector_of(pool: Pool) -> FakeConnector:
    return t.cast(FakeConnector, pool._checkout.connector)


def session_of(db: PooledConnection) -> FakeSession:
    return t.cast(FakeSession, db.session)
