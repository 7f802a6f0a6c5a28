"""What OpenTelemetry is told: nine metrics of the pools of this process."""

from __future__ import annotations

import gc
import typing as t
import weakref
from collections.abc import Iterator

import flask
import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import Counter
from opentelemetry.sdk.metrics import Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.semconv import schemas
from opentelemetry.semconv._incubating.attributes import db_attributes
from opentelemetry.semconv._incubating.metrics import db_metrics

from flask_mysqlpool import MySQLPool
from flask_mysqlpool import NotInitializedError
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool.metrics import opentelemetry
from flask_mysqlpool.metrics.conventions import BOUNDS
from flask_mysqlpool.metrics.conventions import CONVENTIONS
from flask_mysqlpool.metrics.conventions import POOL_NAME
from flask_mysqlpool.metrics.conventions import STATE
from flask_mysqlpool.metrics.opentelemetry import instrument

from ..support.flask_apps import MakeApp
from ..support.forked_child import ForkedChild

# Python 3.12 and later warn of threads, which the parent here has.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

PREFIX = "db.client.connection."


class Collector:
    """A provider of the SDK with readers in memory."""

    def __init__(self, **options: t.Any) -> None:
        self.reader = InMemoryMetricReader(**options)
        self.other = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader, self.other], shutdown_on_exit=False)

    def collect(self, reader: t.Any = None) -> dict[str, t.Any]:
        """Return the metrics of a collection by name, without the prefix."""
        data = (reader or self.reader).get_metrics_data()
        if data is None:
            return {}
        ((scope,),) = [each.scope_metrics for each in data.resource_metrics]
        assert scope.scope.name == "flask_mysqlpool"
        return {
            metric.name.removeprefix(PREFIX): metric
            for metric in scope.metrics
            if metric.name.startswith(PREFIX)
        }

    def points(self, name: str) -> list[tuple[t.Any, t.Any]]:
        """Return the attributes and values of a metric; of durations, how many."""
        found = self.collect().get(name)
        points = found.data.data_points if found else []
        return [
            (each.attributes, getattr(each, "value", None) or getattr(each, "count", 0))
            for each in points
        ]

    def values(self, name: str, attribute: str = POOL_NAME) -> dict[str, t.Any]:
        """Return the values of a metric by one of its attributes."""
        return {attributes[attribute]: value for attributes, value in self.points(name)}

    def value(self, name: str) -> t.Any:
        ((_, value),) = self.points(name)
        return value

    def summary(self) -> dict[str, t.Any]:
        """Return the sum of each metric's values."""
        return {
            name: sum(value for _, value in self.points(name))
            for name in self.collect()
        }


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.provider.shutdown()


@pytest.fixture
def shop(make_app: MakeApp) -> flask.Flask:
    return make_app(max_size=2, min_size=1)


def pool(app: flask.Flask, bind: str = "default") -> t.Any:
    return app.extensions["mysqlpool"][bind]


def use(app: flask.Flask, times: int = 1) -> None:
    for _ in range(times):
        with pool(app).connection():
            pass


# As the conventions have them


def test_names_units_and_kinds_are_those_of_the_conventions(
    shop: flask.Flask, collector: Collector
) -> None:
    makers = {
        name: getattr(db_metrics, f"create_{constant.lower()}")
        for constant, name in vars(db_metrics).items()
        if constant.startswith("DB_CLIENT_CONNECTION_")
    }
    theirs = MeterProvider(shutdown_on_exit=False).get_meter("theirs")
    instrument(shop, collector.provider)
    use(shop)
    collected = collector.collect()
    assert {PREFIX + name for name in collected} == makers.keys()
    assert len(collected) == len(CONVENTIONS) == 9
    for name, make in makers.items():
        model, metric = make(theirs), collected[name.removeprefix(PREFIX)]
        assert (metric.name, metric.unit) == (model.name, model.unit)
        if isinstance(model, Histogram):
            (point,) = metric.data.data_points
            assert tuple(point.explicit_bounds) == BOUNDS
        else:
            assert metric.data.is_monotonic == isinstance(model, Counter)
    assert POOL_NAME == db_attributes.DB_CLIENT_CONNECTION_POOL_NAME
    assert STATE == db_attributes.DB_CLIENT_CONNECTION_STATE
    assert opentelemetry.SCHEMA in {schema.value for schema in schemas.Schemas}
    theirs_states = db_attributes.DbClientConnectionStateValues
    states = {state.value for state in theirs_states}
    assert collector.values("count", STATE).keys() == states


