"""A line in the log for each checkout, wait and return.

Only the level of this logger itself switches it on: an app that logs at DEBUG is not
flooded, and the hot path has one number to look at.
"""

from __future__ import annotations

import logging
import typing as t

from ..stats.text import printable
from .entry import PoolEntry
from .pooled_connection import PooledConnection
from .waiter import Request

logger = logging.getLogger("flask_mysqlpool.checkouts")


def note_wait(pool: str, request: Request) -> None:
    logger.debug("pool %r: %s waits", pool, _named(request.holder))


def logged(pool: str, handle: PooledConnection) -> PooledConnection:
    """Return what is lent."""
    entry = t.cast(PoolEntry, handle.entry)
    text = "pool %r: connection %d lent to %s after %.6f s"
    logger.debug(text, pool, entry.number, _named(entry.holder), entry.waited)
    return handle


def note_returned(pool: str, entry: PoolEntry, now: float) -> None:
    text = "pool %r: connection %d returned by %s after %.6f s"
    holder, seconds = _named(entry.holder), now - entry.lent_at
    logger.debug(text, pool, entry.number, holder, seconds)


def _named(holder: str) -> str:
    return printable(holder) or "a caller"
