"""What owners dropped instead of giving it back.

Finalizers only note it here: they may run at any point, while the lock of the slots is
held too, so they take no lock.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable

from .entry import PoolEntry
from .idle import Closing


class Dropped:
    """The checkouts whose handles were dropped, and their connections until somebody
    closes them.

    :param on_need: returns what is to be called when something is noted.
    """

    def __init__(self, on_need: Callable[[], Callable[[], None]]) -> None:
        self.noted: deque[int] = deque()
        self._on_need = on_need
        self.discarded: Closing = []  # what is to be closed

    def note(self, checkout_id: int) -> None:
        """Take note of what its owner dropped. Takes no lock; may come twice."""
        self.noted.append(checkout_id)
        self._on_need()()

    def remove_from(self, lent: dict[int, PoolEntry]) -> list[PoolEntry]:
        """Remove what was dropped from what is lent, and return it."""
        removed = []
        while self.noted:
            entry = lent.pop(self.noted.popleft(), None)
            if entry is not None:
                removed.append(entry)
        self.discarded += [(entry, "lost") for entry in removed]
        return removed

    def note_unowned(self, lent: dict[int, PoolEntry]) -> None:
        """Take note of what is lent to nobody: a signal handler that raises can end
        even a finalizer before its first line.
        """
        counts = _reference_counts(lent)
        self.noted += [checkout for checkout, count in counts if count <= _UNOWNED]

    def take_discarded(self) -> Closing:
        """Return what is to be closed, once."""
        discarded, self.discarded = self.discarded, []
        return discarded


def _reference_counts(lent: dict[int, PoolEntry]) -> list[tuple[int, int]]:
    if not hasattr(sys, "getrefcount"):
        return []  # an interpreter that does not count references, as PyPy
    return [(checkout, sys.getrefcount(entry)) for checkout, entry in lent.items()]


# How many references there are to an entry that only the dictionary refers to.
_UNOWNED = max(
    (count for _, count in _reference_counts({0: PoolEntry(None, 0)})), default=0
)
