"""The nine metrics that OpenTelemetry's conventions have for a pool of connections:
their names, and how each is read from a pool's numbers.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import typing as t
from collections.abc import Callable
from enum import Enum

from ..config.settings import Settings
from ..pool.pools import Pools
from ..stats.histogram import Histogram
from ..stats.readings import PoolStats

POOL_NAME = "db.client.connection.pool.name"
STATE = "db.client.connection.state"

# Seconds. The conventions leave them to the implementation.
BOUNDS = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)

_DEFAULT_PORT = 3306


class Kind(Enum):
    """What the values of a metric are, in OpenTelemetry's words."""

    UP_DOWN_COUNTER = "goes up and down, and adds up over processes"
    COUNTER = "goes up only"
    HISTOGRAM = "durations in buckets"
    SUMMARY = "durations, their number and sum only"


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric and where it is found.

    :param read: gives the values by what the ``attribute`` is for them.
    """

    kind: Kind
    name: str
    unit: str
    description: str
    read: Callable[[PoolStats], dict[str, t.Any]]
    attribute: str = ""


def single(
    read: Callable[[PoolStats], t.Any],
) -> Callable[[PoolStats], dict[str, t.Any]]:
    """Make of a value what a :class:`Metric` reads where it has no attribute."""
    return lambda stats: {"": read(stats)}


CONVENTIONS = (
    Metric(
        Kind.UP_DOWN_COUNTER,
        "db.client.connection.count",
        "{connection}",
        "The number of connections that are currently in state described by the"
        " `state` attribute.",
        lambda stats: {"idle": stats.idle, "used": stats.in_use},
        STATE,
    ),
    Metric(
        Kind.UP_DOWN_COUNTER,
        "db.client.connection.idle.max",
        "{connection}",
        "The maximum number of idle open connections allowed.",
        single(lambda stats: stats.max_size),
    ),
    Metric(
        Kind.UP_DOWN_COUNTER,
        "db.client.connection.idle.min",
        "{connection}",
        "The minimum number of idle open connections allowed.",
        single(lambda stats: stats.min_size),
    ),
    Metric(
        Kind.UP_DOWN_COUNTER,
        "db.client.connection.max",
        "{connection}",
        "The maximum number of open connections allowed.",
        single(lambda stats: stats.max_size),
    ),
    Metric(
        Kind.UP_DOWN_COUNTER,
        "db.client.connection.pending_requests",
        "{request}",
        "The number of current pending requests for an open connection.",
        single(lambda stats: stats.waiting),
    ),
    Metric(
        Kind.COUNTER,
        "db.client.connection.timeouts",
        "{timeout}",
        "The number of connection timeouts that have occurred trying to obtain a"
        " connection from the pool.",
        single(lambda stats: stats.timeouts),
    ),
    Metric(
        Kind.HISTOGRAM,
        "db.client.connection.create_time",
        "s",
        "The time it took to create a new connection.",
        single(lambda stats: stats.create_seconds),
    ),
    Metric(
        Kind.HISTOGRAM,
        "db.client.connection.wait_time",
        "s",
        "The time it took to obtain an open connection from the pool.",
        single(lambda stats: stats.wait_seconds),
    ),
    Metric(
        Kind.HISTOGRAM,
        "db.client.connection.use_time",
        "s",
        "The time between borrowing a connection and returning it to the pool.",
        single(lambda stats: stats.use_seconds),
    ),
)


def pool_names(pools: Pools) -> dict[str, str]:
    """Return the name of each bind's pool, ``host:port/database`` as the conventions
    propose. Where an earlier bind has that name, ``#`` and the bind follow: the
    conventions want it unique.
    """
    names: dict[str, str] = {}
    for bind, pool in pools.items():
        name = _address(pool.settings)
        names[bind] = f"{name}#{bind}" if name in names.values() else name
    return names


def _address(settings: Settings) -> str:
    address = settings.unix_socket
    if address is None:
        host = settings.host or "localhost"
        shown = f"[{host}]" if ":" in host else host
        address = f"{shown}:{settings.port or _DEFAULT_PORT}"
    return f"{address}/{settings.database}" if settings.database else address


@functools.cache
def duration(index: int) -> float:
    """Return what a duration in a bucket of our histograms counts as: the middle of
    the bucket, in seconds.
    """
    histogram = Histogram()
    histogram.counts[index] = 1
    return histogram.sum


def counts_within_bounds(histogram: Histogram) -> list[int]:
    """Return how many durations lie between :data:`BOUNDS`, and above the last."""
    counts = [0] * (len(BOUNDS) + 1)
    for index, count in enumerate(histogram.counts):
        if count:
            counts[bisect.bisect_left(BOUNDS, duration(index))] += count
    return counts
