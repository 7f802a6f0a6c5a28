"""A session's time in the pool, and the rule for when it ends."""

from __future__ import annotations

import random
import threading
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from weakref import ref

from ..config.settings import Settings
from ..stats.holders import StackEntry

EXPIRY_JITTER = 0.1  # lifetimes end up to this share early
READ_ONLY_PAUSE = 1.0  # seconds between two retirements because of a read-only server


class PoolEntry:
    """A session's time in the pool, and who holds it now."""

    __slots__ = (
        "checkout_id",
        "connect_seconds",
        "expires_at",
        "holder",
        "idle_since",
        "lent_at",
        "number",
        "review_at",
        "session",
        "stack",
        "thread",
        "uses",
        "waited",
    )

    def __init__(
        self,
        session: t.Any,
        number: int,
        expires_at: float = float("inf"),
        connect_seconds: float = 0.0,
    ) -> None:
        self.session = session
        self.number = number  # in the order of opening
        self.expires_at = expires_at
        self.connect_seconds = connect_seconds
        self.review_at = 0.0  # before that a return need not ask the policy
        self.uses = 0
        self.idle_since = 0.0
        # The checkout that holds it.
        self.checkout_id = 0  # 0: none
        self.lent_at = 0.0
        self.waited = 0.0  # seconds until the connection was lent
        self.holder = ""
        # Not the thread itself: it may refer to what it holds.
        self.thread: ref[threading.Thread] | None = None
        self.stack: tuple[StackEntry, ...] = ()  # of the checkout, innermost first


class ExpiryPolicy:
    """When a connection is retired, and when it must be asked before it is lent.

    Whoever holds the lock of the slots may call what changes it.
    """

    def __init__(self, settings: Settings) -> None:
        self.ping_after = settings.ping_after
        self._lifetime = settings.max_lifetime
        self._max_idle = settings.max_idle
        self._max_usage = settings.max_usage or float("inf")
        self.oldest = 0  # number of the first that may still be lent
        self._read_only_until = 0.0

    def expires_at(self, now: float) -> float:
        """Return when a connection that is opened now has to go."""
        if not self._lifetime:
            return float("inf")
        return now + self._lifetime * random.uniform(1 - EXPIRY_JITTER, 1)

    def reason(self, entry: PoolEntry, now: float) -> str:
        """Return why a connection has to go: ``"recycled"`` or ``"lifetime"``; empty
        where it may stay.
        """
        if entry.number < self.oldest:
            return "recycled"
        return "lifetime" if now >= entry.expires_at else ""

    def reason_at_return(self, entry: PoolEntry, now: float) -> str:
        """Return why a connection has to go that comes back: the same, or
        ``"usage"``.
        """
        used_up = "usage" if entry.uses >= self._max_usage else ""
        return self.reason(entry, now) or used_up

    def review_at(self, entry: PoolEntry) -> float:
        """Return when :meth:`reason_at_return` may have a reason at the earliest, as
        far as that is known now.
        """
        if entry.number < self.oldest or self._max_usage != float("inf"):
            return 0.0
        return entry.expires_at

    def chooser(self, spare: int, now: float) -> Callable[[PoolEntry], str]:
        """Return what tells of one idle connection after the other why it has to go:
        ``"recycled"``, ``"lifetime"``, or ``"idle"`` as long as there are spare ones.

        :param spare: connections above the minimum.
        """

        def reason(entry: PoolEntry) -> str:
            nonlocal spare
            why = self.reason(entry, now)
            if not why and spare > 0 and self._max_idle:
                why = "idle" if now - entry.idle_since >= self._max_idle else ""
            spare -= bool(why)
            return why

        return reason

    def needs_ping(self, entry: PoolEntry, now: float) -> bool:
        """Return whether the server must be asked before the connection is lent."""
        return now - entry.idle_since >= self.ping_after

    def lendable_at_once(self, entry: PoolEntry, now: float) -> bool:
        """Return whether a connection may be lent without an exchange. On the hot
        path: :meth:`reason` and :meth:`needs_ping` in one call.
        """
        session = entry.session
        return (
            now - entry.idle_since < self.ping_after
            and now < entry.expires_at
            and entry.number >= self.oldest
            and (not session.pending_replies or session.finish_rollback())
            and session.quiet()
        )

    def retire_before(self, number: int, entries: Iterable[PoolEntry]) -> None:
        """Retire the connections opened before the one of this number.

        :param entries: those that the pool has.
        """
        self.oldest = max(self.oldest, number)
        for entry in entries:
            entry.review_at = self.review_at(entry)

    def note_read_only(
        self, number: int, entries: Iterable[PoolEntry], now: float
    ) -> None:
        """Retire what was opened before a read-only server was seen: connections that
        are opened from now on may find the new primary. Where they find the old one
        still, they are retired no oftener than once in :data:`READ_ONLY_PAUSE`.

        :param number: that the next connection will have.
        :param entries: those that the pool has.
        """
        if now >= self._read_only_until:
            self._read_only_until = now + READ_ONLY_PAUSE
            self.retire_before(number, entries)
