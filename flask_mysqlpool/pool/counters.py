"""What a pool counts. Whoever holds the lock of the slots may call it."""

from __future__ import annotations

from collections import Counter

from ..stats.histogram import Histogram
from ..stats.readings import EndpointStats
from ..stats.readings import MAX_ENDPOINTS
from ..stats.readings import PoolStats
from .entry import PoolEntry

OTHERS = "(others)"


class Counters:
    """Plain numbers: adding to them is all that the hot path does.

    :param checkouts_before: that are another process'.
    """

    def __init__(self, checkouts_before: int = 0) -> None:
        self.rejected = checkouts_before  # checkouts that reached no borrower
        self._reported = 0  # checkouts, in the last reading
        self.timeouts = 0
        self.queued = 0  # checkouts that found no place free
        self.queued_at: float | None = None  # the last of them
        self.leaks = 0  # reported
        self.opened = 0
        self.closed: Counter[str] = Counter()  # by reason
        self.connect_seconds = Histogram()
        self.endpoints: dict[str, EndpointStats] = {}

    def note_return(self, entry: PoolEntry, now: float) -> None:
        endpoint = self.endpoints.get(entry.holder)
        if endpoint is None:
            endpoint = self.endpoint(entry.holder)
        if entry.waited:
            endpoint.wait_seconds.add(entry.waited)
            entry.waited = 0.0
        else:
            endpoint.wait_seconds.counts[0] += 1
        endpoint.use_seconds.add(now - entry.lent_at)

    def note_timeout(self, holder: str) -> None:
        self.timeouts += 1
        self.endpoint(holder).timeouts += 1

    def note_queued(self, now: float) -> None:
        self.queued += 1
        self.queued_at = now

    def note_opened(self, entry: PoolEntry) -> None:
        self.opened += 1
        self.connect_seconds.add(entry.connect_seconds)

    def endpoint(self, holder: str) -> EndpointStats:
        """Return the counts of a holder; beyond :data:`MAX_ENDPOINTS` of them the
        others share one.
        """
        if holder not in self.endpoints and len(self.endpoints) >= MAX_ENDPOINTS:
            holder = OTHERS
        return self.endpoints.setdefault(holder, EndpointStats())

    def report(
        self,
        reading: PoolStats,
        checkouts: int,
        lent: list[PoolEntry],
        now: float,
        by_endpoint: bool,
    ) -> None:
        """Write to a reading what was counted.

        :param checkouts: the number of the last one.
        :param lent: the longest first.
        :param by_endpoint: with what is counted by endpoint, histograms included.
        """
        # One that is being validated may yet turn out to be rejected.
        self._reported = max(self._reported, checkouts - self.rejected)
        reading.checkouts = self._reported
        reading.oldest_use_seconds = now - lent[0].lent_at if lent else 0.0
        reading.timeouts = self.timeouts
        reading.queued = self.queued
        reading.leaks = self.leaks
        reading.opened = self.opened
        reading.closed = dict(self.closed)
        reading.create_seconds = self.connect_seconds.copy()
        if self.queued_at is not None:
            reading.exhausted_ago = 0.0 if reading.waiting else now - self.queued_at
        if by_endpoint:
            self._report_endpoints(reading, lent)

    def _report_endpoints(self, reading: PoolStats, lent: list[PoolEntry]) -> None:
        counted = self.endpoints.items()
        endpoints = reading.endpoints = {name: each.copy() for name, each in counted}
        for endpoint in endpoints.values():
            endpoint.checkouts = endpoint.use_seconds.count
            reading.wait_seconds.merge(endpoint.wait_seconds)
            reading.use_seconds.merge(endpoint.use_seconds)
        for entry in lent:  # it counts as a checkout already
            holder = entry.holder
            if holder not in endpoints and len(endpoints) >= MAX_ENDPOINTS:
                holder = OTHERS
            endpoints.setdefault(holder, EndpointStats()).checkouts += 1
