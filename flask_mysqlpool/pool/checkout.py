"""From a place in the pool to a connection that can be lent: waiting, checking,
opening.

The rule of this room: every wait, for a place or on the network, is outside the lock
and within the one deadline of the checkout; and however it ends, no place is lost.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import typing as t
from collections import deque
from collections.abc import Callable

from pymysql import err
from pymysql.constants import ER
from pymysql.constants import SERVER_STATUS

from ..config.settings import Settings
from ..driver.connector import Opener
from ..driver.session import Connection
from ..driver.statements import without_values
from ..driver.wire import refused_by_server
from ..errors import PoolTimeout
from ..stats.holders import described
from ..stats.holders import Holder
from ..stats.holders import Spot
from ..stats.holders import standing
from ..stats.holders import thread_name
from .slots import Place
from .slots import Places
from .slots import Waiter

logger = logging.getLogger(__name__)

NO_BACKSLASH_ESCAPES = SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES

JITTER = 0.1  # lifetimes end up to this share early
FAREWELL = 1.0  # seconds that a leave-taking may take
BUSY_PAUSE = 0.05  # seconds between tries at a server with too many connections

# "Too many connections", of the server, of the user, of the user's resources.
_SERVER_FULL = (ER.CON_COUNT_ERROR, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED)


class Lending(Places):
    """Places with somebody who opens, checks and closes the connections in them."""

    def __init__(self, settings: Settings, name: str, program: str) -> None:
        super().__init__(name, settings.max_size, settings.max_waiting)
        self.settings = settings
        self.on_first_use: list[Callable[[t.Any], None]] = []
        self.on_need: Callable[[], None] = lambda: None
        self._opener = Opener(settings, program)
        self._lost: deque[int] = deque()
        self._used = False
        self._ping_after = settings.ping_after
        self._timeout = settings.timeout

    def _obtain(
        self,
        grant: Connection | Place | Waiter,
        began: float,
        limit: float,
        holder: str,
        taken: tuple[Spot, ...],
    ) -> Connection:
        """Get from what :meth:`_take` gave to a connection that can be lent."""
        end = began + limit
        deadline = began + (limit or self.settings.connect_timeout)
        if isinstance(grant, Waiter):
            self._collect_lost()
            grant = self._wait(grant, end)
        while True:
            if isinstance(grant, Connection):
                # Who looks now sees who makes it wait.
                grant.holder, grant.taken = holder, taken
                grant.thread = threading.current_thread()
                if self._fit(grant, deadline):
                    connection = grant
                    break
            try:
                connection = self._fill(self._open(deadline), time.monotonic())
                break
            except err.OperationalError as error:
                if not server_full(error):
                    raise
                grant = self._wait_for_room(began, end, error)
        connection.lent_at = time.monotonic()
        connection.waited = connection.lent_at - began
        return connection

    def _wait(self, waiter: Waiter, end: float) -> Connection | Place:
        try:
            waiter.wait(end - time.monotonic())
        except BaseException:
            self._decline(self._leave_queue(waiter))
            raise
        grant = self._leave_queue(waiter)
        if isinstance(grant, Exception):
            raise grant
        if grant is None:
            raise self._timed_out(None, end - waiter.since)
        return grant

    def _wait_for_room(
        self, since: float, end: float, failure: Exception
    ) -> Connection | Place:
        """Wait, with a place in hand, until somebody returns a connection; whoever is
        first tries again now and then, for the server may have room before that.
        """
        try:
            waiter = self._rejoin(since, time.monotonic())
        except BaseException:
            self._vacate()
            raise
        if isinstance(waiter, Connection):
            return waiter
        grant = None
        try:
            while (left := end - time.monotonic()) > 0 and waiter.grant is None:
                waiter.wait(min(left, BUSY_PAUSE * random.uniform(0.5, 1.5)))
                if self._is_next(waiter):
                    return Place.FREE
            grant = self._leave_queue(waiter)
        except BaseException:
            self._vacate()
            self._decline(waiter.grant or self._leave_queue(waiter))
            raise
        self._vacate()
        if isinstance(grant, Exception):
            raise grant
        if grant is None:
            raise self._timed_out(failure, end - since)
        return grant

    def _decline(
        self, grant: Connection | Place | Exception | None, reason: str = ""
    ) -> None:
        """Give back what was handed to a caller that was interrupted.

        :param reason: why a connection must be closed.
        """
        if isinstance(grant, Connection):
            self._lent.pop(grant.lease, None)
            self._finish_return(grant, reason)
        elif isinstance(grant, Place):
            self._vacate()

    def _fit(self, connection: Connection, deadline: float) -> bool:
        """Look whether a connection can be lent; if not, close it, keep its place."""
        try:
            reason = self._fault(connection, deadline)
        except BaseException:
            self._decline(connection, "broken")
            raise
        if not reason:
            return True
        self._exchange_for_place(connection, reason)
        try:
            self._close(connection, reason)
        except BaseException:
            self._vacate()
            raise
        return False

    def _fault(self, connection: Connection, deadline: float) -> str:
        """Return why a connection cannot be lent, empty where it can."""
        if reason := self._retirement_at_rest(connection, connection.lent_at):
            return reason
        now = time.monotonic()
        ping = connection.lent_at - connection.rested_at >= self._ping_after
        # Half of what is left: there must be time to open another.
        fine = connection.ready(now + (deadline - now) / 2, ping)
        return "" if fine else "dead"

    def _open(self, deadline: float) -> Connection:
        """Open a connection in a reserved place, which is given back if that fails,
        but not where the server is full: then there is reason to try again.
        """
        started = time.monotonic()
        try:
            self._begin_use()
            with self._lock:
                self._number = number = self._number + 1
                refused = self._outage.begin_try(started)
            if refused is None:
                connection = self._opener.open(deadline)
                connection.took = time.monotonic() - started
                self._dress(connection, number)
                return connection
        except BaseException as error:
            unreachable = _unreachable(error)
            with self._lock:
                if unreachable is not None:
                    self._outage.failed(unreachable, time.monotonic())
                elif refused_by_server(error):
                    self._outage.ended()  # it answers
                else:
                    self._outage.give_up_try()
            if not server_full(error):
                self._vacate()
            if unreachable is not None:
                raise self._timed_out(unreachable, deadline - started) from error
            raise
        self._vacate()
        raise self._timed_out(refused, 0)

    def _dress(self, connection: Connection, number: int) -> None:
        connection.number = number
        connection.uses_allowed = self.settings.max_usage or float("inf")
        if self.settings.max_lifetime:
            lifetime = self.settings.max_lifetime * random.uniform(1 - JITTER, 1)
            connection.expires_at = time.monotonic() + lifetime
        logger.debug("pool %r: opened a connection", self.name)

    def _begin_use(self) -> None:
        """Tell those who asked that this process uses the pool."""
        if self._used:
            return
        self._used = True
        for hook in self.on_first_use:
            try:
                hook(self)
            except Exception:
                logger.exception("pool %r: a hook of its first use failed", self.name)

    def _timed_out(self, cause: Exception | None, limit: float) -> PoolTimeout:
        reading = self._numbers(time.monotonic())
        if cause is None:
            what = f"no connection within {limit:g} s"
        elif refused_by_server(cause):
            what = f"no connection within {limit:g} s: the server is full: {cause}"
        else:
            what = f"the server cannot be reached: {cause}"
        error = PoolTimeout(
            f"pool {self.name!r}: {what} (size {reading.size} of {reading.max_size},"
            f" in use {reading.in_use}, idle {reading.idle}, waiting"
            f" {reading.waiting}{self._oldest_holder()})"
        )
        error.__cause__ = cause
        return error

    def _oldest_holder(self) -> str:
        lent = list(self._lent.values())
        oldest = min(lent, key=lambda c: c.lent_at, default=None)
        if oldest is None:
            return ""
        held = time.monotonic() - oldest.lent_at
        return f", the oldest held for {held:.1f} s by {who(oldest)}"

    def _collect_lost(self) -> None:
        """Free the places of handles that were garbage collected."""
        while self._lost:
            connection = self._lent.pop(self._lost.popleft(), None)
            if connection is not None:
                logger.warning(
                    "pool %r: a connection was dropped, not returned, by %s",
                    self.name,
                    who(connection),
                )
                self._finish_return(connection, "lost")

    def _finish_return(self, connection: Connection, reason: str) -> None:
        reason = self._accept_back(connection, time.monotonic(), reason)
        if reason:
            self._close(connection, reason)
            self.on_need()

    def _close(self, connection: Connection, reason: str) -> None:
        logger.debug("pool %r: closed a connection: %s", self.name, reason)
        if reason in ("broken", "dead", "lost"):
            connection.abandon()
        else:
            connection.quit(time.monotonic() + FAREWELL)


def server_full(error: BaseException) -> bool:
    """Return whether the server has no room for one more connection just now."""
    return refused_by_server(error) and error.args[0] in _SERVER_FULL


def _unreachable(error: BaseException) -> Exception | None:
    """Return the error if it says that there is no server to talk to."""
    if not isinstance(error, err.Error) or refused_by_server(error):
        return None
    return error


def who(connection: Connection) -> str:
    """Return who holds a connection, in words."""
    thread = f"thread {thread_name(connection.thread)}"
    return f"{connection.holder} in {thread}" if connection.holder else thread


def holder_of(connection: Connection, now: float, stacks: bool) -> Holder:
    """Return who holds a connection.

    :param stacks: look where its thread stands, too.
    """
    lease, statement, status = connection.said
    if not isinstance(statement, str):  # of executemany()
        statement = bytes(statement).decode(connection.encoding, "replace")
    backslashes = not status & NO_BACKSLASH_ESCAPES
    return Holder(
        seconds=now - connection.lent_at,
        holder=connection.holder,
        thread=thread_name(connection.thread),
        statement=(
            without_values(statement, backslashes) if lease == connection.lease else ""
        ),
        in_transaction=connection.in_transaction,
        connection_id=t.cast(t.Any, connection).thread_id(),
        taken=described(connection.taken),
        stands=standing(connection.thread) if stacks else [],
    )


def leak_report(connection: Connection, now: float) -> str:
    """Return who holds a connection, what it was used for and both stacks."""
    holder = holder_of(connection, now, stacks=True)
    lines = [who(connection), f"last statement: {holder.statement or 'none'}"]
    for title, stack in (("taken at", holder.taken), ("stands at", holder.stands)):
        lines += [f"{title}:", *(f"  {place}" for place in stack or ["unknown"])]
    return "\n".join(lines)
