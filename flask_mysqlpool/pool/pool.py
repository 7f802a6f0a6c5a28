"""The pool: lends connections, takes them back, keeps them in shape.

The rule of this room: a return never raises and never loses a place, and a forked
child never writes to what its parent opened.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import typing as t
import weakref
from collections import deque
from collections.abc import Callable
from os import getpid
from sys import _getframe
from threading import current_thread
from time import monotonic

from dbutils.pooled_db import NotSupportedError

from ..config.settings import Settings
from ..driver.session import Connection
from ..errors import ConfigError
from ..errors import PoolTimeout
from ..stats.holders import Holder
from ..stats.holders import Spot
from ..stats.readings import PoolStats
from .checkout import FAREWELL
from .checkout import holder_of
from .checkout import leak_report
from .checkout import Lending
from .checkout import server_full
from .checkout import who
from .pooled_connection import PooledConnection

logger = logging.getLogger(__name__)

REFUSED_PAUSE = 1.0  # seconds until a server that refused is asked for min_size again

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


class Pool(Lending):
    """A pool of connections to one server: a :class:`dbutils.pooled_db.PooledDB`
    with DBUtils' failover off for good.

    Nothing connects before the first checkout.

    :param settings: what :meth:`.Settings.from_config` gives.
    :param name: the bind's name, for messages.
    :param program: the app's name, for the server's view of its connections.
    """

    def __init__(
        self,
        settings: Settings,
        name: str = "default",
        program: str = "flask_mysqlpool",
    ) -> None:
        super().__init__(settings, name, program)
        self._pid = getpid()
        self._mode = settings.reset
        self._min_size_kept = True
        self._reported: dict[int, str] = {}  # leaks by lease
        self.name_holder: Callable[[], str] | None = None  # where nobody told
        _pools.add(self)

    def __repr__(self) -> str:
        reading = self._numbers(monotonic())
        return (
            f"<{type(self).__name__} {self.name!r} size {reading.size} of"
            f" {reading.max_size}, in use {reading.in_use}, idle {reading.idle},"
            f" waiting {reading.waiting}{', closed' if self._closed else ''}>"
        )

    def __del__(self) -> None:
        """Do nothing: to talk to the server here could block anybody."""

    # Lending

    def connection(
        self,
        timeout: float | None = None,
        *,
        holder: str = "",
        taken: tuple[Spot, ...] = (),
    ) -> PooledConnection:
        """Lend a connection.

        :param timeout: seconds that this may take in all; without it those of the
            settings. 0: do not wait for a connection that somebody else holds.
        :param holder: who takes it, in words; in an app without it the endpoint.
        :param taken: where, innermost first; without it the caller's own line.
        :raise PoolTimeout: none could be had within the timeout, or none can be had
            now because the server was just found unreachable.
        :raise PoolFull: ``max_waiting`` callers wait already.
        :raise PoolClosed: the pool is closed.
        :raise pymysql.Error: the server refuses us, and waiting will not change that.
        """
        if self._pid != getpid():
            self._start_over()
        if not taken:  # this is the hot path: spots() would walk further up
            frame = _getframe(1)
            taken = ((frame.f_code, frame.f_lasti),)
        if not holder and self.name_holder is not None:
            holder = self.name_holder()
        began = monotonic()
        grant = self._take(began)
        connection = None
        if type(grant) is Connection:
            try:
                if grant.fresh(began, self._ping_after, self._oldest):
                    connection = grant
            except BaseException:
                self._decline(grant, "broken")
                raise
        if connection is None:
            limit = self._timeout if timeout is None else timeout
            try:
                connection = self._obtain(grant, began, limit, holder, taken)
            except PoolTimeout:
                self._count_timeout(holder)
                raise
        connection.holder = holder
        connection.thread = current_thread()
        connection.taken = taken
        return PooledConnection(self, connection)

    def dedicated_connection(self) -> PooledConnection:
        """Lend a connection (DBUtils' other name for :meth:`connection`)."""
        frame = _getframe(1)
        return self.connection(taken=((frame.f_code, frame.f_lasti),))

    def steady_connection(self) -> t.NoReturn:
        """Refuse: DBUtils' steady connections send statements again.

        :raise dbutils.pooled_db.NotSupportedError: always.
        """
        raise NotSupportedError("this pool re-sends nothing: use connection()")

    def stats(self) -> PoolStats:
        """Return a reading of the pool."""
        self._be_of_this_process()
        reading = self._reading(monotonic())
        reading.min_size = self.settings.min_size
        return reading

    def holders(self, stacks: bool = False) -> list[Holder]:
        """Return who holds a connection, the longest first.

        :param stacks: look where their threads stand, too.
        """
        self._be_of_this_process()
        now = monotonic()
        lent = sorted(self._lent.copy().values(), key=lambda each: each.lent_at)
        return [holder_of(connection, now, stacks) for connection in lent]

    def recycle(self) -> None:
        """Retire every connection: the idle at once, the lent at their return."""
        with self._lock:
            self._oldest = self._number + 1
            gone = self._empty("recycled")
            self._pass_on()
        self._close_all(gone)
        self.on_need()

    def resize(self, max_size: int) -> None:
        """Change the most connections that may be open.

        What is lent beyond that is closed at its return.

        :raise ConfigError: it is less than 1 or than ``min_size``.
        """
        self.check_size(max_size)
        gone = []
        with self._lock:
            self._maxconnections = max_size
            self._settle(float("inf"))
            while self._idle_cache and self._size > max_size:
                gone.append(self._idle_cache.pop(0))
                self._size -= 1
                self._closed_for["surplus"] += 1
            self._pass_on()
        self._close_all(gone)

    def check_size(self, max_size: int) -> None:
        """Check what :meth:`resize` is to be told.

        :raise ConfigError: it cannot be.
        """
        least = max(1, self.settings.min_size)
        if type(max_size) is not int or max_size < least:
            raise ConfigError(
                f"pool {self.name!r}: max_size must be a whole number of at least"
                f" {least} (1 and MYSQLPOOL_MIN_SIZE), not {max_size!r}"
            )

    def close(self) -> None:
        """Close the pool: callers in the queue get :exc:`PoolClosed`, idle
        connections are closed, those that are lent at their return. A second time
        does nothing.
        """
        with self._lock:
            self._closed = True
            waiters, self._waiters = self._waiters, deque()
            for waiter in waiters:
                waiter.give(self._is_closed())
            gone = self._empty("closed")
        self._close_all(gone)
        self.on_need()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    @property
    def outage(self) -> Exception | None:
        """Why the server could not be reached, when that was tried last; ``None``
        where it could. An idle pool does not try.
        """
        return self._outage.error

    # Taking back (called by the handle, which never sees an error)

    def give_back(self, lease: int) -> None:
        if self._lock._is_owned():  # a finalizer, run while this thread holds the lock
            self.lost(lease)
            return
        connection = self._lent.pop(lease, None)
        if connection is None:
            return  # given back by another thread, or lent by a parent process
        reason = "broken"
        try:
            connection.lease = 0  # whoever takes the turn from here on finds it gone
            if not connection.turn.locked() and connection.start_reset(self._mode):
                reason = ""
        except Exception as error:
            logger.warning("pool %r: a reset failed: %s", self.name, error)
        finally:
            if reason := self._accept_back(connection, monotonic(), reason):
                self._close(connection, reason)
                self.on_need()

    def lost(self, lease: int) -> None:
        """Take note of a handle that was garbage collected before its return. This can
        happen at any point, under the lock too: others do the rest.
        """
        self._lost.append(lease)
        self.on_need()  # somebody may be waiting for its place

    # Keeping in shape (called by the housekeeper)

    def tend(self) -> float:
        """Retire what is too old or was idle for too long, and fill up to
        ``min_size``; return the seconds after which it should be called again.
        """
        if self._pid != getpid():
            return float("inf")
        settings = self.settings
        self._collect_lost()
        now = monotonic()
        self._close_all(self._dismiss(now, settings.min_size, settings.max_idle))
        until_leak = self._report_leaks(now)
        while self._reserve_for_minimum():
            if not self._fill_place():
                return self._outage.pause(monotonic()) or REFUSED_PAUSE
        times = (settings.max_idle, settings.max_lifetime)
        return min(30.0, until_leak, *(seconds / 2 for seconds in times if seconds))

    def _reserve_for_minimum(self) -> bool:
        with self._lock:
            missing = not self._closed and self._size < self.settings.min_size
            self._size += missing
            return missing

    def _fill_place(self) -> bool:
        """Open a connection for :attr:`min_size`; return whether that went well."""
        deadline = monotonic() + self.settings.connect_timeout
        level = logging.WARNING if self._min_size_kept else logging.DEBUG  # once
        try:
            connection = self._open(deadline)
        except Exception as error:
            if server_full(error):
                self._vacate()
            logger.log(level, "cannot keep min_size: %s", error)
            self._min_size_kept = False
            return False
        self._min_size_kept = True
        if reason := self._store(connection, monotonic()):
            self._close(connection, reason)
        return True

    def _report_leaks(self, now: float) -> float:
        """Report each holder once that has held for too long; return the seconds until
        the next one has to be looked at.
        """
        limit = self.settings.leak_after
        lent = self._lent.copy()
        for lease in self._reported.keys() - lent.keys():
            holder = self._reported.pop(lease)
            logger.warning("pool %r: returned after all by %s", self.name, holder)
        if not limit:
            return float("inf")
        soonest = limit / 2 if self._reported else limit
        for lease, connection in lent.items():
            held = now - connection.lent_at
            if held < limit:
                soonest = min(soonest, limit - held)
            elif lease not in self._reported:
                report = leak_report(connection, now)
                self._reported[lease] = who(connection)
                with self._lock:
                    self._leaks += 1
                text = "pool %r: a connection is held for %.0f s by %s"
                logger.warning(text, self.name, held, report)
        return soonest

    def _close_all(self, connections: list[Connection]) -> None:
        deadline = monotonic() + FAREWELL
        for connection in connections:
            connection.quit(deadline)

    def _be_of_this_process(self) -> None:
        if self._pid != getpid():  # where the fork ran no hooks of Python's
            self._start_over()

    def _start_over(self) -> None:
        """Begin anew in a forked child; what was inherited is closed without a byte
        to the server, whose sessions belong to the parent.
        """
        with _start_over_lock:
            if self._pid == getpid():
                return
            inherited = [*self._idle_cache, *self._settling, *self._lent.values()]
            closed = self._closed
            self._clear()
            self._closed = closed
            self._lost.clear()
            self._reported.clear()
            self._used = False
            self._pid = getpid()
        for connection in inherited:
            connection.abandon()


_start_over_lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _start_over_lock
    _start_over_lock = threading.Lock()
    for pool in list(_pools):
        pool._start_over()


def _at_exit() -> None:
    for pool in list(_pools):
        if pool._pid == getpid():
            pool.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
