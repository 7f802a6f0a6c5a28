"""Metrics for Prometheus: the worker that is scraped reports all workers of the app.

Invariant: a scrape takes no connection and queries no server, only the workers'
sockets. A worker that does not answer delays it by a second, and is left out.
"""

from __future__ import annotations

import itertools
import logging
import typing as t
from collections.abc import Iterator

from flask import Flask

from ..context import folder_of
from ..control.client import ask_stats
from ..control.client import merged
from ..control.client import Reply
from ..stats.histogram import Histogram
from ..stats.readings import LOADED
from ..stats.readings import PoolStats
from .conventions import BOUNDS
from .conventions import CONVENTIONS
from .conventions import counts_within_bounds
from .conventions import Kind
from .conventions import Metric
from .conventions import POOL_NAME
from .conventions import pool_names
from .conventions import single

try:
    from prometheus_client.core import CounterMetricFamily
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.core import HistogramMetricFamily
    from prometheus_client.core import Metric as Family
    from prometheus_client.core import SummaryMetricFamily
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "flask_mysqlpool.metrics.prometheus needs prometheus_client:"
        " pip install 'flask-mysqlpool[prometheus]'"
    ) from error

logger = logging.getLogger(__name__)

WORKER = "worker"
_BOUNDS = [*map(str, BOUNDS), "+Inf"]
# All are reported from the start: Prometheus counts an increase only from a known 0.
_REASONS = "broken closed dead idle lifetime lost recycled surplus usage".split()

_OWN = (
    Metric(
        Kind.COUNTER,
        "flask_mysqlpool.checkouts",
        "{checkout}",
        "Connections checked out.",
        single(lambda stats: stats.checkouts),
    ),
    Metric(
        Kind.COUNTER,
        "flask_mysqlpool.queued",
        "{checkout}",
        "Checkouts that had to wait in the queue.",
        single(lambda stats: stats.queued),
    ),
    Metric(
        Kind.COUNTER,
        "flask_mysqlpool.opened",
        "{connection}",
        "Connections opened.",
        single(lambda stats: stats.opened),
    ),
    Metric(
        Kind.COUNTER,
        "flask_mysqlpool.closed",
        "{connection}",
        "Connections closed, by reason.",
        lambda stats: dict.fromkeys(_REASONS, 0) | stats.closed,
        "reason",
    ),
    Metric(
        Kind.COUNTER,
        "flask_mysqlpool.leaks",
        "{leak}",
        "Leak reports: connections held longer than MYSQLPOOL_LEAK_AFTER.",
        single(lambda stats: stats.leaks),
    ),
    Metric(
        Kind.UP_DOWN_COUNTER,
        "flask_mysqlpool.oldest_use",
        "s",
        "How long the oldest checkout has lasted.",
        single(lambda stats: stats.oldest_use_seconds),
    ),
    Metric(
        Kind.UP_DOWN_COUNTER,
        "flask_mysqlpool.oldest_wait",
        "s",
        "How long the first caller in the queue has waited.",
        single(lambda stats: stats.oldest_wait_seconds),
    ),
)
_ENDPOINTS = (
    Metric(
        Kind.SUMMARY,
        "flask_mysqlpool.endpoint_use",
        "s",
        "How long an endpoint held connections.",
        lambda stats: {
            name: each.use_seconds for name, each in stats.endpoints.items()
        },
        "endpoint",
    ),
    Metric(
        Kind.SUMMARY,
        "flask_mysqlpool.endpoint_wait",
        "s",
        "How long an endpoint took to get connections.",
        lambda stats: {
            name: each.wait_seconds for name, each in stats.endpoints.items()
        },
        "endpoint",
    ),
    Metric(
        Kind.COUNTER,
        "flask_mysqlpool.endpoint_timeouts",
        "{timeout}",
        "Checkouts of an endpoint that timed out.",
        lambda stats: {name: each.timeouts for name, each in stats.endpoints.items()},
        "endpoint",
    ),
)

_FAMILIES: dict[Kind, t.Any] = {
    Kind.UP_DOWN_COUNTER: GaugeMetricFamily,
    Kind.COUNTER: CounterMetricFamily,
    Kind.HISTOGRAM: HistogramMetricFamily,
    Kind.SUMMARY: SummaryMetricFamily,
}


class PoolCollector(Collector):
    """Collects the statistics of all workers of an app. Register it on a registry:
    ``registry.register(PoolCollector(app))``.

    :param app: an app that has its pools.
    :param endpoints: also report each endpoint, with five series for each endpoint,
        pool and worker.
    :raise NotInitializedError: the app has no pools.
    """

    def __init__(self, app: Flask, endpoints: bool = True) -> None:
        self._app = app
        # A visitor may choose what is loaded: no name of such a bind becomes a label.
        self._pool_names = pool_names(app) | {LOADED: LOADED}
        self._metrics = (*CONVENTIONS, *_OWN, *(_ENDPOINTS if endpoints else ()))

    def describe(self) -> Iterator[Family]:
        """Yield each metric without values, without asking the workers."""
        yield _workers({})
        yield from map(_family, self._metrics)

    def collect(self) -> Iterator[Family]:
        """Ask all workers; yield each metric. A worker that does not answer is left
        out.
        """
        replies = self._ask()
        workers = {
            pid: list(group)
            for pid, group in itertools.groupby(replies, lambda reply: reply.pid)
        }
        yield _workers(workers)
        readings = [
            ([self._pool_names[bind], str(pid)], stats)
            for pid, group in workers.items()
            for bind, stats in merged(group).items()
            if bind in self._pool_names
        ]
        for metric in self._metrics:
            family = _family(metric)
            for labels, stats in readings:
                _add(family, metric, labels, stats)
            yield family

    def _ask(self) -> list[Reply[PoolStats]]:
        try:
            return ask_stats(folder_of(self._app))
        except OSError as error:
            logger.warning("the workers cannot be asked: %s", error)
            return []


def _workers(workers: dict[int, list[Reply[PoolStats]]]) -> Family:
    family = GaugeMetricFamily(
        "flask_mysqlpool_workers",
        "Processes that use their pools, by whether they answered this scrape.",
        labels=["state"],
    )
    silent = sum(any(reply.error for reply in group) for group in workers.values())
    family.add_metric(["answering"], len(workers) - silent)
    family.add_metric(["silent"], silent)
    return family


def _family(metric: Metric) -> Family:
    """Return an empty family, named by OpenTelemetry's rules for Prometheus: dots
    become underscores, a unit in braces is dropped, any other is appended. The family
    itself adds ``_total`` to a counter.
    """
    labels = [POOL_NAME, WORKER, *filter(None, [metric.attribute])]
    return t.cast(
        Family,
        _FAMILIES[metric.kind](
            metric.name.replace(".", "_"),
            metric.description,
            labels=[label.replace(".", "_") for label in labels],
            unit="seconds" if metric.unit == "s" else "",
        ),
    )


def _add(family: t.Any, metric: Metric, common: list[str], stats: PoolStats) -> None:
    for own, value in metric.read(stats).items():
        labels = [*common, own] if metric.attribute else common
        if metric.kind is Kind.HISTOGRAM:
            family.add_metric(labels, _buckets(value), value.sum)
        elif metric.kind is Kind.SUMMARY:
            family.add_metric(labels, value.count, value.sum)
        else:
            family.add_metric(labels, value)


def _buckets(histogram: Histogram) -> list[tuple[str, int]]:
    counts = itertools.accumulate(counts_within_bounds(histogram))
    return list(zip(_BOUNDS, counts, strict=True))
