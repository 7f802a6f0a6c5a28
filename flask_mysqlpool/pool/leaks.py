"""Who holds a connection, and who has held one for too long."""

from __future__ import annotations

import logging
import threading
import typing as t

from ..driver.lexemes import without_values
from ..driver.session_state import NO_BACKSLASH_ESCAPES
from ..stats.holders import current_stack
from ..stats.holders import format_stack
from ..stats.holders import Holder
from ..stats.holders import thread_name
from ..stats.text import printable
from .entry import PoolEntry

logger = logging.getLogger(__name__)


def who(entry: PoolEntry) -> str:
    """Return who holds a connection, in words."""
    thread = f"thread {thread_name(_thread_of(entry))}"
    return f"{printable(entry.holder)} in {thread}" if entry.holder else thread


def _thread_of(entry: PoolEntry) -> threading.Thread | None:
    return entry.thread() if entry.thread is not None else None


def holder_of(entry: PoolEntry, now: float, stacks: bool) -> Holder:
    """Return who holds a connection.

    :param stacks: with the current stack of its thread.
    """
    session = entry.session
    statement = session.last_statement
    if not isinstance(statement, str):  # of executemany()
        statement = bytes(statement).decode(session.encoding, "replace")
    backslashes = not session.status_before & NO_BACKSLASH_ESCAPES
    return Holder(
        seconds=now - entry.lent_at,
        holder=printable(entry.holder),
        thread=thread_name(_thread_of(entry)),
        statement=printable(without_values(statement, backslashes)),
        in_transaction=session.in_transaction,
        connection_id=t.cast(int, session.thread_id()),
        taken=format_stack(entry.stack),
        stands=current_stack(_thread_of(entry)) if stacks else [],
    )


def leak_report(entry: PoolEntry, now: float) -> str:
    """Return who holds a connection, what it was used for and both stacks."""
    holder = holder_of(entry, now, stacks=True)
    lines = [who(entry), f"last statement: {holder.statement or 'none'}"]
    for title, stack in (("checkout", holder.taken), ("current", holder.stands)):
        lines += [f"{title} stack:", *(f"  {place}" for place in stack or ["unknown"])]
    return "\n".join(lines)


class LeakReports:
    """Reports each holder once that has held a connection for too long.

    :param limit: in seconds; 0: report nobody.
    """

    def __init__(self, pool_name: str, limit: float) -> None:
        self._pool_name = pool_name
        self._limit = limit
        self._reported: dict[int, str] = {}  # by checkout

    def clear(self) -> None:
        self._reported.clear()

    def report(self, lent: list[PoolEntry], now: float) -> tuple[int, float]:
        """Report the holders that are new; return how many, and the seconds until the
        next one has to be looked at.
        """
        held = {entry.checkout_id: entry for entry in lent}
        for checkout_id in self._reported.keys() - held.keys():
            holder = self._reported.pop(checkout_id)
            logger.warning("pool %r: returned after all by %s", self._pool_name, holder)
        if not self._limit:
            return 0, float("inf")
        count, soonest = 0, self._limit / 2 if self._reported else self._limit
        for checkout_id, entry in held.items():
            seconds = now - entry.lent_at
            if seconds < self._limit:
                soonest = min(soonest, self._limit - seconds)
            elif checkout_id not in self._reported:
                report = leak_report(entry, now)
                self._reported[checkout_id] = who(entry)
                count += 1
                text = "pool %r: a connection is held for %.0f s by %s"
                logger.warning(text, self._pool_name, seconds, report)
        return count, soonest
