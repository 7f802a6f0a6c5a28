"""A session at the server, from its login to its end: its exchanges, its reset.

Rule: what is not known to be clean is not lent again, and an answer that nobody read
is never taken for that of another statement.
"""

from __future__ import annotations

import os
import socket
import threading
import typing as t

from pymysql import err
from pymysql.constants import CLIENT

from ..config.settings import Settings
from .farewell import ENDINGS
from .farewell import LONGEST_TEXT
from .lexemes import MAX_READ
from .login import LoginConnection
from .login import TLSContext
from .malformed import parsing
from .session_setup import first_commands
from .session_setup import FORGET_FOUND_ROWS
from .session_setup import reset_commands
from .session_setup import role_of
from .session_setup import ROLLBACK
from .session_state import AUTOCOMMIT
from .session_state import IN_TRANS
from .session_state import may_be_open
from .session_state import SESSION_STATE_CHANGED
from .session_state import SessionState
from .statements import beyond_reset
from .statements import counts_found_rows
from .statements import kind_of
from .statements import OTHER
from .statements import READ
from .templates import Rendered
from .unseen import runs_unseen
from .wire import COM_QUERY
from .wire import Command
from .wire import refused_by_server


class Session(LoginConnection):
    """A session at the server: PyMySQL's connection that knows its state.

    One thread at a time may use it: its holder, and from the return on whoever took it
    back.

    :param columns, tls_context: see :class:`LoginConnection`.
    :param arguments: for PyMySQL.
    """

    unread_by = 0  # thread that began the last unbuffered result
    role = ""  # after the login
    #: What a cursor is about to send. It tells of that very text only, whoever sends
    #: something else in between.
    rendered: Rendered | None = None
    templates_decide = False  # where plain parameters are put into them
    _full_reset = False  # pending replies are those of a whole reset

    def __init__(
        self,
        settings: Settings,
        columns: dict[t.Any, t.Any],
        tls_context: TLSContext,
        arguments: dict[str, t.Any],
    ) -> None:
        self.state = SessionState()
        self.pid = os.getpid()
        self._auto_reset = settings.reset == "auto"
        # The start of the last statement or its template, and the flags before it.
        self.last_statement: str | bytes = ""
        self.status_before = 0
        super().__init__(
            settings, columns, tls_context, **arguments, defer_connect=True
        )
        self._takes_many = bool(self.client_flag & CLIENT.MULTI_STATEMENTS)

    def log_in(self, deadline: float, role: str | None = None) -> None:
        """Connect, log in and prepare the session.

        :param role: what the session starts with; without it the server is asked.
        :raise pymysql.Error: that failed, or took longer than until ``deadline``.
        """
        self.limit(deadline)
        try:
            self.connect(self._open_socket(deadline))
            self._home = (self.charset, self.encoding, self.collation)
            self.autocommit_mode = self.settings.autocommit
            self.sql_mode = self.settings.sql_mode  # for who asks; it is sent below
            self.init_command = self.settings.init_command
            self.send_ahead(first_commands(self, self.settings, role is None))
            rows = self.read_ahead()
            with parsing(self):
                self.role = role_of(rows, self.encoding) if role is None else role
            self.limit(None)
        except BaseException:
            self.abandon()
            raise
        self._forget()

    # Between two holders

    def needs_reset(self, mode: str) -> bool:
        """Return whether the session may not be lent again as it is.

        :param mode: ``"auto"``, ``"session"`` or ``"rollback"``, as the setting.
        """
        self.rendered = None  # what mogrify() rendered and nobody sent
        result = self._result
        state, status = self.state, self.server_status
        return (
            self._sock is None
            or (result is not None and (result.unbuffered_active or result.has_next))
            or (state.changed if mode == "auto" else mode == "session")
            or status & IN_TRANS != 0
            or state.unknown
            or (state.unsettled and not status & AUTOCOMMIT)
        )

    def start_reset(self, mode: str) -> bool:
        """Send what puts the session back to its start, without waiting for replies;
        return whether the session may be lent again.

        :param mode: as for :meth:`needs_reset`.
        """
        if (
            self._sock is None
            or self.pid != os.getpid()
            or (self.in_exchange and not self._close_call())
        ):
            return False
        changed = self.state.changed if mode == "auto" else mode == "session"
        if not changed:
            self._full_reset = False
            self.send_ahead((ROLLBACK,))
        elif self.state.unresettable:
            return False
        else:
            self._send_reset()
        self._forget()
        return True

    def _close_call(self) -> bool:
        """Read the empty result that closes a ``CALL``, if nothing else is left to be
        read and it is here already; return whether it was.
        """
        if t.cast(t.Any, self._result).unbuffered_active:
            return False
        t.cast(socket.socket, self._sock).settimeout(0)
        self._current_timeout = 0  # so that reading restores it
        try:
            if self.next_packets(1)[4:5] != b"\0":  # not here, or no OK packet
                return False
            self.next_result()
        except err.Error:
            return False
        return not self.in_exchange

    def finish_rollback(self) -> bool:
        """Read the reply to a ROLLBACK if it is here already, and nothing else; return
        whether the session may be lent now.

        No limit is set: that would give other threads the interpreter four times.
        """
        try:
            arrived = self.read_arrived()
            if arrived and self._changed_after_return:
                self._send_reset()  # whose replies are read before it is lent
            return arrived and not self.pending_replies
        except BaseException as error:
            self.abandon()
            if isinstance(error, (err.Error, OSError)):
                return False
            raise

    def validate(self, deadline: float, ping: bool) -> bool:
        """Finish the reset and find out whether the connection still works; return
        whether the session may be lent.

        :param ping: ask the server too.
        """
        try:
            if self.pending_replies or ping or self._changed_after_return:
                self.limit(deadline)
                if self.pending_replies:
                    self.read_ahead()
                    if self._full_reset:
                        self._forget()
                if ping and self.quiet():
                    self._refresh_limit()
                    self.ping()
                if self._changed_after_return:
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
        return self.state.unknown or self.server_status & IN_TRANS != 0

    @property
    def uncommitted(self) -> bool:
        """Whether the open transaction has changed data, or may have."""
        open_ = self._sock is not None and may_be_open(self.server_status)
        return open_ and self.state.uncommitted

    @property
    def _changed_after_return(self) -> bool:
        """Whether a reply after the return reported a changed session, as MySQL's
        does where a stored function changed it.
        """
        return self._auto_reset and self.tracked and self.state.changed

    # Exchanges of a holder

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:
        rendered, kind = self.rendered, None
        text: t.Any = sql
        if rendered is not None:
            self.rendered = None
            if rendered[0] is sql:
                _, text, kind = rendered
        shown = text
        if kind is None:
            # executemany() passes bytes; each byte stands for itself in latin-1.
            text = sql if isinstance(sql, str) else str(sql, "latin-1")
            kind = OTHER if self._takes_many and ";" in text else kind_of(text)
        # One longer by a character is known to be cut.
        self.last_statement = shown if len(shown) <= MAX_READ else shown[: MAX_READ + 1]
        state = self.state
        state.writes_unseen = False
        if kind is OTHER:
            self._note_change(text)
            state.writes_unseen = self.runs_unseen(text)
        self.status_before = self.server_status
        self.unread_by = threading.get_ident() if unbuffered else 0
        state.unsettled = True
        self._execute_command(COM_QUERY, sql)  # encodes it as the session does
        self._affected_rows = self._read_query_result(unbuffered)
        if self._result.insert_id:
            state.changed = True  # LAST_INSERT_ID() of the session
        if kind is not READ or ("(" in text and not state.uncommitted):
            state.note_statement(kind, text, self.server_status, self._result)
        return self._affected_rows

    def next_result(self, unbuffered: bool = False) -> int:
        count = super().next_result(unbuffered)
        self.state.note_further_result(self.server_status)
        return count

    def finish_answer(self) -> None:
        """Read what is left of the last answer, as PyMySQL does before it sends the
        next command.
        """
        result = self._result
        if result is not None and result.unbuffered_active:
            result.finish()
        while self.in_exchange:
            self.next_result()

    def runs_unseen(self, sql: str | bytes) -> bool:
        """Return whether ``sql`` may run statements that its answer does not tell of,
        such as those of a procedure.
        """
        text = sql if isinstance(sql, str) else str(sql, "latin-1")
        if self._takes_many and ";" in text.rstrip("; \n\r\t"):
            return True
        return runs_unseen(text)

    def begin(self, *statements: str) -> None:
        """Begin a transaction.

        :param statements: that do so, instead of ``BEGIN``.
        """
        for sql in statements or ("BEGIN",):
            self._execute_command(COM_QUERY, sql)
            self._read_ok_packet()
        self.state.note_end()  # of what was open before

    def commit(self) -> None:
        super().commit()
        self.state.note_end()

    def rollback(self) -> None:
        super().rollback()
        self.state.note_end()

    def show_warnings(self) -> t.Any:
        self._execute_command(COM_QUERY, "SHOW WARNINGS")
        self._read_query_result()
        rows, self._result = self._result.rows, None
        return rows

    def select_db(self, db: t.Any) -> None:
        super().select_db(db)
        self._note_change("USE")

    def set_character_set(self, charset: str, collation: str | None = None) -> None:
        super().set_character_set(charset, collation)
        self.state.changed = True

    def autocommit(self, value: t.Any) -> None:
        self.state.changed = True
        super().autocommit(value)

    def note_error(self, error: BaseException) -> bool:
        """Take note of an error that came out of an exchange; return whether the
        exchange ended with it.

        Where it did not, the connection is closed: the answer that may still come
        would be taken for that of the next statement.
        """
        if self._sock is not None and not self.touched:
            return True  # nothing was sent or read: an argument was wrong
        if self._sock is None or not refused_by_server(error):
            self.abandon()
            return False
        if error.args[0] in ENDINGS:
            self.refusal = f"{error.args[0]} {str(error.args[-1])[:LONGEST_TEXT]}"
        self.state.note_error(error, self.server_status)
        return True

    def note_status(self, status: int, warnings: int) -> None:
        previous = self.server_status
        self.server_status = status
        if (  # otherwise nothing has changed
            status != previous
            or warnings
            or status & SESSION_STATE_CHANGED
            or self.state.unknown
        ):
            self.refusal = ""
            self.state.note_status(previous, status, warnings)

    # The end

    def quit(self, deadline: float) -> None:
        if self.pid != os.getpid():
            self.abandon()  # the session is the parent's
        else:
            super().quit(deadline)

    def abandon(self) -> None:
        """Close the socket without a word to the server."""
        sock = self._sock
        if sock is not None and self.pid != os.getpid():
            # The session is the parent's: only our copy of the descriptor is closed.
            # The reader stays, its lock may be held by a thread that exists no more.
            os.close(sock.detach())
            self._sock = self._rfile = None
        elif sock is not None:
            self.shut_down(sock)
        super().abandon()

    def sever(self) -> None:
        """End the connection of a session that another thread is using. That thread
        closes it: a descriptor that is closed here could be another connection's by
        the time that it sends on.
        """
        sock = self._sock
        if sock is not None and self.pid != os.getpid():
            self.abandon()  # a shutdown would end the parent's session, too
        elif sock is not None:
            self.shut_down(sock)

    def _send_reset(self) -> None:
        ahead: list[Command] = []
        if self.in_transaction:
            # MariaDB's reset leaves a prepared XA transaction attached, in which
            # nothing else can be done; ROLLBACK is refused there, which shows it.
            ahead.append(ROLLBACK)
        self.charset, self.encoding, self.collation = self._home
        self.autocommit_mode = self.settings.autocommit
        self._full_reset = True
        again = reset_commands(self, self.settings, self.role)
        if self.state.found_rows or not self._auto_reset:
            again.append(FORGET_FOUND_ROWS)
        self.send_ahead([*ahead, *again])

    def _note_change(self, sql: str) -> None:
        self.state.changed = True
        self.state.found_rows |= counts_found_rows(sql)
        if beyond_reset(sql, bool(self.db)):
            self.state.unresettable = True

    def _forget(self) -> None:
        self.state.forget(changed=not self.tracked)
