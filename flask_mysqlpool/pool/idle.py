"""The connections of a pool that nobody holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .entry import PoolEntry

# Seconds after its return within which a connection is lent after the others: the reply
# to its reset may still be on its way.
RESET_REPLY_GRACE = 0.01

Closing = list[tuple[PoolEntry, str]]  # what must be closed, and why


class IdleEntries(list[PoolEntry]):
    """Idle connections; the last to come back is the first to go, so that the pool
    shrinks when the load does.

    Those whose reset is under way are in :attr:`settling` for a moment and not in the
    list.
    """

    __slots__ = ("settling",)

    def __init__(self) -> None:
        self.settling: deque[PoolEntry] = deque()

    @property
    def total(self) -> int:
        return len(self) + len(self.settling)

    def everything(self) -> list[PoolEntry]:
        return [*self, *self.settling]

    def promote_settled(self, now: float) -> None:
        """Put what has settled by now to the others."""
        settling = self.settling
        while settling and settling[0].idle_since + RESET_REPLY_GRACE <= now:
            self.append(settling.popleft())

    def pop_any(self) -> PoolEntry:
        return self.pop() if self else self.settling.popleft()

    def empty(self, reason: str) -> Closing:
        """Remove all."""
        gone = [(entry, reason) for entry in self.everything()]
        self.clear()
        self.settling.clear()
        return gone

    def remove_oldest(self, count: int, reason: str) -> Closing:
        """Remove so many, those that came back first."""
        self.promote_settled(float("inf"))
        gone = [(entry, reason) for entry in self[: max(0, count)]]
        del self[: len(gone)]
        return gone

    def remove_where(self, reason: Callable[[PoolEntry], str]) -> Closing:
        """Remove those for which there is a reason."""
        kept, gone = [], []
        for entry in self:
            if why := reason(entry):
                gone.append((entry, why))
            else:
                kept.append(entry)
        self[:] = kept
        return gone
