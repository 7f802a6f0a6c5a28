"""Which connections leave the pool before their holders or the server end them.

Rule: what leaves is returned to the caller, who closes it outside the lock.
"""

from __future__ import annotations

from .entry import ExpiryPolicy
from .idle import Closing
from .idle import IdleEntries
from .slots import Slots


class Retirement:
    """Retires the connections of one pool."""

    def __init__(self, slots: Slots, policy: ExpiryPolicy) -> None:
        self._slots = slots
        self._policy = policy

    def expire(self, now: float) -> Closing:
        """Remove the idle connections that have to go, and what was dropped."""

        def choose(idle: IdleEntries) -> Closing:
            spare = self._slots.size - self._slots.min_size
            return idle.remove_where(self._policy.chooser(spare, now))

        return self._slots.remove_idle(choose, now)

    def recycle(self, now: float) -> Closing:
        """Retire every connection: remove the idle ones; the lent follow at their
        return.
        """
        with self._slots.lock:
            self._policy.retire_before(self._slots.next_number, self._slots.entries())
            return self._slots.remove_idle(lambda idle: idle.empty("recycled"), now)

    def resize(self, max_size: int, now: float) -> Closing:
        """Change the most connections; remove the idle ones that are too many."""
        slots = self._slots
        with slots.lock:
            slots.limit(max_size)
            return slots.remove_idle(
                lambda idle: idle.remove_oldest(slots.size - max_size, "surplus"), now
            )

    def close_unused(self, now: float) -> Closing:
        """Close the pool as :meth:`close` does, if no connection is checked out or
        being opened and nobody waits.
        """

        def choose(idle: IdleEntries) -> Closing:
            reading = self._slots.snapshot(now, by_endpoint=False)
            if reading.size > reading.idle or reading.waiting:
                return []
            self._slots.shut()
            return idle.empty("closed")

        return self._slots.remove_idle(choose, now)

    def close(self, now: float) -> Closing:
        """Let nobody in any more; remove the idle connections."""
        with self._slots.lock:
            self._slots.shut()
            return self._slots.remove_idle(lambda idle: idle.empty("closed"), now)
