"""The nine metrics of OpenTelemetry's conventions for connection pools: their names,
and how each is read from :class:`PoolStats`.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import typing as t
from collections.abc import Callable
from enum import Enum

from flask import Flask

from ..context import pools_of
from ..stats.histogram import Histogram
from ..stats.readings import PoolStats
from ..stats.text import printable

POOL_NAME = "db.client.connection.pool.name"
STATE = "db.client.connection.state"

# Upper bounds in seconds. The conventions leave them to the implementation.
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

    UP_DOWN_COUNTER = "rises and falls; can be summed over processes"
    COUNTER = "only rises"
    HISTOGRAM = "durations in buckets"
    SUMMARY = "durations: their count and sum"


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric and how it is read.

    :param read: returns the values, by the value of ``attribute``.
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
    """Return a ``read`` function for a :class:`Metric` without attribute."""
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


def pool_names(app: Flask) -> dict[str, str]:
    """Return the pool name of each bind of the settings: ``host:port/database`` as the
    conventions propose. They want it unique: if an earlier bind has that name, ``#``
    and the bind follow.

    :raise NotInitializedError: the app has no pools.
    """
    names: dict[str, str] = {}
    for bind, pool in pools_of(app).configured.items():
        settings = pool.settings
        name = settings.unix_socket or _host_and_port(settings.host, settings.port)
        if settings.database:
            name += f"/{settings.database}"
        name = printable(name)
        names[bind] = f"{name}#{bind}" if name in names.values() else name
    return names


def _host_and_port(host: str | None, port: int | None) -> str:
    host = host or "localhost"
    return f"{f'[{host}]' if ':' in host else host}:{port or _DEFAULT_PORT}"


@functools.cache
def middle_of_bucket(index: int) -> float:
    """Return the seconds that each duration in a bucket of our histograms counts as."""
    histogram = Histogram()
    histogram.counts[index] = 1
    return histogram.sum


def counts_within_bounds(histogram: Histogram) -> list[int]:
    """Return the number of durations between each two :data:`BOUNDS`, the last one
    being those above all.
    """
    counts = [0] * (len(BOUNDS) + 1)
    for index, count in enumerate(histogram.counts):
        if count:
            counts[bisect.bisect_left(BOUNDS, middle_of_bucket(index))] += count
    return counts
