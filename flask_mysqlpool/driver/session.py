"""A connection to the server that knows its state: whether an exchange is under way,
a transaction open, the session changed, a reset on its way.

The rule of this room: what is not known to be clean is not clean.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
import typing as t
from collections.abc import Callable

from pymysql import err
from pymysql.constants import CLIENT
from pymysql.constants import SERVER_STATUS

from ..config.settings import Settings
from ..stats.holders import Spot
from .session_setup import first_commands
from .session_setup import reset_commands
from .session_setup import role_of
from .session_setup import ROLLBACK
from .statements import beyond_reset
from .statements import ends_block
from .statements import first_word
from .statements import Kind
from .statements import kind_of
from .statements import LONGEST_READ
from .statements import OTHER
from .statements import WRITE
from .wire import COM_QUERY
from .wire import Command
from .wire import IN_TRANS
from .wire import refused_by_server
from .wire import SESSION_STATE_CHANGED
from .wire import shut_down
from .wire import WireConnection

# A server, or its session, that takes no changes, as after a failover.
# ER_OPTION_PREVENTS_STATEMENT, ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION and
# ER_READ_ONLY_MODE (MySQL Error Message Reference).
_READ_ONLY = (1290, 1792, 1836)

AUTOCOMMIT = SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT


class Origin(t.Protocol):
    """Where a connection is from; see :class:`.connector.Opener`."""

    settings: Settings
    columns: dict[t.Any, t.Any]

    def tls_context(self, create: Callable[[], ssl.SSLContext]) -> ssl.SSLContext: ...


class Connection(WireConnection):
    """A session at the server, from its opening to its end.

    One thread at a time may use it: whoever holds :attr:`turn`, or has ended its lease
    while nobody did.
    """

    # What a lender needs to know; the pool writes it.
    lease = 0  # number of the checkout that it is lent to, 0: to nobody
    lent_at = 0.0
    took = 0.0  # seconds, the opening
    waited = 0.0  # of the checkout, for its place
    holder = ""  # of the checkout, in words
    thread: threading.Thread | None = None  # of the checkout
    taken: tuple[Spot, ...] = ()  # where the checkout was, innermost first
    # The checkout that the last statement is of, its start, the flags before it.
    said: tuple[int, str | bytes, int] = (0, "", 0)
    rested_at = 0.0  # when it came back
    expires_at = float("inf")
    uses = 0
    uses_allowed = float("inf")
    number = 0  # in the order of opening

    uncertain = False  # an error packet came: it carries no flags
    unsettled = False  # there were statements since the last commit or rollback
    session_changed = False
    uncommitted = False  # a statement of the open transaction changed data
    unread_by = 0  # thread of the last unbuffered result
    role = ""  # after the login
    _adrift = False  # no reset leads back
    _restarting = False  # the answers on their way are those of a whole reset
    read_only = False  # the server refused a change: it is a primary no more
    depth = 0  # of transaction blocks
    trouble: BaseException | None = None  # an error within a block, not yet looked at
    doomed: BaseException | None = None  # the error that ended the block's transaction

    def __init__(self, opener: Origin, arguments: dict[str, t.Any]) -> None:
        self._opener = opener
        self.pid = os.getpid()
        self.turn = threading.Lock()
        super().__init__(opener.columns, **arguments, defer_connect=True)
        self._takes_many = bool(self.client_flag & CLIENT.MULTI_STATEMENTS)

    # The session

    def open_session(self, deadline: float, role: str | None = None) -> None:
        """Connect, log in and prepare the session.

        :param role: what the session starts with; the server is asked without it.
        :raise pymysql.Error: that failed, or took longer than until ``deadline``.
        """
        left = max(0.001, deadline - time.monotonic())
        self.connect_timeout = min(self._opener.settings.connect_timeout, left)
        self.limit(deadline)
        try:
            self.connect()
            self._home = (self.charset, self.encoding, self.collation)
            self.autocommit_mode = self._opener.settings.autocommit
            self.send_ahead(first_commands(self, self._opener.settings, role is None))
            rows = self.read_ahead()
            self.role = role_of(rows, self.encoding) if role is None else role
            self.limit(None)
        except BaseException:
            self.abandon()
            raise
        self._forget()

    def start_reset(self, mode: str) -> bool:
        """Send what puts the session back to its start, without waiting for answers;
        return whether the connection may be lent again.

        :param mode: ``"auto"``, ``"session"`` or ``"rollback"``, as the setting.
        """
        result = self._result
        if self._sock is None or (
            result is not None and (result.unbuffered_active or result.has_next)
        ):
            return False
        changed = self.session_changed if mode == "auto" else mode == "session"
        if not (
            changed
            or self.server_status & IN_TRANS
            or (self.unsettled and not self.server_status & AUTOCOMMIT)
            or self.uncertain
            or self.depth
        ):
            return True  # the common case: there is nothing to reset
        if self.pid != os.getpid():
            return False
        if not changed:
            self._restarting = False
            self.send_ahead((ROLLBACK,))
        elif self._adrift:
            return False
        else:
            self._send_reset()
        self._forget()
        return True

    def fresh(self, now: float, ping_after: float, oldest: int) -> bool:
        """Return whether the connection may be lent as it is, without an exchange."""
        return (
            now - self.rested_at < ping_after
            and now < self.expires_at
            and self.number >= oldest
            and (not self.unanswered or self._finished())
            and self.quiet()
        )

    def _finished(self) -> bool:
        """Finish a ROLLBACK whose answer is here already, and nothing else: where
        there is nothing to wait for, no limit is needed, whose setting would let
        other threads run four times.
        """
        try:
            return self.read_arrived() and not self._told_late
        except (err.Error, OSError):
            self.abandon()
            return False
        except BaseException:
            self.abandon()
            raise

    def ready(self, deadline: float, ping: bool) -> bool:
        """Finish the reset and look whether the connection still stands; return
        whether it may be lent.

        :param ping: ask the server too.
        """
        try:
            if self.unanswered or ping or self._told_late:
                self.limit(deadline)
                if self.unanswered:
                    self.read_ahead()
                    if self._restarting:
                        self._forget()
                if ping and self.quiet():
                    self.ping(reconnect=False)
                if self._told_late:
                    self._send_reset()
                    self.read_ahead()
                    self._forget()
                self.limit(None)
        except err.Error:
            return False
        return self.quiet()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, or may be."""
        return self.uncertain or self.server_status & IN_TRANS != 0

    @property
    def _told_late(self) -> bool:
        """Whether an answer after the return told of a changed session, as MySQL does
        where a stored function did it.
        """
        auto = self._opener.settings.reset == "auto"
        return auto and self.tracked and self.session_changed

    # Exchanges of a holder

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:
        # executemany() passes bytes; each byte stands for itself in latin-1.
        text = sql if isinstance(sql, str) else sql.decode("latin-1")
        many = self._takes_many and ";" in text
        kind = OTHER if many else kind_of(text)
        if kind is OTHER:
            self._touch(text)
        start = sql if len(sql) <= LONGEST_READ else sql[:LONGEST_READ]
        self.said = (self.lease, start, self.server_status)  # it has the mode of now
        self.unread_by = threading.get_ident() if unbuffered else 0
        self.unsettled = True
        self._execute_command(COM_QUERY, sql)  # encodes it as the session does
        self._affected_rows = self._read_query_result(unbuffered)
        if self._result.insert_id:
            self.session_changed = True  # LAST_INSERT_ID() of the session
        if self.depth and ends_block(text):
            self._end_of_block()
        if (kind is WRITE or kind is OTHER) and self._wrote(kind, text):
            self.uncommitted = self.server_status & IN_TRANS != 0
        return self._affected_rows

    def commit(self) -> None:
        depth, self.depth = self.depth, 0  # only the end of a block commits within one
        try:
            super().commit()
        except BaseException:
            self.depth = depth
            raise
        self.unsettled = False

    def rollback(self) -> None:
        self.depth = 0
        super().rollback()
        self.unsettled = False

    def select_db(self, db: t.Any) -> None:
        self._touch("USE")
        super().select_db(db)

    def set_character_set(self, charset: str, collation: str | None = None) -> None:
        self.session_changed = True
        super().set_character_set(charset, collation)

    def autocommit(self, value: t.Any) -> None:
        self.session_changed = True
        super().autocommit(value)

    def failed(self, error: BaseException) -> None:
        """Take note of an error that came out of an exchange. Where the exchange did
        not end with it, the connection is closed: an answer on its way would be taken
        for that of the next statement.
        """
        if isinstance(error, UnicodeEncodeError):
            return  # nothing was sent
        if self._sock is not None and refused_by_server(error):
            self.uncertain = self.session_changed = True
            self.read_only |= error.args[0] in _READ_ONLY
            if self.depth:
                self.trouble = error
        else:
            self.give_up(error)

    def give_up(self, error: BaseException) -> None:
        """Close the connection; who uses it from here on is told why."""
        if self.trouble is None or refused_by_server(self.trouble):
            self.trouble = error
        self.abandon()

    def check_transaction(self) -> None:
        """After an error within a transaction block, make sure that the block's
        transaction still exists; after the loss of the connection, say so.

        :raise pymysql.err.OperationalError: the server has ended it.
        :raise pymysql.err.ProgrammingError: a statement of the block has.
        :raise pymysql.err.InterfaceError: the connection was lost.
        """
        if self._sock is None:
            raise err.InterfaceError(
                0, f"the connection was lost: {self.trouble}"
            ) from self.trouble
        if self.doomed is None:
            try:
                self.ping(reconnect=False)  # its OK packet has the flag: see note()
            except BaseException as error:
                self.give_up(error)
                raise
        if self.doomed is None:
            self.trouble = None
            return
        if not refused_by_server(self.doomed):
            raise self.doomed  # one of ours
        code, text = self.doomed.args
        raise err.OperationalError(
            code,
            f"the server has ended the whole transaction ({text}); nothing more can be"
            " done within it",
        ) from self.doomed

    def note(self, status: int, warnings: int) -> None:
        self.server_status = status
        self.uncertain = False
        if warnings or status & SESSION_STATE_CHANGED:
            self.session_changed = True  # SHOW WARNINGS has something to tell
        if not status & IN_TRANS:
            self.uncommitted = False
            if self.depth:
                self._end_of_block()

    def _end_of_block(self) -> None:
        """Take note that a block's transaction has ended, before the block did."""
        if self.doomed is None:
            self.trouble = self.doomed = self.trouble or err.ProgrammingError(
                "the transaction was ended within its block, by a statement that"
                " commits or rolls back (DDL does); what the block did is not all or"
                " nothing"
            )

    def quit(self, deadline: float) -> None:
        if self.pid != os.getpid():
            self.abandon()  # it is not ours to end
        else:
            super().quit(deadline)

    def abandon(self) -> None:
        sock = self._sock
        if sock is not None and self.pid != os.getpid():
            # The session is the parent's: only our copy of the descriptor goes. The
            # reader stays, its lock may be held by a thread that exists no more.
            os.close(sock.detach())
            self._sock = self._rfile = None
        elif sock is not None:
            shut_down(sock)  # wakes a thread that reads from it
        super().abandon()

    def _send_reset(self) -> None:
        ahead: list[Command] = []
        if self.in_transaction:
            # MariaDB's reset leaves a prepared XA transaction attached, in which
            # nothing else can be done; ROLLBACK is refused there, and tells.
            ahead.append(ROLLBACK)
        self.charset, self.encoding, self.collation = self._home
        self.autocommit_mode = self._opener.settings.autocommit
        self._restarting = True
        again = reset_commands(self, self._opener.settings, self.role)
        self.send_ahead([*ahead, *again])

    def _wrote(self, kind: Kind, text: str) -> bool:
        """Return whether an answered WRITE or OTHER may have changed data."""
        if self._result.field_count:  # INSERT … RETURNING, or rows of a WITH
            return first_word(text) in ("INSERT", "REPLACE", "UPDATE", "DELETE")
        return kind is WRITE or self._affected_rows > 0

    def _touch(self, sql: str) -> None:
        self.session_changed = True
        if beyond_reset(sql, bool(self.db)):
            self._adrift = True

    def _forget(self) -> None:
        """Start with a clean sheet: what was known concerned the last holder."""
        self.uncertain = self.unsettled = False
        self.session_changed = not self.tracked
        self.uncommitted = False
        self.depth = 0
        self.trouble = self.doomed = None

    def _create_ssl_ctx(self, sslp: t.Any) -> ssl.SSLContext:
        return self._opener.tls_context(
            lambda: super(Connection, self)._create_ssl_ctx(sslp)  # type: ignore[misc]  # not in the stubs
        )
