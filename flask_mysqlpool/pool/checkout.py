"""From what the slots granted to a connection that can be lent, and back.

Rule: every wait, for a place or on the network, is outside the lock and within the one
deadline of the checkout; and however it ends, what was granted is given back.
"""

from __future__ import annotations

import contextlib
import logging
import random
import typing as t
from collections.abc import Callable
from os import getpid
from time import monotonic

from pymysql import err

from ..config.settings import Settings
from ..driver.login import misconfigured
from ..driver.session import Session
from ..driver.sockets import local_shortage
from ..driver.wire import refused_by_server
from ..errors import PoolTimeout
from ..stats.text import printable
from .checkout_log import logger as checkout_log
from .checkout_log import note_returned
from .checkout_log import note_wait
from .circuit_breaker import CircuitBreaker
from .circuit_breaker import Probe
from .entry import ExpiryPolicy
from .entry import PoolEntry
from .idle import Closing
from .leaks import who
from .lost_changes import LostChanges
from .no_connection import no_connection
from .no_connection import no_room
from .pooled_connection import PooledConnection
from .slots import Slots
from .waiter import Request
from .waiter import Reservation
from .waiter import Waiter

logger = logging.getLogger(__name__)

QUIT_TIMEOUT = 1.0  # seconds that closing a connection in order may take
MIN_ATTEMPT = 1.0  # seconds to connect: less tells nothing of a server that is late
FULL_SERVER_PAUSE = 0.05  # seconds between tries at a server with too many connections

Grant = PooledConnection | Reservation | Waiter


class Connector(t.Protocol):
    """Who opens sessions; see :class:`~flask_mysqlpool.driver.connector.Connector`."""

    def open(self, deadline: float) -> Session: ...

    def renew(self) -> None: ...


