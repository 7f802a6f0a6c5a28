"""Metrics for OpenTelemetry: each process exports those of its own pools.

Invariant: a request records nothing. Each collection reads the pools' statistics from
memory and records the durations that are new since the last one, because OpenTelemetry
does not accept ready-made histograms.
"""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t
import weakref
from collections.abc import Iterator

from flask import Flask

from ..context import pools_of
from ..stats.histogram import Histogram
from ..stats.readings import LOADED
from ..stats.readings import PoolStats
from .conventions import BOUNDS
from .conventions import CONVENTIONS
from .conventions import Kind
from .conventions import Metric
from .conventions import middle_of_bucket
from .conventions import POOL_NAME
from .conventions import pool_names

try:
    from opentelemetry import metrics
except ImportError as error:
    raise ImportError(
        "flask_mysqlpool.metrics.opentelemetry needs opentelemetry-api:"
        " pip install 'flask-mysqlpool[opentelemetry]'"
    ) from error

SCOPE = "flask_mysqlpool"
# The version of the conventions that defines the names.
SCHEMA = "https://opentelemetry.io/schemas/1.29.0"


def instrument(app: Flask, meter_provider: metrics.MeterProvider | None = None) -> None:
    """Report the pools of an app, in this process and in processes forked from it. A
    second call does nothing.

    :param app: an app that has its pools.
    :param meter_provider: default: the global one, which may be set later.
    :raise NotInitializedError: the app has no pools.
    """
    pools = pools_of(app)
    global_provider = metrics.get_meter_provider()
    provider = global_provider if meter_provider is None else meter_provider
    # Setting the global provider replaces the object, but it stays the global one.
    key = _GLOBAL if provider is global_provider else provider
    instruments = _instruments.get(key)
    if instruments is None:
        instruments = _instruments[key] = _Instruments(provider)
    for bind, name in pool_names(app).items():
        instruments.names[pools[bind]] = name
    instruments.names[pools.loaded] = LOADED


class _ReadablePool(t.Protocol):
    """What is reported: a pool whose statistics can be read."""

    def stats(self) -> PoolStats: ...


class _Instruments:
    """The nine instruments of a provider, and the pools that they report.

    All apps share them: a meter ignores an instrument that it has already.
    """

    def __init__(self, provider: metrics.MeterProvider) -> None:
        self.names: weakref.WeakKeyDictionary[_ReadablePool, str]
        self.names = weakref.WeakKeyDictionary()
        self._recorded: weakref.WeakKeyDictionary[_ReadablePool, dict[str, list[int]]]
        self._recorded = weakref.WeakKeyDictionary()
        self._pid = os.getpid()
        self._histograms: list[tuple[Metric, metrics.Histogram]] = []
        meter = provider.get_meter(SCOPE, schema_url=SCHEMA)
        for metric in CONVENTIONS:
            self._create(meter, metric)

    def _create(self, meter: metrics.Meter, metric: Metric) -> None:
        about = {"unit": metric.unit, "description": metric.description}
        if metric.kind is Kind.HISTOGRAM:
            histogram = meter.create_histogram(
                metric.name, explicit_bucket_boundaries_advisory=BOUNDS, **about
            )
            self._histograms.append((metric, histogram))
            return
        observe = functools.partial(self._observe, metric)
        if metric.kind is Kind.COUNTER:
            meter.create_observable_counter(metric.name, [observe], **about)
        else:
            meter.create_observable_up_down_counter(metric.name, [observe], **about)

    def _observe(
        self, metric: Metric, options: metrics.CallbackOptions
    ) -> Iterator[metrics.Observation]:
        if metric is CONVENTIONS[0]:  # the first to be observed in a collection
            self._record_durations()
        for _, name, stats in self._readings():
            for own, value in metric.read(stats).items():
                attributes = {POOL_NAME: name}
                if metric.attribute:
                    attributes[metric.attribute] = own
                yield metrics.Observation(value, attributes)

    def _readings(self) -> Iterator[tuple[_ReadablePool, str, PoolStats]]:
        for pool, name in list(self.names.items()):
            stats = pool.stats()
            if stats.max_size or stats.checkouts:  # else no pool was loaded
                yield pool, name, stats

    def _record_durations(self) -> None:
        """Record the durations that are new since the last collection."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._recorded.clear()
            _drop_parent_measurements(self._histograms[0][1])
        for pool, name, stats in self._readings():
            recorded = self._recorded.setdefault(pool, {})
            for metric, histogram in self._histograms:
                (durations,) = metric.read(stats).values()
                _record(histogram, durations, recorded.get(metric.name), name)
                recorded[metric.name] = durations.counts


def _record(
    histogram: metrics.Histogram,
    durations: Histogram,
    recorded: list[int] | None,
    name: str,
) -> None:
    attributes = {POOL_NAME: name}
    for index, count in enumerate(durations.counts):
        for _ in range(recorded[index] if recorded else 0, count):
            histogram.record(middle_of_bucket(index), attributes)


def _drop_parent_measurements(histogram: t.Any) -> None:
    """Drop the measurements of the parent process, which the SDK copies into a forked
    child and has no public way to reset. If another SDK keeps them elsewhere, the
    histograms of a child include those of its parent.
    """
    histogram = getattr(histogram, "_real_instrument", histogram)
    with contextlib.suppress(AttributeError):
        for storage in histogram._measurement_consumer._reader_storages.values():
            matches = storage._instrument_view_instrument_matches
            for known in list(matches):
                if known.instrumentation_scope == histogram.instrumentation_scope:
                    del matches[known]


class _Global:
    """The key of the global provider, whichever object that is."""


_GLOBAL = _Global()
_instruments: weakref.WeakKeyDictionary[metrics.MeterProvider | _Global, _Instruments]
_instruments = weakref.WeakKeyDictionary()
