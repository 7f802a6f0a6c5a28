"""The state of a pool: its places, who holds them and who waits for one.

Rule: state changes under the lock, and nothing here waits, talks to a server or reads
a clock. Whoever frees a place hands it to the first in line. What must be closed is
returned to the caller, who closes it outside the lock.

A place is idle, lent to a handle, or reserved by somebody who opens a connection in
it. The size is the number of these, so that no interrupt can leave a place behind.
"""

from __future__ import annotations

import threading
import typing as t
from collections.abc import Callable
from weakref import ref

from ..config.settings import Settings
from ..errors import PoolClosed
from ..errors import PoolFull
from ..stats.holders import StackEntry
from ..stats.readings import PoolStats
from .counters import Counters
from .dropped import Dropped
from .entry import ExpiryPolicy
from .entry import PoolEntry
from .idle import Closing
from .idle import IdleEntries
from .pooled_connection import Lender
from .pooled_connection import PooledConnection
from .waiter import Request
from .waiter import Reservation
from .waiter import Reservations
from .waiter import Waiter
from .waiter import WaitQueue


class Slots:
    """The places of one pool. Handles return to :attr:`lender`. :attr:`on_need` is
    called when the housekeeper has something to do, by finalizers too.
    """

    def __init__(self, name: str, settings: Settings, policy: ExpiryPolicy) -> None:
        self.name = name
        self.min_size = settings.min_size
        self.max_size = settings.max_size
        self.policy = policy
        self.closed = False
        self._max_waiting = settings.max_waiting
        self._timeout = settings.timeout
        self.lender: Lender  # set by who is it
        self.on_need: Callable[[], None] = lambda: None
        self._number = 0  # of the connection opened last
        self._checkouts = 0  # goes on after a fork: the parent's ids mean nothing
        self._start()

    def clear(self) -> list[PoolEntry]:
        """Start anew, as a forked child does; return what there was. A thread that did
        not survive the fork may hold the lock.
        """
        inherited = self.entries()
        self._start()
        return inherited

    def _start(self) -> None:
        self.lock = threading.RLock()
        #: Whether this thread holds the lock: then it is a finalizer that asks.
        self.in_this_thread: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined]  # RLock has it
        self._idle = IdleEntries()
        self._settling = self._idle.settling
        self._lent: dict[int, PoolEntry] = {}  # by checkout
        self._opening = Reservations()
        self._waiters = WaitQueue()
        self._dropped = Dropped(lambda: self.on_need)
        self._noted = self._dropped.noted
        self.dropped = self._dropped.note  # takes no lock
        self.shrunk = self.closed  # there may be more than there should be
        self.counters = Counters(self._checkouts)
        self._note_return = self.counters.note_return

    @property
    def size(self) -> int:
        """Connections lent, idle and being opened."""
        return len(self._lent) + self._idle.total + len(self._opening)

    def entries(self) -> list[PoolEntry]:
        return [*self.idle_entries(), *self._lent.values()]

    def idle_entries(self) -> list[PoolEntry]:
        return self._idle.everything()

    def lent_entries(self) -> list[PoolEntry]:
        """Return what is lent, the longest first. Takes no lock."""
        return sorted(self._lent.copy().values(), key=lambda entry: entry.lent_at)

    # Taking and giving back

    def take(
        self,
        now: float,
        holder: str,
        thread: ref[threading.Thread] | None,
        stack: tuple[StackEntry, ...],
    ) -> PooledConnection | Reservation | Waiter:
        """Lend an idle connection, or reserve a place, or enter the queue.

        :raise PoolClosed: the pool is closed.
        :raise PoolFull: the queue is.
        """
        grant: PooledConnection | Reservation | Waiter | None = None
        try:
            self.lock.acquire()  # on the hot path: `with` would take twice as long
            if self._noted:
                self._free_dropped(now)
            if self._settling:
                self._idle.promote_settled(now)
            if self._idle and not self._waiters:
                grant = self._lend(self._idle.pop(), now, holder, thread, stack)
            else:
                grant = self._queue_or_reserve(now, Request(now, holder, thread, stack))
            self.lock.release()
            return grant
        except BaseException:
            try:  # without a call before it: another interrupt could come after that
                self.lock.release()
            except RuntimeError:
                pass  # the interrupt came before it was acquired
            grant = None  # drops it: the traceback would keep what was granted
            raise

    def put_back(
        self, entry: PoolEntry, checkout_id: int, now: float, reason: str = ""
    ) -> str:
        """Take a connection back; return why it must be closed: empty where it goes on
        or that checkout has returned it already.

        :param reason: why it must be closed whatever the policy says.
        """
        try:
            self.lock.acquire()  # on the hot path, as in take()
            if self._lent.pop(checkout_id, None) is None:
                reason = ""
            else:
                self._note_return(entry, now)
                if (
                    reason
                    or self._waiters
                    or self.shrunk
                    or entry.session.pending_replies
                    or now >= entry.review_at
                ):
                    reason = self._admit(entry, now, reason)
                else:  # the common case, in fewer steps
                    entry.idle_since = now
                    self._idle.append(entry)
            self.lock.release()
        except BaseException:
            try:  # as in take()
                self.lock.release()
            except RuntimeError:
                pass
            raise
        return reason

    def _lend(
        self,
        entry: PoolEntry,
        now: float,
        holder: str,
        thread: ref[threading.Thread] | None,
        stack: tuple[StackEntry, ...],
    ) -> PooledConnection:
        self._checkouts = checkout_id = self._checkouts + 1
        entry.uses += 1
        entry.checkout_id = checkout_id
        entry.lent_at = now
        entry.holder = holder
        entry.thread = thread
        entry.stack = stack
        entry.session.last_statement = ""
        handle = PooledConnection(entry, checkout_id, self.lender)
        self._lent[checkout_id] = entry  # second: it never is without an owner
        return handle

    def _admit(self, entry: PoolEntry, now: float, reason: str) -> str:
        """Keep a connection that nobody holds, or return why it must be closed."""
        if entry.session.state.read_only:
            entry.session.state.read_only = False
            self.policy.note_read_only(self.next_number, self.entries(), now)
        if self.closed:
            reason = reason or "closed"
        elif self.shrunk:
            self.shrunk = self.size >= self.max_size  # it is not counted just now
            reason = reason or ("surplus" if self.shrunk else "")
        if reason := reason or self.policy.reason_at_return(entry, now):
            self.counters.closed[reason] += 1
        else:
            entry.idle_since = now
            if entry.session.pending_replies and not self._waiters:
                self._idle.settling.append(entry)
            else:
                self._idle.append(entry)
        self._wake_next(now)
        return reason

    def _queue_or_reserve(self, now: float, request: Request) -> t.Any:
        if self.closed:
            raise self._closed_error()
        self._wake_next(now)  # where an interrupt kept somebody from doing so
        if not self._waiters and self._has_room():
            return self._grant(request, now)
        self.counters.note_queued(now)
        if 0 < self._max_waiting <= len(self._waiters):
            text = f"{self._max_waiting} callers wait already (MYSQLPOOL_MAX_WAITING)"
            raise PoolFull(f"pool {self.name!r}: {text}", retry_after=self._timeout)
        waiter = Waiter(request, self.dropped)
        self._waiters.enter(waiter)
        return waiter

    def _wake_next(self, now: float) -> None:
        while self._waiters:
            waiter = self._waiters.first()
            if waiter is not None:  # else its caller dropped it
                if waiter.grant is None:  # else an interrupt came before the last line
                    if not self._has_room():
                        return
                    waiter.grant = self._grant(waiter.request, now)
                waiter.wake()
            self._waiters.popleft()

    def _has_room(self) -> bool:
        return bool(self._idle or self._settling or self.size < self.max_size)

    def _grant(self, request: Request, now: float) -> PooledConnection | Reservation:
        if self._idle or self._settling:
            return self._lend(self._idle.pop_any(), now, *request[1:])
        return self._opening.reserve(request, self.dropped)

    def leave(self, waiter: Waiter, now: float) -> t.Any:
        """Leave the queue; return what was handed over in the meantime, or nothing."""
        with self.lock:
            waiter.ended = True
            if waiter.grant is None:
                self._dropped.note_unowned(self._lent)
                self._free_dropped(now)
                self._wake_next(now)
                self._waiters.withdraw(waiter)
            return waiter.grant

    def requeue(
        self, reservation: Reservation, request: Request, now: float
    ) -> PooledConnection | Waiter:
        """Enter the queue with a place that cannot be filled now, before those who
        came later; where a connection is idle, exchange the place for it.

        The place stays reserved while its owner waits.

        :raise PoolClosed: the pool is closed.
        """
        with self.lock:
            if self.closed:
                raise self._closed_error()
            if self._idle.total and not self._waiters:
                self._opening.end(reservation)
                return self._lend(self._idle.pop_any(), now, *request[1:])
            waiter = Waiter(request, self.dropped)
            self._waiters.enter_before_later(waiter)
            if self._idle.total:  # an interrupt kept somebody from handing it over
                self._wake_next(now)
            return waiter

    def leave_if_first(self, waiter: Waiter) -> bool:
        """Leave the queue where the waiter is the first in line; return whether it
        was.
        """
        with self.lock:
            first = waiter.grant is None and self._waiters.first() is waiter
            if first:
                waiter.ended = True
                self._waiters.popleft()
            return first

    def number(self, reservation: Reservation) -> None:
        """Give the connection that is opened next its number."""
        with self.lock:
            self._number = reservation.number = self._number + 1

    def reserve_for_minimum(self) -> Reservation | None:
        """Reserve a place where the pool has fewer connections than its minimum."""
        with self.lock:
            if self.closed or self.size >= min(self.min_size, self.max_size):
                return None
            return self._opening.reserve(None, self.dropped)

    def fill(
        self, reservation: Reservation, entry: PoolEntry, request: Request, now: float
    ) -> PooledConnection:
        """Lend a connection that was opened in a reserved place."""
        with self.lock:
            self._note_opened(reservation, entry)
            return self._lend(entry, now, *request[1:])

    def store(self, reservation: Reservation, entry: PoolEntry, now: float) -> str:
        """Keep a connection that was opened in a reserved place; return why it must be
        closed, empty where it goes on.
        """
        with self.lock:
            self._note_opened(reservation, entry)
            return self._admit(entry, now, "")

    def _note_opened(self, reservation: Reservation, entry: PoolEntry) -> None:
        entry.review_at = self.policy.review_at(entry)
        self.counters.note_opened(entry)
        self._opening.end(reservation)

    def release(self, reservation: Reservation, now: float) -> None:
        """Give a reserved place back."""
        with self.lock:
            self._opening.end(reservation)
            self._wake_next(now)

    def replace(self, handle: PooledConnection, reason: str) -> Reservation:
        """Turn a checkout whose connection cannot be lent into a reserved place."""
        with self.lock:
            entry, checkout_id = handle.void()
            self._lent.pop(checkout_id, None)
            self.counters.closed[reason] += 1
            self.counters.rejected += 1
            request = Request(entry.lent_at, entry.holder, entry.thread, entry.stack)
            return self._opening.reserve(request, self.dropped)

    @property
    def next_number(self) -> int:
        return self._number + 1

    def limit(self, max_size: int) -> None:
        """Change the most connections; what is lent beyond that goes at its return."""
        self.max_size = max_size
        self.shrunk = True

    def shut(self) -> None:
        """Let nobody in any more: callers in the queue get :exc:`PoolClosed`."""
        self._waiters.refuse(self._closed_error)  # first: an interrupt may end this
        self.closed = self.shrunk = True

    def remove_idle(
        self, choose: Callable[[IdleEntries], Closing], now: float
    ) -> Closing:
        """Remove idle connections, and what was dropped, and return them.

        :param choose: removes connections from the idle ones.
        """
        with self.lock:
            self._dropped.note_unowned(self._lent)
            self._free_dropped(now)
            self._idle.promote_settled(now)
            gone = choose(self._idle)
            for _, reason in gone:
                self.counters.closed[reason] += 1
            self._wake_next(now)
            return gone + self._dropped.take_discarded()

    def discarded(self, now: float) -> Closing:
        """Free what was dropped and return what is not closed yet."""
        if not (self._noted or self._dropped.discarded):
            return []
        with self.lock:
            self._free_dropped(now)
            self._wake_next(now)
            return self._dropped.take_discarded()

    def snapshot(self, now: float, by_endpoint: bool = True) -> PoolStats:
        """Return a reading of the pool.

        :param by_endpoint: with what is counted by endpoint, histograms included.
        """
        with self.lock:
            reading = PoolStats(
                size=self.size,
                in_use=len(self._lent),
                idle=self._idle.total,
                waiting=len(self._waiters),
                min_size=self.min_size,
                max_size=self.max_size,
                oldest_wait_seconds=self._waiters.longest(now),
            )
            lent = self.lent_entries()
            self.counters.report(reading, self._checkouts, lent, now, by_endpoint)
        return reading

    def _closed_error(self) -> PoolClosed:
        text = f"pool {self.name!r} is closed"
        return PoolClosed(text, retry_after=self._timeout)

    def _free_dropped(self, now: float) -> None:
        for entry in self._dropped.remove_from(self._lent):
            self._note_return(entry, now)
            self.counters.closed["lost"] += 1
        self._opening.prune()
        self._waiters.prune()
