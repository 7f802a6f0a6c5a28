"""Plain numbers about a pool: what is counted, read and merged over processes."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Iterable
from collections.abc import Iterator

_R = t.TypeVar("_R", bound="Reading")
_P = t.TypeVar("_P", bound="PoolStats")

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

    def copy(self) -> Histogram:
        histogram = Histogram()
        histogram.counts = self.counts[:]
        histogram.max = self.max
        return histogram

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(self.counts)

    @property
    def sum(self) -> float:
        """All durations added up, in seconds, with an error of 1/16 at most."""
        middles = (_middle(i) * count for i, count in enumerate(self.counts) if count)
        return sum(middles) / 1_000_000

    @property
    def mean(self) -> float:
        """Their mean, in seconds, with an error of 1/16 at most; 0 of none."""
        return self.sum / max(1, self.count)

    def buckets(self) -> Iterator[tuple[float, int]]:
        """Yield each bucket that has something in it: its end, in seconds, which is
        no more in it, and how many durations are.
        """
        for index, count in enumerate(self.counts):
            if count:
                yield _start(index + 1) / 1_000_000, count

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


def _start(index: int) -> int:
    """Return where a bucket begins, in microseconds."""
    if index < 16:
        return index
    shift = (index >> 3) - 1
    return ((index & 7) + 8) << shift


def _middle(index: int) -> float:
    """Return the middle of a bucket, in microseconds."""
    return index if index < 16 else (_start(index) + _start(index + 1)) / 2


@dataclasses.dataclass
class Reading:
    """Numbers that add up over processes and go from one to another as JSON."""

    def as_dict(self) -> dict[str, t.Any]:
        """Return the numbers for people and JSON: percentiles for histograms."""
        return self._as_dict(Histogram.summary)

    def pack(self) -> dict[str, t.Any]:
        """Return all there is, for :meth:`unpack` in another process."""
        return self._as_dict(Histogram.pack)

    @classmethod
    def unpack(cls: type[_R], packed: dict[str, t.Any]) -> _R:
        reading = cls()
        for field in dataclasses.fields(cls):
            if isinstance(getattr(reading, field.name), Histogram):
                value = Histogram.unpack(packed[field.name])
                setattr(reading, field.name, value)
            elif field.name in packed:
                setattr(reading, field.name, packed[field.name])
        return reading

    def add(self: _R, other: _R) -> None:
        """Add another reading: counts are added up, histograms merged, of durations
        the longest is kept.
        """
        for field in dataclasses.fields(self):
            mine, its = getattr(self, field.name), getattr(other, field.name)
            if isinstance(mine, Histogram):
                mine.merge(its)
            elif isinstance(mine, dict):
                for name, value in its.items():
                    mine[name] = mine.get(name, 0) + value
            elif isinstance(mine, float):
                setattr(self, field.name, max(mine, its))
            elif isinstance(mine, int):
                setattr(self, field.name, mine + its)

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


@dataclasses.dataclass
class EndpointStats(Reading):
    """What one endpoint, command or other holder did with a pool.

    The histograms have the checkouts that came back, ``checkouts`` all.
    """

    checkouts: int = 0
    timeouts: int = 0
    wait_seconds: Histogram = dataclasses.field(default_factory=Histogram)
    use_seconds: Histogram = dataclasses.field(default_factory=Histogram)

    def copy(self) -> EndpointStats:
        return EndpointStats(
            self.checkouts,
            self.timeouts,
            self.wait_seconds.copy(),
            self.use_seconds.copy(),
        )


@dataclasses.dataclass
class PoolStats(Reading):
    """A reading of one pool, or of several that were merged.

    ``size`` is ``in_use`` + ``idle`` + the connections that are being opened. The
    counters start with the process, the histograms too. Durations are in seconds.
    ``queued`` counts the checkouts that found no place free, ``exhausted_ago`` tells
    when the last one did; ``leaks`` counts the leak reports.
    """

    size: int = 0
    in_use: int = 0
    idle: int = 0
    waiting: int = 0
    min_size: int = 0
    max_size: int = 0
    checkouts: int = 0
    timeouts: int = 0
    queued: int = 0
    leaks: int = 0
    opened: int = 0
    closed: dict[str, int] = dataclasses.field(default_factory=dict)
    wait_seconds: Histogram = dataclasses.field(default_factory=Histogram)
    use_seconds: Histogram = dataclasses.field(default_factory=Histogram)
    create_seconds: Histogram = dataclasses.field(default_factory=Histogram)
    oldest_wait_seconds: float = 0.0
    oldest_use_seconds: float = 0.0
    exhausted_ago: float | None = None  # None: never
    endpoints: dict[str, EndpointStats] = dataclasses.field(default_factory=dict)

    @classmethod
    def unpack(cls: type[_P], packed: dict[str, t.Any]) -> _P:
        reading = super().unpack(packed)
        packed_by_name = packed.get("endpoints", {}).items()
        reading.endpoints = {n: EndpointStats.unpack(p) for n, p in packed_by_name}
        return reading

    @classmethod
    def merged(cls, readings: Iterable[PoolStats]) -> PoolStats:
        """Return the sum: counts added up, histograms merged, the oldest kept."""
        total = cls()
        for reading in readings:
            total.add(reading)
        return total

    def add(self, other: PoolStats) -> None:
        moments = (self.exhausted_ago, other.exhausted_ago)
        endpoints, self.endpoints, self.exhausted_ago = self.endpoints, {}, None
        super().add(dataclasses.replace(other, endpoints={}, exhausted_ago=None))
        for name, each in other.endpoints.items():
            endpoints.setdefault(name, EndpointStats()).add(each)
        self.endpoints = endpoints
        known = [moment for moment in moments if moment is not None]
        self.exhausted_ago = min(known, default=None)

    def _as_dict(self, histogram: t.Callable[[Histogram], t.Any]) -> dict[str, t.Any]:
        numbers = super()._as_dict(histogram)
        numbers["endpoints"] = {
            name: each._as_dict(histogram) for name, each in self.endpoints.items()
        }
        return numbers
