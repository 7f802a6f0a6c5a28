"""Plain numbers about a pool: what is counted, read and merged over processes."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Iterable

# Eight buckets to each power of two: a percentile is off by 1/16 at most.
_SIZE = 304  # enough for 2**40 microseconds, twelve days; what is longer counts as that


class Histogram:
    """Durations in buckets of fixed, known width. The buckets are the same in every
    process, so that histograms add up without loss.
    """

    __slots__ = ("counts", "max")

    def __init__(self) -> None:
        self.counts = [0] * _SIZE
        self.max = 0.0

    def add(self, seconds: float) -> None:
        micros = int(seconds * 1_000_000)
        if micros < 16:
            self.counts[micros] += 1
        else:
            shift = micros.bit_length() - 4
            index = (shift << 3) + (micros >> shift)
            self.counts[index if index < _SIZE else -1] += 1
        if seconds > self.max:
            self.max = seconds

    def merge(self, other: Histogram) -> None:
        for index, count in enumerate(other.counts):
            if count:
                self.counts[index] += count
        self.max = max(self.max, other.max)

    def percentile(self, share: float) -> float:
        """Return the duration that ``share`` (0 to 1) of all do not exceed, in
        seconds, with an error of 1/16 at most; 0 where there are none.
        """
        wanted = share * sum(self.counts)
        seen = 0
        for index, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min(_middle(index) / 1_000_000, self.max)
        return 0.0

    def summary(self) -> dict[str, float]:
        return {
            "p50": round(self.percentile(0.50), 6),
            "p99": round(self.percentile(0.99), 6),
            "max": round(self.max, 6),
        }

    def pack(self) -> dict[str, t.Any]:
        """Return a short form for :meth:`unpack`."""
        filled = {str(i): count for i, count in enumerate(self.counts) if count}
        return {"counts": filled, "max": self.max}

    @classmethod
    def unpack(cls, packed: dict[str, t.Any]) -> Histogram:
        histogram = cls()
        for index, count in packed["counts"].items():
            histogram.counts[int(index)] = int(count)
        histogram.max = float(packed["max"])
        return histogram


def _middle(index: int) -> float:
    """Return the middle of a bucket, in microseconds."""
    if index < 16:
        return index
    shift = (index >> 3) - 1
    return ((index & 7) + 8 + 0.5) * (1 << shift)


@dataclasses.dataclass
class PoolStats:
    """A reading of one pool, or of several that were merged.

    ``size`` is ``in_use`` + ``idle`` + the connections that are being opened. The
    counters start with the process, the histograms too. Durations are in seconds.
    """

    size: int = 0
    in_use: int = 0
    idle: int = 0
    waiting: int = 0
    min_size: int = 0
    max_size: int = 0
    checkouts: int = 0
    timeouts: int = 0
    opened: int = 0
    closed: dict[str, int] = dataclasses.field(default_factory=dict)
    wait_seconds: Histogram = dataclasses.field(default_factory=Histogram)
    use_seconds: Histogram = dataclasses.field(default_factory=Histogram)
    oldest_wait_seconds: float = 0.0
    oldest_use_seconds: float = 0.0

    def as_dict(self) -> dict[str, t.Any]:
        """Return the numbers for people and JSON: percentiles for histograms."""
        return self._as_dict(Histogram.summary)

    def pack(self) -> dict[str, t.Any]:
        """Return all there is, for :meth:`unpack` in another process."""
        return self._as_dict(Histogram.pack)

    @classmethod
    def unpack(cls, packed: dict[str, t.Any]) -> PoolStats:
        known = {f.name for f in dataclasses.fields(cls)}
        values = {name: value for name, value in packed.items() if name in known}
        for name in ("wait_seconds", "use_seconds"):
            values[name] = Histogram.unpack(values[name])
        return cls(**values)

    @classmethod
    def merged(cls, readings: Iterable[PoolStats]) -> PoolStats:
        """Return the sum: counts added up, histograms merged, the oldest kept."""
        total = cls()
        for reading in readings:
            for field in dataclasses.fields(cls):
                mine, other = getattr(total, field.name), getattr(reading, field.name)
                if isinstance(mine, Histogram):
                    mine.merge(other)
                elif isinstance(mine, dict):
                    for reason, count in other.items():
                        mine[reason] = mine.get(reason, 0) + count
                elif isinstance(mine, float):
                    setattr(total, field.name, max(mine, other))
                else:
                    setattr(total, field.name, mine + other)
        return total

    def _as_dict(self, histogram: t.Callable[[Histogram], t.Any]) -> dict[str, t.Any]:
        numbers: dict[str, t.Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Histogram):
                value = histogram(value)
            elif isinstance(value, float):
                value = round(value, 6)
            numbers[field.name] = value
        return numbers