class Checkout:
    """Waits, opens, validates and closes for one pool.

    :param before_open: is called before each connection is opened.
    """

    def __init__(
        self,
        slots: Slots,
        connector: Connector,
        breaker: CircuitBreaker,
        policy: ExpiryPolicy,
        settings: Settings,
        before_open: Callable[[], None] = lambda: None,
    ) -> None:
        slots.lender = self
        self.connector = connector
        self._slots = slots
        self._breaker = breaker
        self._policy = policy
        self._settings = settings
        self._before_open = before_open
        self._reset = settings.reset
        self.lost_changes = LostChanges(slots.name)

    def acquire(self, grant: Grant, timeout: float) -> PooledConnection:
        """Make of what :meth:`.Slots.take` granted a connection that can be lent.

        :param timeout: seconds from the beginning of the checkout.
        :raise PoolError: that took too long, or the pool was closed.
        :raise pymysql.Error: the server refuses us.
        """
        if discarded := self._slots.discarded(monotonic()):
            self.close_all(discarded)
        request = _request_of(grant)
        end = request.since + timeout  # of waiting; who does not wait may connect
        deadline = end if timeout else end + self._settings.connect_timeout
        full: Exception | None = None  # why there was no room for another, last
        try:
            while True:
                if isinstance(grant, Waiter):
                    grant = self._wait(grant, end)
                elif isinstance(grant, PooledConnection):
                    if self._validate(grant, deadline):
                        break
                    grant = self._replace(grant, deadline)
                else:
                    if full is not None and monotonic() >= end:
                        raise self._timed_out(full, timeout)
                    opened = self._open(grant, request, deadline)
                    if isinstance(opened, PooledConnection):
                        grant = opened
                        break
                    full = opened
                    grant = self._wait_for_room(grant, request, timeout, full)
        except BaseException as error:
            self.return_unused(grant, monotonic())
            if isinstance(error, PoolTimeout):
                with self._slots.lock:
                    self._slots.counters.note_timeout(request.holder)
            raise
        entry = _entry_of(grant)
        entry.lent_at = monotonic()
        entry.waited = entry.lent_at - request.since
        return grant

    def return_unused(self, grant: object, now: float) -> None:
        """Give back what was granted to a caller that was interrupted. What is lent
        is closed: how far its caller came with it is not known.
        """
        if isinstance(grant, Waiter):
            grant = self._slots.leave(grant, now)
        if isinstance(grant, PooledConnection):
            grant.drop()
        elif isinstance(grant, Reservation):
            self._slots.release(grant, now)

    def take_back(
        self,
        entry: PoolEntry,
        checkout_id: int,
        at_rest: bool,
        exc_info: tuple[object, ...] = (),
    ) -> None:
        """Take a connection back from its handle: see :class:`.Lender`."""
        slots = self._slots
        if slots.in_this_thread():  # a finalizer returns it, run under the lock
            slots.dropped(checkout_id)
            return
        reason = "broken"
        try:
            if at_rest:
                if not entry.session.needs_reset(self._reset):
                    reason = ""
                else:
                    self._warn_of_lost_changes(entry, exc_info)
                    if slots.shrunk or monotonic() >= entry.review_at:
                        reason = self._retire_or_reset(entry)
                    elif entry.session.start_reset(self._reset):
                        reason = ""
        except (err.Error, OSError):
            pass  # the connection is gone: a reset could not be sent
        except Exception as error:
            with contextlib.suppress(Exception):  # of a handler of the log
                text = "pool %r: a reset failed: %s"
                logger.warning(text, slots.name, printable(error))
        now = monotonic()
        if checkout_log.level:
            with contextlib.suppress(Exception):  # of a handler of the log
                note_returned(slots.name, entry, now)
        if reason := slots.put_back(entry, checkout_id, now, reason):
            if at_rest:
                self.close(entry, reason, now)  # a return waits for nothing
            else:  # whose exchange is under way closes it
                entry.session.sever()
            slots.on_need()

    def _warn_of_lost_changes(
        self, entry: PoolEntry, exc_info: tuple[object, ...]
    ) -> None:
        session = entry.session
        failed = any(each is not None for each in exc_info)
        if session.uncommitted and not failed and session.pid == getpid():
            with contextlib.suppress(Exception):  # of a handler of the log
                self.lost_changes.warn(entry)

    def dropped(self, checkout_id: int) -> None:
        self._slots.dropped(checkout_id)

    def open_entry(self, reservation: Reservation, deadline: float) -> PoolEntry:
        """Open a connection in a reserved place, which stays reserved.

        :raise PoolTimeout: the server cannot be reached.
        :raise pymysql.Error: the server refuses us, or is not set up for us.
        """
        started = monotonic()
        self._before_open()
        probe = self._breaker.admit(started, deadline)
        if isinstance(probe, Exception):
            raise self._timed_out(probe, 0)
        try:
            self._slots.number(reservation)
            session = self.connector.open(deadline)
        except BaseException as error:
            cut_short = monotonic() >= deadline < started + MIN_ATTEMPT
            if unreachable := self._learn_from(error, probe, cut_short):
                raise self._timed_out(unreachable, deadline - started) from error
            raise
        self._breaker.note_reachable()
        now = monotonic()
        logger.debug("pool %r: opened a connection", self._slots.name)
        expires_at = self._policy.expires_at(now)
        return PoolEntry(session, reservation.number, expires_at, now - started)

    def close(
        self, entry: PoolEntry, reason: str, deadline: float = float("inf")
    ) -> None:
        """Close a connection that the slots have let go of."""
        self.close_all([(entry, reason)], deadline)

    def close_all(self, closing: Closing, deadline: float = float("inf")) -> None:
        """Close connections within :data:`QUIT_TIMEOUT` in all, and by ``deadline``:
        those whose exchange has ended with COM_QUIT. Raises nothing but an interrupt.
        """
        name, deadline = self._slots.name, min(deadline, monotonic() + QUIT_TIMEOUT)
        for entry, reason in closing:
            try:
                if reason not in ("broken", "dead", "lost"):
                    entry.session.quit(deadline)
            except Exception:
                pass  # whatever the server answered
            finally:
                entry.session.abandon()
            with contextlib.suppress(Exception):  # of a handler of the log
                if reason == "lost":
                    text = "pool %r: a connection was dropped, not returned, by %s"
                    logger.warning(text, name, who(entry))
                logger.debug("pool %r: closed a connection: %s", name, reason)

    def _retire_or_reset(self, entry: PoolEntry) -> str:
        """Begin to reset a session, or return why its connection is closed instead.

        One that retires is not reset: the server rolls back what a connection leaves
        behind, and to wait for that would hold up its holder.
        """
        slots, session = self._slots, entry.session
        if session.in_exchange:
            return "broken"
        with slots.lock:
            reason = self._policy.reason_at_return(entry, monotonic())
            if slots.closed or slots.size > slots.max_size:
                reason = "closed" if slots.closed else "surplus"
        return reason or ("" if session.start_reset(self._reset) else "broken")

    def _validate(self, handle: PooledConnection, deadline: float) -> bool:
        """Return whether the connection can be lent."""
        entry = _entry_of(handle)
        if self._policy.lendable_at_once(entry, entry.lent_at):
            return True  # as one that another caller has just returned
        if self._policy.reason(entry, entry.lent_at):
            return False
        ping = self._policy.needs_ping(entry, entry.lent_at)
        # Half of what is left: there must be time to open another.
        now = monotonic()
        valid: bool = entry.session.validate(now + (deadline - now) / 2, ping)
        return valid

    def _replace(self, handle: PooledConnection, deadline: float) -> Reservation:
        """Close a connection that cannot be lent, and keep its place."""
        entry = _entry_of(handle)
        reason = self._policy.reason(entry, entry.lent_at) or "dead"
        reservation = self._slots.replace(handle, reason)
        now = monotonic()  # half of what is left, as in _validate()
        self.close(entry, reason, now + (deadline - now) / 2)
        return reservation

    def _wait(self, waiter: Waiter, end: float) -> Grant:
        if checkout_log.level:
            note_wait(self._slots.name, waiter.request)
        waiter.wait(end - monotonic())
        grant = self._slots.leave(waiter, monotonic())
        if isinstance(grant, Exception):
            raise grant
        if grant is None:
            raise self._timed_out(None, end - waiter.request.since)
        return t.cast(Grant, grant)

    def _open(
        self, reservation: Reservation, request: Request, deadline: float
    ) -> PooledConnection | Exception:
        """Open a connection and lend it; return the error if there is no room."""
        try:
            entry = self.open_entry(reservation, deadline)
        except Exception as error:
            if not no_room(error):
                raise
            return error.with_traceback(None)  # it would keep the handle
        return self._slots.fill(reservation, entry, request, monotonic())

    def _wait_for_room(
        self,
        reservation: Reservation,
        request: Request,
        timeout: float,
        failure: Exception,
    ) -> Grant:
        """Wait, with a place in hand, until somebody returns a connection; whoever is
        first tries again now and then, for the server may have room before that.
        """
        end = request.since + timeout
        waiter = self._slots.requeue(reservation, request, monotonic())
        if not isinstance(waiter, Waiter):
            return waiter
        try:
            while (left := end - monotonic()) > 0 and waiter.grant is None:
                waiter.wait(min(left, FULL_SERVER_PAUSE * random.uniform(0.5, 1.5)))
                # An attempt that the deadline cuts short would look like an outage.
                time_left = end - monotonic() > FULL_SERVER_PAUSE
                if time_left and self._slots.leave_if_first(waiter):
                    return reservation
            grant = self._slots.leave(waiter, monotonic())
            if isinstance(grant, Exception):
                raise grant
            if grant is None:
                raise self._timed_out(failure, timeout)
            self._slots.release(reservation, monotonic())
            return t.cast(Grant, grant)
        except BaseException:
            self.return_unused(waiter, monotonic())
            raise

    def _learn_from(
        self, error: BaseException, probe: Probe | None, cut_short: bool
    ) -> t.Any:
        """Learn from a failed attempt to connect; return the error if it says that
        there is no server to talk to.

        :param cut_short: the caller's own deadline came too soon to tell.
        """
        answered = refused_by_server(error) or misconfigured(error)
        silent = (
            isinstance(error, err.Error) and not answered and not local_shortage(error)
        )
        if answered:
            self._breaker.note_reachable()
        elif silent and not cut_short:
            self._breaker.note_unreachable(t.cast(Exception, error), monotonic())
        elif probe is not None:
            self._breaker.end_probe(probe)
        return error if silent else None

    def _timed_out(self, cause: Exception | None, limit: float) -> PoolTimeout:
        return no_connection(self._slots, cause, limit, self._settings.timeout)


def _entry_of(handle: PooledConnection) -> PoolEntry:
    return t.cast(PoolEntry, handle.entry)  # it is not returned yet


def _request_of(grant: Grant) -> Request:
    if isinstance(grant, PooledConnection):
        entry = _entry_of(grant)
        return Request(entry.lent_at, entry.holder, entry.thread, entry.stack)
    return t.cast(Request, grant.request)