def test_numbers_are_those_of_the_pool(shop: flask.Flask, collector: Collector) -> None:
    instrument(shop, collector.provider)
    with pool(shop).connection(), pool(shop).connection():
        with pytest.raises(PoolTimeout):
            pool(shop).connection(timeout=0)
        assert collector.values("count", STATE) == {"idle": 0, "used": 2}
        assert collector.value("timeouts") == 1
        assert collector.value("create_time") == 2
        assert collector.values("use_time") == {}
    use(shop, 5)
    assert collector.summary() == {
        "count": 2,
        "idle.max": 2,
        "idle.min": 1,
        "max": 2,
        "pending_requests": 0,
        "timeouts": 1,
        "create_time": 2,
        "wait_time": 7,
        "use_time": 7,
    }


def test_histogram_is_the_pool_s_within_a_sixteenth(
    shop: flask.Flask, collector: Collector
) -> None:
    instrument(shop, collector.provider)
    for seconds in (0.0003, 0.0007, 0.02, 0.02, 3.0, 100.0):
        pool(shop)._slots.counters.connect_seconds.add(seconds)
    (point,) = collector.collect()["create_time"].data.data_points
    filled = [index for index, count in enumerate(point.bucket_counts) if count]
    assert filled == [
        BOUNDS.index(0.0005),
        BOUNDS.index(0.001),
        BOUNDS.index(0.025),
        BOUNDS.index(5.0),
        len(BOUNDS),
    ]
    assert point.bucket_counts[BOUNDS.index(0.025)] == 2
    assert point.sum == pytest.approx(103.041, rel=1 / 16)
    assert point.sum == pytest.approx(pool(shop).stats().create_seconds.sum)


def test_each_duration_is_recorded_once_for_each_reader(
    shop: flask.Flask, collector: Collector
) -> None:
    instrument(shop, collector.provider)
    use(shop, 3)
    for reader in (collector.reader, collector.other, collector.reader):
        (point,) = collector.collect(reader)["use_time"].data.data_points
        assert point.count == 3
    use(shop, 2)
    for reader in (collector.other, collector.reader):
        (point,) = collector.collect(reader)["use_time"].data.data_points
        assert point.count == 5


def test_reader_of_differences_gets_differences(shop: flask.Flask) -> None:
    delta = AggregationTemporality.DELTA
    collector = Collector(preferred_temporality={Histogram: delta})
    instrument(shop, collector.provider)
    use(shop, 3)
    assert collector.value("use_time") == 3
    use(shop, 2)
    assert collector.value("use_time") == 2
    assert collector.values("use_time") == {}
    collector.provider.shutdown()


# Apps, binds, providers


def test_binds_on_one_database_are_told_apart(
    make_app: MakeApp, collector: Collector
) -> None:
    app = make_app(max_size=7, binds={"reports": {"max_size": 3}})
    instrument(app, collector.provider)
    with pool(app, "reports").connection():
        pass
    settings = pool(app).settings
    name = f"{settings.host}:{settings.port}/{settings.database}"
    assert collector.values("max") == {name: 7, f"{name}#reports": 3}
    assert collector.values("use_time") == {f"{name}#reports": 1}


def test_second_app_is_reported_and_a_second_call_does_nothing(
    make_app: MakeApp, collector: Collector
) -> None:
    one, other = make_app(max_size=2), make_app(max_size=3, host="::1", port=1)
    for app in (one, other, one):
        instrument(app, collector.provider)
    use(one)
    assert sorted(collector.values("max").values()) == [2, 3]
    assert sum(collector.values("use_time").values()) == 1


