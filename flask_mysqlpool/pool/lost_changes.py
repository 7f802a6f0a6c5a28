"""Warns of changes that nobody committed, which a return rolls back."""

from __future__ import annotations

import logging
from time import monotonic

from ..stats.readings import MAX_ENDPOINTS
from ..stats.text import printable
from .entry import PoolEntry
from .leaks import who

logger = logging.getLogger(__name__)

WARNING_PAUSE = 3600.0  # seconds between two warnings of one holder


class LostChanges:
    """Warns each holder of a pool once an hour, and the first :data:`MAX_ENDPOINTS`
    only.
    """

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self.told_until: dict[str, float] = {}  # by holder; pools may share it

    def warn(self, entry: PoolEntry) -> None:
        """Warn the holder that changes are being rolled back."""
        holder, now = entry.holder, monotonic()
        if holder not in self.told_until and len(self.told_until) >= MAX_ENDPOINTS:
            return
        if now < self.told_until.get(holder, 0.0):
            return
        self.told_until[holder] = now + WARNING_PAUSE
        logger.warning(
            "%s changed data in %r and did not commit: the changes were rolled back"
            " (CALL and stored functions count as changes); call commit() or write"
            " `with transaction():`, or rollback() if that was meant",
            printable(holder or who(entry)),
            self._pool,
        )
