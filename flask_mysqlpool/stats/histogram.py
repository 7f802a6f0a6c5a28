"""Histograms of durations, for percentiles with a known error."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

from . import received

# Eight buckets to each power of two: a percentile is off by 1/16 at most.
_SIZE = 304  # up to 2**40 microseconds, twelve days; longer ones go into the last


class Histogram:
    """Durations, counted in buckets. The buckets are the same in every process, so that
    histograms add up without loss.
    """

    __slots__ = ("counts", "max")

    def __init__(self) -> None:
        self.counts = [0] * _SIZE
        self.max = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration. A negative one counts as 0: a clock may go back."""
        micros = int(seconds * 1e6)
        if micros > 15:
            shift = micros.bit_length() - 4
            index = (shift << 3) + (micros >> shift)
            self.counts[index if index < _SIZE else -1] += 1
        elif micros > 0:
            self.counts[micros] += 1
        else:
            self.counts[0] += 1
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
        """The number of durations."""
        return sum(self.counts)

    @property
    def sum(self) -> float:
        """The sum of all durations, in seconds, with an error of 1/16 at most."""
        middles = (_middle(i) * count for i, count in enumerate(self.counts) if count)
        return sum(middles) / 1_000_000

    @property
    def mean(self) -> float:
        """The mean, in seconds, with an error of 1/16 at most; 0 without any."""
        return self.sum / max(1, self.count)

    def buckets(self) -> Iterator[tuple[float, int]]:
        """Yield each bucket that is not empty: its exclusive end, in seconds, and the
        number of durations in it.
        """
        for index, count in enumerate(self.counts):
            if count:
                yield _start(index + 1) / 1_000_000, count

    def percentile(self, share: float) -> float:
        """Return the duration that ``share`` (0 to 1) of all do not exceed, in
        seconds, with an error of 1/16 at most; 0 without any.
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
        """Return a short form as JSON, for :meth:`unpack`."""
        filled = {str(i): count for i, count in enumerate(self.counts) if count}
        return {"counts": filled, "max": self.max}

    @classmethod
    def unpack(cls, packed: dict[str, t.Any]) -> Histogram:
        """Return what another process packed.

        :raise AttributeError, LookupError, TypeError, ValueError: it is no histogram.
        """
        histogram = cls()
        for index, count in packed["counts"].items():
            histogram.counts[int(index)] = received.count(count)
        histogram.max = received.seconds(packed["max"])
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
