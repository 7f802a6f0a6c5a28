"""What a borrower holds: a connection for one checkout.

Rule: after the return, or in another process, or while another thread is in an
exchange, no byte reaches the server; and whatever a returned handle does concerns
itself only.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from os import getpid
from threading import get_ident
from threading import Lock

from pymysql import err

from ..driver.cursors import ConfiguredCursor
from ..driver.cursors import GUARDED
from ..driver.cursors import guarded
from ..driver.session import Session
from ..errors import StaleConnectionError
from .blocks import TransactionBlocks
from .entry import PoolEntry
from .refusals import busy_error
from .refusals import lost_error
from .refusals import stale_error
from .transaction import Transaction

_P = t.ParamSpec("_P")
_R = t.TypeVar("_R")
_T = t.TypeVar("_T")


class Lender(t.Protocol):
    """Who takes a connection back."""

    def take_back(
        self,
        entry: PoolEntry,
        checkout_id: int,
        at_rest: bool,
        exc_info: tuple[object, ...] = (),
    ) -> None:
        """Take a connection back.

        :param at_rest: no exchange is under way.
        :param exc_info: of the exception that ended the block, if one did.
        """

    def dropped(self, checkout_id: int) -> None:
        """Take note of a handle that was dropped, or interrupted at its return. Takes
        no lock: a finalizer may run at any point.
        """


class PooledConnection(TransactionBlocks):
    """A connection out of the pool, for one checkout.

    It has the interface of :class:`pymysql.connections.Connection`. It goes back to
    the pool with :meth:`close` or at the end of a ``with`` block; from then on it and
    its cursors raise :exc:`~flask_mysqlpool.StaleConnectionError`.
    """

    __slots__ = (
        "__weakref__",
        "_exchange_lock",
        "_lender",
        "_lost_by",
        "_transaction",
        "checkout_id",
        "entry",
        "of_context",
    )

    def __init__(self, entry: PoolEntry, checkout_id: int, lender: Lender) -> None:
        self.entry: PoolEntry | None = entry  # None from the return on
        self.checkout_id = checkout_id  # 0 once the pool has the connection back
        self.of_context = False  # get_db() returns it to everybody in an app context
        self._lender = lender
        # Held for each exchange; the return takes it and never gives it back.
        self._exchange_lock = Lock()
        self._lost_by: BaseException | None = None  # the error that ended the session
        self._transaction: Transaction | None = None

    def __enter__(self) -> PooledConnection:
        if self.entry is None:
            raise self.stale_error()
        return self

    def __exit__(self, *exc_info: object) -> None:
        entry = self.entry
        if entry is None:
            return
        try:
            at_rest = self._exchange_lock.acquire(False)
            if not at_rest and self.entry is None:
                return  # another thread returns it just now
            self.entry = None
            if self._lost_by is not None and at_rest:
                entry.session.abandon()
            self._lender.take_back(entry, self.checkout_id, at_rest, exc_info)
            self.checkout_id = 0
        except BaseException:  # an interrupt
            self.drop()
            raise

    def __del__(self) -> None:
        if self.checkout_id:
            self._lender.dropped(self.checkout_id)

    def __repr__(self) -> str:
        state = "returned" if self.entry is None else f"checkout {self.checkout_id}"
        return f"<{type(self).__name__} {state}>"

    @property
    def open(self) -> bool:
        """Whether the connection is lent and its socket is open."""
        return self.entry is not None and bool(self.entry.session.open)

    @property
    def holder(self) -> str:
        """Who took the connection, in words."""
        return "" if self.entry is None else self.entry.holder

    @property
    def uncommitted(self) -> bool:
        """Whether the open transaction has changed data, or may have."""
        return self.entry is not None and bool(self.entry.session.uncommitted)

    @property
    def returned(self) -> bool:
        """Whether the connection is this holder's no more: it went back to the pool,
        or is the parent process'.
        """
        return self.entry is None or self.entry.session.pid != getpid()

    @property
    def session(self) -> Session:
        """The session at the server, for what talks to it without an exchange.

        :raise StaleConnectionError: the connection went back.
        """
        entry = self.entry
        if entry is None:
            raise self.stale_error()
        return t.cast(Session, entry.session)

    def stale_error(self) -> StaleConnectionError:
        """Return what is raised where the connection is this holder's no more."""
        return stale_error(self.entry)

    @t.overload
    def cursor(self, cursor: Callable[[t.Any], _T]) -> _T: ...

    @t.overload
    def cursor(self, cursor: None = None) -> ConfiguredCursor: ...

    def cursor(self, cursor: Callable[[t.Any], t.Any] | None = None) -> t.Any:
        """Create a cursor.

        :param cursor: a subclass of :class:`pymysql.cursors.Cursor`, or a function that
            is given this connection and returns a cursor; without it the class of the
            settings.
        :raise TypeError: it is something else, such as a cursor of another driver.
        """
        kind = cursor or self.session.cursorclass
        try:
            make: Callable[[t.Any], t.Any] = GUARDED[kind]
        except (KeyError, TypeError):  # the latter where it has no hash
            make = guarded(kind)
        return make(t.cast(t.Any, self))

    def commit(self) -> None:
        """Commit the transaction.

        :raise pymysql.err.ProgrammingError: within ``transaction()``, which does it.
        """
        self.check_outside_block("commit()")
        self.exchange(Session.commit)

    def rollback(self) -> None:
        """Roll the transaction back.

        :raise pymysql.err.ProgrammingError: within ``transaction()``, which does it.
        """
        self.check_outside_block("rollback()")
        self.exchange(Session.rollback)

    def begin(self) -> None:
        """Begin a transaction.

        :raise pymysql.err.ProgrammingError: within ``transaction()``, which did it.
        """
        self.check_outside_block("begin()")
        self.exchange(Session.begin)

    def close(self) -> None:
        """Return the connection to the pool; a second time does nothing.

        What was not committed is rolled back. Never raises.
        """
        self.__exit__()

    def drop(self) -> None:
        """Give the connection up; the pool closes it."""
        self.entry = None
        self._lender.dropped(self.checkout_id)

    def void(self) -> tuple[PoolEntry, int]:
        """End the handle of a connection that cannot be lent, before its borrower
        gets it; return what it held.
        """
        ended = (t.cast(PoolEntry, self.entry), self.checkout_id)
        self.entry, self.checkout_id = None, 0
        return ended

    def ping(self, reconnect: bool = False) -> None:
        """Ask the server whether the connection lives.

        :param reconnect: without effect: a connection that was lost took its
            transaction along, and the next checkout gets a new one.
        """
        self.exchange(Session.ping)

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:
        """Send a statement and read its result (used by cursors)."""
        session = self._begin_exchange(sql)  # from here on as in exchange(): hot path
        try:
            count = session.query(sql, unbuffered)
        except BaseException as error:
            self._note_error(session, error)
            self._exchange_lock.release()
            raise
        self._exchange_lock.release()
        return count

    def next_result(self, unbuffered: bool = False) -> int:
        return self.read_on(Session.next_result, unbuffered)

    def select_db(self, db: str) -> None:
        self.exchange(Session.select_db, db)

    def show_warnings(self) -> t.Any:
        return self.exchange(Session.show_warnings)

    def set_character_set(self, charset: str, collation: str | None = None) -> None:
        self.exchange(Session.set_character_set, charset, collation)

    set_charset = set_character_set  # PyMySQL's old name

    def autocommit(self, value: bool) -> None:
        self.exchange(Session.autocommit, value)

    def kill(self, thread_id: int) -> None:
        self.exchange(Session.kill, thread_id)

    def exchange(
        self,
        call: Callable[t.Concatenate[Session, _P], _R],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _R:
        """Call a method of the session that talks to the server.

        The lock is given back only once the outcome is known: after a second
        interrupt, amid the first, the return finds it taken and closes the connection.
        """
        return self._within(self._begin_exchange(), call, *args, **kwargs)

    def read_on(
        self,
        call: Callable[t.Concatenate[Session, _P], _R],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _R:
        """Call a method that reads what is left of an answer: it sends nothing, and may
        do so where the block's transaction has ended.
        """
        return self._within(self._begin_exchange(None), call, *args, **kwargs)

    def _within(
        self,
        session: Session,
        call: Callable[t.Concatenate[Session, _P], _R],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _R:
        """Call a method of the session, with the lock held; release the lock."""
        try:
            result = call(session, *args, **kwargs)
        except BaseException as error:
            self._note_error(session, error)
            self._exchange_lock.release()
            raise
        self._exchange_lock.release()
        return result

    def _begin_exchange(self, sql: str | bytes | None = "") -> Session:
        """Take the lock for an exchange, or raise.

        :param sql: the statement that is to be sent; empty for another command,
            ``None`` where nothing is sent.
        """
        entry = self.entry
        if entry is None:
            raise self.stale_error()
        session: Session = entry.session
        if session.pid != getpid():
            raise self.stale_error()
        if not self._exchange_lock.acquire(False):
            raise self.stale_error() if self.entry is None else busy_error()
        session.touched = False
        if (
            session.unread_by
            or self._lost_by is not None
            or self._transaction is not None
        ):
            self._check_usable(session, sql)
        return session

    def _check_usable(self, session: Session, sql: str | bytes | None) -> None:
        """Raise if no exchange is allowed, and release the lock then."""
        try:
            if session.unread_by not in (0, get_ident()) and session.in_exchange:
                raise busy_error()
            if self._lost_by is not None:
                raise lost_error(self._lost_by) from self._lost_by
            if self._transaction is not None and sql is not None:
                self._transaction.check(session, sql)
                session.touched = False  # by that check
        except BaseException as error:
            if not isinstance(error, err.Error) or not session.open:
                self._note_error(session, error)
            self._exchange_lock.release()
            raise

    def _note_error(self, session: Session, error: BaseException) -> None:
        if not session.note_error(error):
            self._lost_by = error if self._lost_by is None else self._lost_by
        elif self._transaction is not None and session.touched:
            self._transaction.note_error(session, error)

    def close_because(self, session: Session, error: BaseException) -> None:
        """End the session; who uses the handle from here on is told why.

        Without the lock nothing is done to the session: it may be the next borrower's
        by now. The return closes it where it is not.
        """
        self._lost_by = error if self._lost_by is None else self._lost_by
        if self._exchange_lock.acquire(False):
            session.abandon()
            self._exchange_lock.release()
