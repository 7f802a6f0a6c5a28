"""The pool's state: its places, who holds them and who waits for one.

The rule of this room: state changes under the lock, nothing here waits or talks to
the server, and whoever frees a place hands it to the first in line. What must be
closed is returned to the caller, who does it outside the lock.
"""

from __future__ import annotations

import threading
import typing as t
from collections import Counter
from collections import deque
from enum import Enum

import pymysql
from dbutils.pooled_db import PooledDB

from ..driver.session import Connection
from ..errors import PoolClosed
from ..errors import PoolFull
from ..stats.readings import EndpointStats
from ..stats.readings import Histogram
from ..stats.readings import PoolStats
from .circuit_breaker import Outage

# A connection that came back less than this ago, in seconds, may have the answer to
# its reset still on its way; others are lent first.
SETTLING = 0.01

# Holders that are counted apart.
MOST_ENDPOINTS = 200
OTHERS = "(others)"


class Place(Enum):
    """A reserved place in the pool: its owner opens a connection in it."""

    FREE = "free"


class Waiter:
    """A place in the queue, which is handed a connection, a place or an error."""

    __slots__ = ("_woken", "grant", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.grant: Connection | Place | Exception | None = None
        self._woken = threading.Lock()
        self._woken.acquire()

    def give(self, grant: Connection | Place | Exception) -> None:
        self.grant = grant
        self._woken.release()

    def wait(self, seconds: float) -> None:
        self._woken.acquire(timeout=max(0.0, seconds))


class Places(PooledDB):  # type: ignore[misc]  # DBUtils has no types
    """Connections idle, lent and being opened, within a maximum."""

    # The written contract with DBUtils. Its own lock, wait and failover are not used.
    _lock: t.Any
    _idle_cache: list[Connection]  # the last to come back is the first to go
    _connections: int  # those that are lent
    _maxconnections: int

    def __init__(self, name: str, max_size: int, max_waiting: int) -> None:
        super().__init__(creator=pymysql, mincached=0, maxconnections=max_size, ping=0)
        self.name = name
        self._max_waiting = max_waiting
        self._number = 0  # of the connection opened last
        self._oldest = 0  # number of the first that may still be lent
        self._leases = 0  # goes on after a fork: the parent's mean nothing here
        self._clear()

    def _clear(self) -> None:
        """Start without connections, callers or counts, as a new process does."""
        self._lock = threading.RLock()  # it knows its owner: see give_back()
        self._idle_cache = []
        self._settling: deque[Connection] = deque()  # reset under way, oldest first
        self._waiters: deque[Waiter] = deque()
        self._lent: dict[int, Connection] = {}
        self._connections = 0
        self._size = 0  # lent, idle, and reserved for one that is being opened
        self._unfit = self._leases  # that ended before the borrower had them
        self._told = 0  # checkouts, in the last reading
        self._timeouts = 0
        self._queued = 0
        self._queued_at: float | None = None  # the last one
        self._leaks = 0
        self._opened = 0
        self._closed_for: Counter[str] = Counter()
        self._endpoints: dict[str, EndpointStats] = {}
        self._creations = Histogram()
        self._outage = Outage()
        self._closed = False

    def _take(self, now: float) -> Connection | Place | Waiter:
        """Return an idle connection, or a free place, or a place in the queue.

        :raise PoolClosed: the pool is closed.
        :raise PoolFull: the queue is.
        """
        try:
            self._lock.acquire()  # on the hot path: `with` would take twice as long
            if self._settling:
                self._settle(now)
            grant: Connection | Place | Waiter
            if self._waiters or self._closed:
                grant = self._queue(now)
            elif self._idle_cache:
                grant = self._lend(self._idle_cache.pop(), now)
            elif self._settling:
                grant = self._lend(self._settling.popleft(), now)
            elif self._size < self._maxconnections:
                self._size += 1
                grant = Place.FREE
            else:
                grant = self._queue(now)
        except BaseException:
            self._unlock()
            raise
        self._lock.release()
        return grant

    def _unlock(self) -> None:
        """Let go of the lock, if the interrupt did not come before it was taken."""
        if self._lock._is_owned():
            self._lock.release()

    def _queue(self, now: float) -> Waiter:
        if self._closed:
            raise self._is_closed()
        self._queued += 1
        self._queued_at = now
        if 0 < self._max_waiting <= len(self._waiters):
            raise PoolFull(
                f"pool {self.name!r}: {self._max_waiting} callers wait for a"
                " connection already (MYSQLPOOL_MAX_WAITING)"
            )
        waiter = Waiter(now)
        self._waiters.append(waiter)
        return waiter

    def _leave_queue(self, waiter: Waiter) -> Connection | Place | Exception | None:
        """Leave the queue; return what was handed over in the meantime."""
        with self._lock:
            if waiter.grant is None:
                self._waiters.remove(waiter)
            return waiter.grant

    def _rejoin(self, since: float, now: float) -> Connection | Waiter:
        """Queue with a place in hand that cannot be filled now, before those who came
        later; where a connection is idle, exchange the place for it.
        """
        with self._lock:
            if self._closed:
                raise self._is_closed()
            idle = self._idle_cache or self._settling
            if idle:
                self._size -= 1
                return self._lend(idle.pop(), now)
            waiter = Waiter(since)
            earlier = sum(other.since < since for other in self._waiters)
            self._waiters.insert(earlier, waiter)
            return waiter

    def _is_next(self, waiter: Waiter) -> bool:
        """Return whether the waiter was the first in line; it leaves then."""
        with self._lock:
            if waiter.grant is None and self._waiters[0] is waiter:
                self._waiters.popleft()
                return True
            return False

    def _fill(self, connection: Connection, now: float) -> Connection:
        """Lend a connection that was opened in a reserved place."""
        with self._lock:
            self._admit(connection)
            return self._lend(connection, now)

    def _store(self, connection: Connection, now: float) -> str:
        """Put a connection that was opened in a reserved place to the others; return
        why it must be closed, empty where it goes on.
        """
        with self._lock:
            self._admit(connection)
            return self._accept(connection, now, "")

    def _admit(self, connection: Connection) -> None:
        self._outage.ended()
        self._opened += 1
        self._creations.add(connection.took)

    def _vacate(self) -> None:
        """Give back a reserved place."""
        with self._lock:
            self._size -= 1
            self._pass_on()

    def _exchange_for_place(self, connection: Connection, reason: str) -> None:
        """Turn a checkout whose connection is no good into a reserved place."""
        with self._lock:
            del self._lent[connection.lease]
            connection.lease = 0
            self._connections -= 1
            self._unfit += 1
            self._closed_for[reason] += 1

    def _accept_back(self, connection: Connection, now: float, reason: str) -> str:
        """Take a connection back that was lent; return why it must be closed, empty
        where it goes on.

        :param reason: why it must be closed whatever the pool thinks.
        """
        try:
            self._lock.acquire()  # on the hot path, as in _take()
            self._connections -= 1
            if connection.read_only:
                # Those opened later may have found the new primary.
                self._oldest = max(self._oldest, connection.number + 1)
            endpoint = self._endpoints.get(connection.holder)
            if endpoint is None:
                endpoint = self._endpoint(connection.holder)
            if connection.waited:
                endpoint.wait_seconds.add(connection.waited)
                connection.waited = 0.0
            else:
                endpoint.wait_seconds.counts[0] += 1
            endpoint.use_seconds.add(now - connection.lent_at)
            reason = self._accept(connection, now, reason)
        except BaseException:
            self._unlock()
            raise
        self._lock.release()
        return reason

    def _endpoint(self, holder: str) -> EndpointStats:
        """Return the counts of a holder."""
        if holder not in self._endpoints and len(self._endpoints) >= MOST_ENDPOINTS:
            holder = OTHERS
        return self._endpoints.setdefault(holder, EndpointStats())

    def _count_timeout(self, holder: str) -> None:
        with self._lock:
            self._timeouts += 1
            self._endpoint(holder).timeouts += 1

    def _accept(self, connection: Connection, now: float, reason: str) -> str:
        connection.lease = 0
        if (
            reason
            or now >= connection.expires_at
            or connection.uses >= connection.uses_allowed
            or connection.number < self._oldest
            or self._size > self._maxconnections
            or self._closed
        ):
            reason = reason or self._retirement(connection, now)
            self._closed_for[reason] += 1
            self._size -= 1
            self._pass_on()
            return reason
        connection.rested_at = now
        if self._waiters:
            self._waiters.popleft().give(self._lend(connection, now))
        elif connection.unanswered:
            self._settling.append(connection)
        else:
            self._idle_cache.append(connection)
        return ""

    def _retirement(self, connection: Connection, now: float) -> str:
        """Return why a connection that came back has to go."""
        if self._closed:
            return "closed"
        if self._size > self._maxconnections:
            return "surplus"
        return self._retirement_at_rest(connection, now) or "usage"

    def _lend(self, connection: Connection, now: float) -> Connection:
        self._leases = connection.lease = lease = self._leases + 1
        self._connections += 1
        connection.uses += 1
        connection.lent_at = now
        self._lent[lease] = connection  # last: it is read without the lock
        return connection

    def _pass_on(self) -> None:
        """Let the first in line open a connection where there is room for one."""
        while self._waiters and self._size < self._maxconnections:
            self._size += 1
            self._waiters.popleft().give(Place.FREE)

    def _settle(self, now: float) -> None:
        while self._settling and self._settling[0].rested_at + SETTLING <= now:
            self._idle_cache.append(self._settling.popleft())

    def _dismiss(self, now: float, min_size: int, max_idle: float) -> list[Connection]:
        """Remove the idle connections that have to go and return them: the old, and
        those above ``min_size`` that were idle for more than ``max_idle`` seconds.
        """
        with self._lock:
            self._settle(now)
            spare = self._size - min_size
            kept, gone = [], []
            for connection in self._idle_cache:
                reason = self._retirement_at_rest(connection, now)
                if not reason and spare > 0 and max_idle:
                    if now - connection.rested_at >= max_idle:
                        reason = "idle"
                if reason:
                    self._size -= 1
                    spare -= 1
                    self._closed_for[reason] += 1
                    gone.append(connection)
                else:
                    kept.append(connection)
            self._idle_cache[:] = kept
            self._pass_on()
            return gone

    def _retirement_at_rest(self, connection: Connection, now: float) -> str:
        if connection.number < self._oldest:
            return "recycled"
        return "lifetime" if now >= connection.expires_at else ""

    def _empty(self, reason: str) -> list[Connection]:
        """Remove all idle connections and return them."""
        gone = [*self._idle_cache, *self._settling]
        self._idle_cache.clear()
        self._settling.clear()
        self._size -= len(gone)
        self._closed_for[reason] += len(gone)
        return gone

    def _is_closed(self) -> PoolClosed:
        return PoolClosed(f"pool {self.name!r} is closed")

    def _numbers(self, now: float) -> PoolStats:
        """Return a reading without what is counted by endpoint."""
        with self._lock:
            lent, queue = list(self._lent.values()), self._waiters
            # One that is being checked may yet turn out to be none.
            self._told = max(self._told, self._leases - self._unfit)
            reading = PoolStats(
                size=self._size,
                in_use=self._connections,
                idle=len(self._idle_cache) + len(self._settling),
                waiting=len(self._waiters),
                max_size=self._maxconnections,
                checkouts=self._told,
                timeouts=self._timeouts,
                queued=self._queued,
                leaks=self._leaks,
                opened=self._opened,
                closed=dict(self._closed_for),
                create_seconds=self._creations.copy(),
                oldest_wait_seconds=max((now - w.since for w in queue), default=0.0),
                oldest_use_seconds=max((now - c.lent_at for c in lent), default=0.0),
            )
            if self._queued_at is not None:
                reading.exhausted_ago = 0.0 if queue else now - self._queued_at
        return reading

    def _reading(self, now: float) -> PoolStats:
        with self._lock:
            reading = self._numbers(now)
            lent = list(self._lent.values())
            counted = self._endpoints.items()
            reading.endpoints = {name: each.copy() for name, each in counted}
        for endpoint in reading.endpoints.values():
            endpoint.checkouts = endpoint.use_seconds.count
            reading.wait_seconds.merge(endpoint.wait_seconds)
            reading.use_seconds.merge(endpoint.use_seconds)
        for connection in lent:
            known = connection.holder in reading.endpoints
            full = len(reading.endpoints) >= MOST_ENDPOINTS
            name = OTHERS if full and not known else connection.holder
            reading.endpoints.setdefault(name, EndpointStats()).checkouts += 1
        return reading
