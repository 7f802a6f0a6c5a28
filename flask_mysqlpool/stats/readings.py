"""Numbers about pools, as they are read, sent as JSON and merged over processes."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable
from collections.abc import Iterable

from . import received
from .histogram import Histogram

MAX_ENDPOINTS = 200  # that a pool counts apart; the others share one name
LOADED = "(loaded)"  # under which all pools count together that are loaded on demand

Convert = Callable[[Histogram], t.Any]

_R = t.TypeVar("_R", bound="Reading")


@dataclasses.dataclass
class Reading:
    """Numbers that can be merged with those of other processes, and sent as JSON."""

    def as_dict(self) -> dict[str, t.Any]:
        """Return the numbers for people and JSON: percentiles for histograms."""
        return self.numbers(Histogram.summary)

    def pack(self) -> dict[str, t.Any]:
        """Return the numbers without loss, for :meth:`unpack` in another process."""
        return self.numbers(Histogram.pack)

    @classmethod
    def unpack(cls: type[_R], packed: dict[str, t.Any]) -> _R:
        """Return what another process packed.

        :raise AttributeError, LookupError, TypeError, ValueError: it is no reading.
        """
        reading = cls()
        for field in dataclasses.fields(cls):
            if field.name in packed or field.type == "Histogram":
                unpack = _UNPACK[str(field.type)]
                setattr(reading, field.name, unpack(packed[field.name]))
        return reading

    def add(self: _R, other: _R) -> None:
        """Add another reading: add counts up, merge histograms, keep the longest
        duration.
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

    def numbers(self, convert: Convert) -> dict[str, t.Any]:
        """Return the numbers by name, each histogram as ``convert`` makes it."""
        numbers: dict[str, t.Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Histogram):
                value = convert(value)
            elif isinstance(value, float):
                value = round(value, 6)
            numbers[field.name] = value
        return numbers


@dataclasses.dataclass
class EndpointStats(Reading):
    """The checkouts of one endpoint, command or other holder.

    ``checkouts`` counts all of them, the histograms only those that have ended.
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

    ``size`` is ``in_use`` + ``idle`` + the connections that are being opened. Counters
    and histograms start at 0 with the process. Durations are in seconds. ``queued``
    counts the checkouts that found no connection free, ``exhausted_ago`` is the time
    since the last of them; ``leaks`` counts the leak reports.
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
    def merged(cls, readings: Iterable[PoolStats]) -> PoolStats:
        """Return the total of several readings."""
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

    def numbers(self, convert: Convert) -> dict[str, t.Any]:
        numbers = super().numbers(convert)
        numbers["endpoints"] = {
            name: each.numbers(convert) for name, each in self.endpoints.items()
        }
        return numbers


def _endpoints(packed: dict[str, t.Any]) -> dict[str, EndpointStats]:
    if len(packed) > MAX_ENDPOINTS + 1:
        raise ValueError(f"{len(packed)} endpoints")
    return {
        received.text(name): EndpointStats.unpack(each) for name, each in packed.items()
    }


_UNPACK: dict[str, Callable[[t.Any], t.Any]] = {  # by the type of the field
    "int": received.count,
    "float": received.seconds,
    "float | None": lambda value: None if value is None else received.seconds(value),
    "dict[str, int]": received.counts,
    "dict[str, EndpointStats]": _endpoints,
    "Histogram": Histogram.unpack,
}
