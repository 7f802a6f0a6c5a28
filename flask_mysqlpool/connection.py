"""A connection to the server that knows its state: whether an exchange is under way,
a transaction open, the session changed, a reset on its way.

The rule of this room: what is not known to be clean is not clean.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
import typing as t

from pymysql import err
from pymysql.constants import CR

from .config import Settings
from .protocol import COM_INIT_DB
from .protocol import COM_QUERY
from .protocol import COM_RESET_CONNECTION
from .protocol import Command
from .protocol import IN_TRANS
from .protocol import SESSION_STATE_CHANGED
from .protocol import WireConnection
from .statements import first_word
from .statements import kind_of
from .statements import OTHER
from .statements import WRITE

# A server, or its session, that takes no changes, as after a failover.
# ER_OPTION_PREVENTS_STATEMENT, ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION and
# ER_READ_ONLY_MODE (MySQL Error Message Reference).
_READ_ONLY = (1290, 1792, 1836)

ROLLBACK: Command = (COM_QUERY, b"ROLLBACK")


def refused_by_server(error: BaseException) -> bool:
    """Return whether ``error`` is an ERR packet: the exchange has ended, and the
    connection stands. Client errors have the numbers 2000 to 2999 (MySQL Error
    Message Reference).
    """
    if not isinstance(error, err.MySQLError) or not error.args:
        return False
    code = error.args[0]
    if not isinstance(code, int):
        return False
    return code >= 1000 and not CR.CR_ERROR_FIRST <= code < 3000


class Connection(WireConnection):
    """A session at the server, from its opening to its end.

    One thread at a time may use it: whoever holds :attr:`turn`.
    """

    # What a lender needs to know; the pool writes it.
    lease = 0  # number of the checkout that it is lent to, 0: to nobody
    lent_at = 0.0
    waited = 0.0  # of the checkout, for its place
    holder = ""  # of the checkout, in words
    thread = 0  # of the checkout
    reported = 0  # the lease that was reported as a leak
    rested_at = 0.0  # when it came back
    expires_at = float("inf")
    uses = 0
    uses_allowed = float("inf")
    number = 0  # in the order of opening

    uncertain = False  # an error packet came: it carries no flags
    warned = False  # SHOW WARNINGS still has something to tell
    session_changed = False
    uncommitted = False  # a statement of the open transaction changed data
    unread_by = 0  # thread of the last unbuffered result
    read_only = False  # the server refused a change: it is a primary no more
    depth = 0  # of transaction blocks
    trouble: BaseException | None = None  # an error within a block, not yet looked at
    doomed: BaseException | None = None  # the error that ended the block's transaction

    def __init__(self, opener: Opener, arguments: dict[str, t.Any]) -> None:
        self._opener = opener
        self.pid = os.getpid()
        self.turn = threading.Lock()
        super().__init__(**arguments, defer_connect=True)

    # The session

    def open_session(self, deadline: float) -> None:
        """Connect, log in and prepare the session.

        :raise pymysql.Error: that failed, or took longer than until ``deadline``.
        """
        left = max(0.001, deadline - time.monotonic())
        self.connect_timeout = min(self._opener.settings.connect_timeout, left)
        self.limit(deadline)
        try:
            self.connect()
            self._home = (self.charset, self.encoding, self.collation)
            self.send_ahead(self._preparation(reset=False))
            self.read_ahead()
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
        changed = mode == "session" or (mode == "auto" and self.session_changed)
        if not (
            changed
            or self.server_status & IN_TRANS
            or self.uncertain
            or self.warned
            or self.depth
        ):
            return True  # the common case: there is nothing to reset
        if self.pid != os.getpid():
            return False
        if not changed:
            self.send_ahead((ROLLBACK,))
        elif self._adrift:
            return False
        else:
            self.charset, self.encoding, self.collation = self._home
            self.autocommit_mode = self._opener.settings.autocommit
            self.send_ahead(self._preparation(reset=True))
        self._forget()
        return True

    def fresh(self, now: float, ping_after: float, oldest: int) -> bool:
        """Return whether the connection may be lent as it is, without an exchange."""
        return (
            now - self.rested_at < ping_after
            and now < self.expires_at
            and self.number >= oldest
            and not self._unanswered
            and self.quiet()
        )

    def ready(self, deadline: float, ping: bool) -> bool:
        """Finish the reset and look whether the connection still stands; return
        whether it may be lent.

        :param ping: ask the server too.
        """
        try:
            if self._unanswered or ping:
                self.limit(deadline)
                if self._unanswered:
                    self.read_ahead()
                    self._forget()
                if ping and self.quiet():
                    self.ping(reconnect=False)
                self.limit(None)
        except err.Error:
            return False
        return self.quiet()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, or may be."""
        return self.uncertain or self.server_status & IN_TRANS != 0

    @property
    def resetting(self) -> bool:
        """Whether a reset was sent whose answer was not read."""
        return self._unanswered > 0

    # Exchanges of a holder

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:
        # executemany() passes bytes; each byte stands for itself in latin-1.
        text = sql if isinstance(sql, str) else sql.decode("latin-1")
        kind = kind_of(text)
        if kind is OTHER:
            self._touch(first_word(text))
        self.unread_by = threading.get_ident() if unbuffered else 0
        self._execute_command(COM_QUERY, sql)  # encodes it as the session does
        self._affected_rows = self._read_query_result(unbuffered)
        if self._result.insert_id:
            self.session_changed = True  # LAST_INSERT_ID() of the session
        if kind is WRITE and not self._result.field_count:
            self.uncommitted = self.server_status & IN_TRANS != 0
        return self._affected_rows

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
        if self._sock is not None and refused_by_server(error):
            self.uncertain = True
            if error.args[0] in _READ_ONLY:
                self.read_only = True
            if self.depth:
                self.trouble = error
        else:
            self.abandon()

    def check_transaction(self) -> None:
        """After an error within a transaction block, make sure that the block's
        transaction still exists.

        :raise pymysql.err.OperationalError: the server has rolled it back.
        """
        if self.doomed is None:
            self.ping(reconnect=False)  # its OK packet has the flag
            if self.in_transaction:
                self.trouble = None
                return
            self.doomed = self.trouble
        cause = t.cast(BaseException, self.doomed)
        raise err.OperationalError(
            cause.args[0],
            f"the server has rolled back the whole transaction ({cause.args[1]});"
            " nothing of it was committed, and nothing more can be done within it",
        ) from cause

    def note(self, status: int, warnings: int) -> None:
        self.server_status = status
        self.uncertain = False
        self.warned = warnings > 0
        if status & SESSION_STATE_CHANGED:
            self.session_changed = True
        if not status & IN_TRANS:
            self.uncommitted = False

    def abandon(self) -> None:
        sock = self._sock
        if sock is not None and self.pid != os.getpid():
            # The session is the parent's: only our copy of the descriptor goes. The
            # reader stays, its lock may be held by a thread that exists no more.
            os.close(sock.detach())
            self._sock = self._rfile = None
        elif sock is not None:
            try:  # wakes a thread that reads from it
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was faster
        super().abandon()

    def _preparation(self, reset: bool) -> list[Command]:
        """Return the commands that give the session its own settings: all of them
        after a reset, and on connect those that PyMySQL has not sent.
        """
        settings = self._opener.settings
        variables = []
        commands: list[Command] = []
        if reset:
            # COM_RESET_CONNECTION leaves the character set and autocommit at the
            # server's defaults, and the default database where it is.
            commands.append((COM_RESET_CONNECTION, b""))
            collate = f" COLLATE {self.collation}" if self.collation else ""
            variables.append(f"NAMES {self.charset}{collate}")
            if settings.autocommit is not None:
                variables.append(f"autocommit = {settings.autocommit:d}")
            if settings.sql_mode is not None:
                variables.append(f"sql_mode = {self.escape(settings.sql_mode)}")
        if self.tracked:
            variables.append("session_track_state_change = 1")
        statements = [f"SET {', '.join(variables)}"] if variables else []
        if reset and settings.database:
            commands.append((COM_INIT_DB, settings.database.encode(self.encoding)))
        if reset and settings.init_command is not None:
            statements.append(settings.init_command)
        statements.extend(settings.setsession)
        encoded = (statement.encode(self.encoding) for statement in statements)
        return commands + [(COM_QUERY, statement) for statement in encoded]

    def _touch(self, word: str) -> None:
        self.session_changed = True
        if self.db is None and word in ("USE", "EXECUTE"):
            self._adrift = True

    # No statement leads back to "no database".
    _adrift = False

    def _forget(self) -> None:
        """Start with a clean sheet: what was known concerned the last holder."""
        self.uncertain = self.warned = False
        self.session_changed = not self.tracked
        self.uncommitted = False
        self.depth = 0
        self.trouble = self.doomed = None

    def _create_ssl_ctx(self, sslp: t.Any) -> ssl.SSLContext:
        return self._opener.tls_context(
            lambda: super(Connection, self)._create_ssl_ctx(sslp)  # type: ignore[misc]  # not in the stubs
        )


class Opener:
    """Opens the connections of one pool."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._arguments = settings.driver_arguments()
        self._tls: ssl.SSLContext | None = None

    def open(self, deadline: float) -> Connection:
        """Open a connection by ``deadline``, on the monotonic clock.

        :raise pymysql.Error: the server cannot be reached or refuses us.
        """
        arguments = dict(self._arguments)
        if callable(self.settings.password):
            arguments["password"] = self.settings.password()
        connection = Connection(self, arguments)
        connection.open_session(deadline)
        return connection

    def tls_context(self, create: t.Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """Return the one TLS context of the pool: making one takes 15 ms."""
        if self._tls is None:
            self._tls = create()
        return self._tls
