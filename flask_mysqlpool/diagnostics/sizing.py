"""What callers ask of a pool between two readings, and the size that this needs."""

from __future__ import annotations

import dataclasses
import math

from ..stats.histogram import Histogram
from ..stats.readings import PoolStats


@dataclasses.dataclass(frozen=True)
class Load:
    """What callers did in a while: checkouts a second, and how long each waited for
    its connection and held it on average.
    """

    rate: float
    wait: float
    hold: float

    @property
    def callers(self) -> float:
        """How many had or wanted a connection at once, on average: those who come in
        a second × the seconds that each stays (Little's law).
        """
        return self.rate * (self.wait + self.hold)

    def size(self, workers: int) -> int:
        """Return the size that each of so many workers needs for all these callers."""
        return max(1, math.ceil(round(self.callers / max(1, workers), 3)))

    @classmethod
    def between(
        cls, before: PoolStats, after: PoolStats, seconds: float
    ) -> Load | None:
        """Return the load; nothing where no connection was lent and returned."""
        checkouts = after.checkouts - before.checkouts
        returned = after.use_seconds.count - before.use_seconds.count
        if checkouts <= 0 or returned <= 0 or seconds <= 0:
            return None
        return cls(
            rate=checkouts / seconds,
            wait=_mean(before.wait_seconds, after.wait_seconds),
            hold=_mean(before.use_seconds, after.use_seconds),
        )


def longest_holder(reading: PoolStats) -> tuple[str, float]:
    """Return the endpoint that has held connections for longest in all, and its share
    of all the time that they were held.
    """
    held = {name: each.use_seconds.sum for name, each in reading.endpoints.items()}
    name = max(held, key=lambda name: held[name], default="")
    total = sum(held.values())
    return (name, held[name] / total) if total else ("", 0.0)


def _mean(before: Histogram, after: Histogram) -> float:
    count = after.count - before.count
    return max(0.0, after.sum - before.sum) / count if count > 0 else 0.0