def test_app_that_is_gone_is_reported_no_more(
    mysql_url: str, collector: Collector
) -> None:
    app: flask.Flask | None = flask.Flask("gone")
    assert app is not None
    app.config["MYSQLPOOL_URL"] = mysql_url
    MySQLPool(app)
    instrument(app, collector.provider)
    assert collector.value("max") == 10
    app = None
    gc.collect()
    assert collector.values("max") == {}


def test_global_provider_may_be_set_later(
    shop: flask.Flask,
    make_app: MakeApp,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opentelemetry, "_instruments", weakref.WeakKeyDictionary())
    internal = metrics._internal
    proxy = internal._ProxyMeterProvider()
    monkeypatch.setattr(internal, "_METER_PROVIDER", None)
    monkeypatch.setattr(internal, "_PROXY_METER_PROVIDER", proxy)
    instrument(shop)
    use(shop)
    proxy.on_set_meter_provider(collector.provider)
    assert collector.value("use_time") == 1
    monkeypatch.setattr(internal, "_METER_PROVIDER", collector.provider)
    second = make_app(max_size=7)
    instrument(second)
    assert collector.value("max") == 2 + 7, "of one name, so they are added up"


def test_app_without_pools_is_refused(collector: Collector) -> None:
    with pytest.raises(NotInitializedError):
        instrument(flask.Flask("bare"), collector.provider)


# What a collection does not do


def test_collection_takes_no_connection(
    shop: flask.Flask, collector: Collector
) -> None:
    instrument(shop, collector.provider)
    assert collector.value("max") == 2
    assert pool(shop).stats().opened == pool(shop).stats().checkouts == 0
    with pool(shop).connection(), pool(shop).connection():
        assert collector.values("count", STATE)["used"] == 2
        assert pool(shop).stats().checkouts == 2


def test_nothing_is_recorded_while_a_connection_is_used(
    shop: flask.Flask, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    instrument(shop, collector.provider)
    recorded: list[t.Any] = []
    consumer = collector.provider._measurement_consumer
    monkeypatch.setattr(consumer, "consume_measurement", recorded.append)
    use(shop, 3)
    assert recorded == []
    collector.collect()
    assert len(recorded) == 3 + 3 + 1  # waits, uses, one connection opened


# Across a fork


@pytest.mark.parametrize("collected", [False, True])
@pytest.mark.parametrize("set_later", [False, True])
def test_child_reports_its_own_pool(
    shop: flask.Flask, collector: Collector, collected: bool, set_later: bool
) -> None:
    def child() -> t.Any:
        before = collector.summary()
        use(shop, 2)
        return before, collector.summary()

    if set_later:
        proxy = metrics._internal._ProxyMeterProvider()
        instrument(shop, proxy)
        proxy.on_set_meter_provider(collector.provider)
    else:
        instrument(shop, collector.provider)
    use(shop, 5)
    if collected:
        assert collector.value("use_time") == 5
    before, after = ForkedChild(child).join()
    limits = {"idle.max": 2, "idle.min": 1, "max": 2}
    quiet = limits | {"count": 0, "pending_requests": 0, "timeouts": 0}
    times = {"create_time": 1, "wait_time": 2, "use_time": 2}
    assert before == quiet
    assert after == quiet | times | {"count": 1}
    use(shop)
    assert collector.value("use_time") == 6


def test_child_misses_nothing_from_before_its_first_collection(
    shop: flask.Flask, collector: Collector
) -> None:
    def child() -> t.Any:
        use(shop, 2)
        return collector.value("wait_time")  # most are 0, like those of the parent

    instrument(shop, collector.provider)
    use(shop, 5)
    assert collector.value("wait_time") == 5
    assert ForkedChild(child).join() == 2


def test_sdk_with_other_insides_is_left_alone() -> None:
    opentelemetry._drop_parent_measurements(object())
