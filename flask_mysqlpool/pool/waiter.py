"""What a caller gets who cannot have a connection at once: a place in the queue, or a
reserved place in the pool to open one in.

The pool keeps no reference to either: what nobody holds any more has given up its
place.
"""

from __future__ import annotations

import contextlib
import threading
import typing as t
from collections import deque
from collections.abc import Callable
from weakref import ref

from ..stats.holders import StackEntry


class Request(t.NamedTuple):
    """Who wants a connection, since when: what a checkout notes of its caller."""

    since: float
    holder: str
    thread: ref[threading.Thread] | None
    stack: tuple[StackEntry, ...]  # innermost first


class Reservation:
    """A reserved place, in which its owner opens a connection.

    :param request: who wants the connection; ``None``: the pool itself.
    :param dropped: is called where the owner dropped it.
    """

    __slots__ = ("__weakref__", "_dropped", "ended", "number", "request")

    def __init__(self, request: Request | None, dropped: Callable[[int], None]) -> None:
        self.ended = False
        self.request = request
        self.number = 0  # of the connection that is opened in it
        self._dropped = dropped

    def __del__(self) -> None:
        if not self.ended:
            self._dropped(0)


class Waiter:
    """A place in the queue, which is handed a connection, a reservation or an error.

    :param dropped: is called where the caller dropped it.
    """

    __slots__ = ("__weakref__", "_dropped", "_woken", "ended", "grant", "request")

    def __init__(self, request: Request, dropped: Callable[[int], None]) -> None:
        self.ended = False
        self.request = request
        self.grant: t.Any = None  # a PooledConnection, a Reservation or an exception
        self._dropped = dropped
        self._woken = threading.Lock()
        self._woken.acquire()

    def __del__(self) -> None:
        if not self.ended:
            self._dropped(0)

    def wake(self) -> None:
        """Wake the caller, who finds :attr:`grant`; a second time does nothing."""
        try:
            self._woken.release()
        except RuntimeError:
            pass  # it is awake

    def wait(self, seconds: float) -> None:
        """Wait until something is handed over, for so many seconds at most."""
        self._woken.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX)))


class WaitQueue(deque["ref[Waiter]"]):
    """Those who wait, first come, first served."""

    def enter(self, waiter: Waiter) -> None:
        self.append(ref(waiter))

    def enter_before_later(self, waiter: Waiter) -> None:
        """Enter before those who asked later."""
        since = waiter.request.since
        earlier = sum(each.request.since < since for each in self.waiters())
        self.prune()
        self.insert(earlier, ref(waiter))

    def first(self) -> Waiter | None:
        """Return the first; ``None`` where its caller dropped it, or nobody waits."""
        return self[0]() if self else None

    def withdraw(self, waiter: Waiter) -> None:
        with contextlib.suppress(ValueError):
            self.remove(ref(waiter))

    def refuse(self, error: Callable[[], Exception]) -> None:
        """Remove all, who raise an error each."""
        for waiter in self.waiters():
            waiter.grant = error()
            waiter.wake()
        self.clear()

    def prune(self) -> None:
        """Remove those whose callers dropped them."""
        for dropped in [each for each in self if each() is None]:
            self.remove(dropped)

    def waiters(self) -> list[Waiter]:
        return [waiter for each in self if (waiter := each()) is not None]

    def longest(self, now: float) -> float:
        """Return the seconds that the longest wait lasts already."""
        return max((now - each.request.since for each in self.waiters()), default=0.0)


class Reservations(set["ref[Reservation]"]):
    """The reserved places."""

    def reserve(
        self, request: Request | None, dropped: Callable[[int], None]
    ) -> Reservation:
        reservation = Reservation(request, dropped)
        self.add(ref(reservation))
        return reservation

    def end(self, reservation: Reservation) -> None:
        reservation.ended = True
        self.discard(ref(reservation))

    def prune(self) -> None:
        """Remove those whose owners dropped them."""
        self.difference_update([each for each in self if each() is None])
