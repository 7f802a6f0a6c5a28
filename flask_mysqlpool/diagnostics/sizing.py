"""Measures the demand on a pool between two readings, and the size that it needs."""

from __future__ import annotations

import dataclasses
import math

from ..stats.histogram import Histogram
from ..stats.readings import PoolStats


@dataclasses.dataclass(frozen=True)
class Demand:
    """What callers asked of a pool over some time: checkouts per second, and the
    average seconds that each waited for its connection and held it.
    """

    rate: float
    wait: float
    hold: float

    def __str__(self) -> str:
        return (
            f"{self.rate:.1f} checkouts/s wait {self.wait:.3f} s and hold"
            f" {self.hold:.3f} s on average: {self.callers:.1f} callers at once"
        )

    @property
    def callers(self) -> float:
        """The average number of callers that held or waited for a connection at
        once: the arrival rate × the seconds that each stayed (Little's law).
        """
        return self.rate * (self.wait + self.hold)

    def size(self, workers: int) -> int:
        """Return the pool size that each worker needs for all these callers."""
        return max(1, math.ceil(round(self.callers / max(1, workers), 3)))

    @classmethod
    def between(
        cls, before: PoolStats, after: PoolStats, seconds: float
    ) -> Demand | None:
        """Return the demand; None if no connection was checked out and returned."""
        checkouts = after.checkouts - before.checkouts
        returned = after.use_seconds.count - before.use_seconds.count
        if checkouts <= 0 or returned <= 0 or seconds <= 0:
            return None
        return cls(
            rate=checkouts / seconds,
            wait=_mean_between(before.wait_seconds, after.wait_seconds),
            hold=_mean_between(before.use_seconds, after.use_seconds),
        )


def longest_holder(reading: PoolStats) -> tuple[str, float]:
    """Return the endpoint that has held connections for the most time in total, and
    its share of the time of all endpoints.
    """
    held = {name: each.use_seconds.sum for name, each in reading.endpoints.items()}
    name = max(held, key=lambda name: held[name], default="")
    total = sum(held.values())
    return (name, held[name] / total) if total else ("", 0.0)


def _mean_between(before: Histogram, after: Histogram) -> float:
    count = after.count - before.count
    return max(0.0, after.sum - before.sum) / count if count > 0 else 0.0
