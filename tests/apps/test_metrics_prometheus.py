"""What Prometheus is told: all workers, in the conventions' names, at no cost."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import flask
import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families as parse

from flask_mysqlpool import get_db
from flask_mysqlpool import NotInitializedError
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool.context import folder_of
from flask_mysqlpool.metrics import prometheus
from flask_mysqlpool.metrics.conventions import BOUNDS
from flask_mysqlpool.metrics.conventions import counts_within_bounds
from flask_mysqlpool.metrics.conventions import pool_names
from flask_mysqlpool.metrics.opentelemetry import instrument
from flask_mysqlpool.metrics.prometheus import PoolCollector
from flask_mysqlpool.stats.histogram import Histogram

from ..support.flask_apps import MakeApp
from ..support.runtime_folders import short_folder
from ..support.waiting import wait_until

POOL = "db_client_connection_pool_name"
STATE = "db_client_connection_state"


class Scrape(dict[str, Family]):
    """The families of a scrape by name, as Prometheus' own text format has them."""

    def __init__(self, app: flask.Flask, **options: t.Any) -> None:
        registry = CollectorRegistry()
        registry.register(PoolCollector(app, **options))
        self.text = generate_latest(registry).decode()
        super().__init__((family.name, family) for family in parse(self.text))

    def values(self, sample: str, label: str = "") -> dict[str, float]:  # type: ignore[override]
        """Return the values of a sample by one of its labels."""
        return {
            found.labels.get(label, ""): found.value
            for family in super().values()
            for found in family.samples
            if found.name == sample
        }

    def value(self, sample: str) -> float:
        (value,) = self.values(sample).values()
        return value


@pytest.fixture
def shop(make_app: MakeApp) -> Iterator[flask.Flask]:
    """An app whose sockets are in a folder of their own, and which was used once."""
    with short_folder() as folder:
        app = make_app(max_size=2, min_size=1, runtime_dir=str(folder))
        use(app)
        yield app


def use(app: flask.Flask) -> None:
    with app.app_context(), get_db().cursor() as cursor:
        cursor.execute("SELECT 1")


def pool(app: flask.Flask, bind: str = "default") -> t.Any:
    return app.extensions["mysqlpool"][bind]


# Numbers


def test_numbers_are_those_of_the_pool(shop: flask.Flask) -> None:
    with pool(shop).connection(), pool(shop).connection():
        with pytest.raises(PoolTimeout):
            pool(shop).connection(timeout=0)
        scrape = Scrape(shop)
    pool(shop).recycle()
    assert scrape.values("db_client_connection_count", STATE) == {"idle": 0, "used": 2}
    assert scrape.value("db_client_connection_max") == 2
    assert scrape.value("db_client_connection_idle_max") == 2
    assert scrape.value("db_client_connection_idle_min") == 1
    assert scrape.value("db_client_connection_pending_requests") == 0
    assert scrape.value("db_client_connection_timeouts_total") == 1
    assert scrape.value("flask_mysqlpool_checkouts_total") == 3
    assert scrape.value("flask_mysqlpool_queued_total") == 1
    assert scrape.value("flask_mysqlpool_opened_total") == 2
    assert scrape.value("flask_mysqlpool_leaks_total") == 0
    assert scrape.value("db_client_connection_create_time_seconds_count") == 2
    assert scrape.value("db_client_connection_wait_time_seconds_count") == 1
    assert scrape.value("db_client_connection_use_time_seconds_count") == 1
    assert scrape.value("flask_mysqlpool_oldest_use_seconds") > 0
    again = Scrape(shop)
    reasons = scrape.values("flask_mysqlpool_closed_total", "reason")
    assert set(reasons.values()) == {0}
    closed = again.values("flask_mysqlpool_closed_total", "reason")
    assert closed == reasons | {"recycled": 2}
    assert again.value("db_client_connection_use_time_seconds_count") == 3
    assert again.value("flask_mysqlpool_oldest_use_seconds") == 0


def test_reasons_are_those_of_the_command_line() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.rst").read_text()
    table = page.partition("``closed``:")[2].partition(".. _")[0]
    rows = re.findall(r"^   \* - (.*)$", table, re.MULTILINE)
    reasons = {reason for row in rows for reason in row.split(", ")}
    assert reasons == set(prometheus._REASONS)


def test_waiting_caller_and_leak_are_seen(make_app: MakeApp) -> None:
    with short_folder() as folder:
        app = make_app(max_size=1, leak_after=0.05, runtime_dir=str(folder))
        with pool(app).connection():
            wait_until(lambda: Scrape(app).value("flask_mysqlpool_leaks_total") == 1)


def test_endpoints_are_told_apart(shop: flask.Flask) -> None:
    @shop.get("/slow")
    def slow() -> str:
        with get_db().cursor() as cursor:
            cursor.execute("SELECT SLEEP(0.05)")
        return ""

    for _ in range(3):
        shop.test_client().get("/slow")
    scrape = Scrape(shop)
    held = scrape.values("flask_mysqlpool_endpoint_use_seconds_sum", "endpoint")
    times = scrape.values("flask_mysqlpool_endpoint_use_seconds_count", "endpoint")
    waited = scrape.values("flask_mysqlpool_endpoint_wait_seconds_count", "endpoint")
    timeouts = scrape.values("flask_mysqlpool_endpoint_timeouts_total", "endpoint")
    assert times == waited == {"GET slow": 3, "outside a request": 1}
    assert timeouts == {"GET slow": 0, "outside a request": 0}
    assert held["GET slow"] > 0.14 > held["outside a request"]
    assert "endpoint" not in Scrape(shop, endpoints=False).text


def test_durations_are_counted_within_a_sixteenth_of_a_bound() -> None:
    def below(bound: float, seconds: float) -> bool:
        histogram = Histogram()
        histogram.add(seconds)
        return sum(counts_within_bounds(histogram)[: BOUNDS.index(bound) + 1]) == 1

    for bound in BOUNDS:
        assert below(bound, bound * 15 / 16 - 1e-6)
        assert not below(bound, bound * 17 / 16 + 1e-6)


def test_buckets_are_cumulative_and_end_with_all(shop: flask.Flask) -> None:
    for _ in range(20):
        use(shop)
    scrape = Scrape(shop)
    for name in ("create_time", "wait_time", "use_time"):
        sample = f"db_client_connection_{name}_seconds"
        buckets = scrape.values(f"{sample}_bucket", "le")
        assert [*buckets] == [*map(str, BOUNDS), "+Inf"]
        counts = list(buckets.values())
        assert counts == sorted(counts)
        assert counts[-1] == scrape.value(f"{sample}_count") > 0
    use_seconds = pool(shop).stats().use_seconds
    total = scrape.value("db_client_connection_use_time_seconds_sum")
    assert total == pytest.approx(use_seconds.sum)


# Names


def test_names_are_the_ones_that_opentelemetry_itself_makes(shop: flask.Flask) -> None:
    theirs = CollectorRegistry()
    reader = PrometheusMetricReader(
        registry=theirs, scope_info_enabled=False, disable_target_info=True
    )
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instrument(shop, provider)
    ours = {family.name: family for family in PoolCollector(shop).collect()}
    translated = list(theirs.collect())
    assert len(translated) == 9
    for family in translated:
        mine = ours[family.name]
        assert (mine.type, mine.unit, mine.documentation) == (
            family.type,
            family.unit,
            family.documentation,
        )
        assert [sample.name for sample in mine.samples] == [
            sample.name for sample in family.samples
        ]
        for one, other in zip(mine.samples, family.samples, strict=True):
            labels = dict(one.labels)
            del labels["worker"]
            assert labels == other.labels
            assert one.value == other.value
    provider.shutdown()


def test_pools_are_named_by_server_and_database(make_app: MakeApp) -> None:
    binds = {
        "reports": {"host": "replica", "port": 3307},
        "same": {},
        "socket": {"unix_socket": "/run/mysqld/mysqld.sock"},
        "six": {"host": "::1", "port": 3306, "database": "other"},
    }
    app = make_app(host="db", port=3306, database="bank", binds=binds)
    assert pool_names(app) == {
        "default": "db:3306/bank",
        "reports": "replica:3307/bank",
        "same": "db:3306/bank#same",
        "socket": "/run/mysqld/mysqld.sock/bank",
        "six": "[::1]:3306/other",
    }


def test_binds_on_one_database_are_told_apart(make_app: MakeApp) -> None:
    with short_folder() as folder:
        binds = {"reports": {"max_size": 3}}
        app = make_app(max_size=7, binds=binds, runtime_dir=str(folder))
        use(app)
        sizes = Scrape(app).values("db_client_connection_max", POOL)
    name, other = sizes
    assert other == f"{name}#reports"
    assert (sizes[name], sizes[other]) == (7, 3)


def test_text_can_be_read_in_both_formats(shop: flask.Flask) -> None:
    registry = CollectorRegistry()
    registry.register(PoolCollector(shop))
    generate: t.Any = openmetrics.generate_latest
    text = generate(registry).decode()
    parse: t.Any = openmetrics_parser.text_string_to_metric_families
    families = {family.name: family.type for family in parse(text)}
    described = {family.name: family.type for family in PoolCollector(shop).describe()}
    assert families == described
    assert pool(shop).settings.password not in text


# What a scrape does not do


def test_registration_asks_nobody_and_keeps_the_names(
    shop: flask.Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus, "ask_stats", lambda folder: pytest.fail("asked"))
    registry = CollectorRegistry()
    registry.register(PoolCollector(shop))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(PoolCollector(shop))


def test_scrape_takes_no_connection_and_opens_none(shop: flask.Flask) -> None:
    with pool(shop).connection(), pool(shop).connection():
        before = pool(shop).stats()
        began = time.monotonic()
        assert Scrape(shop).value("flask_mysqlpool_checkouts_total") == 3
        assert time.monotonic() - began < 1
        after = pool(shop).stats()
    assert (after.checkouts, after.opened, after.queued) == (
        before.checkouts,
        before.opened,
        before.queued,
    )


def test_scrape_works_where_the_database_cannot_be_reached(make_app: MakeApp) -> None:
    with short_folder() as folder:
        app = make_app(host="127.0.0.1", port=1, runtime_dir=str(folder))
        assert Scrape(app).values("flask_mysqlpool_workers", "state") == {
            "answering": 0,
            "silent": 0,
        }
        with app.app_context(), pytest.raises(PoolTimeout):
            get_db()
        scrape = Scrape(app)
        assert scrape.values("flask_mysqlpool_workers", "state")["answering"] == 1
        assert scrape.value("db_client_connection_timeouts_total") == 1


def test_silent_worker_costs_a_second_and_its_own_numbers(shop: flask.Flask) -> None:
    path = folder_of(shop) / "4194303.0.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        began = time.monotonic()
        scrape = Scrape(shop)
        assert 0.9 < time.monotonic() - began < 3
    states = scrape.values("flask_mysqlpool_workers", "state")
    assert states == {"answering": 1, "silent": 1}
    assert scrape.value("flask_mysqlpool_checkouts_total") == 1


def test_folder_that_is_open_to_others_fails_no_scrape(
    shop: flask.Flask, caplog: pytest.LogCaptureFixture
) -> None:
    folder_of(shop).chmod(0o755)
    states = Scrape(shop).values("flask_mysqlpool_workers", "state")
    assert states == {"answering": 0, "silent": 0}
    assert "the workers cannot be asked: " in caplog.text


def test_apps_of_one_name_in_a_process_are_added_up(
    shop: flask.Flask, make_app: MakeApp
) -> None:
    runtime_dir = str(folder_of(shop).parent)
    twin = make_app(runtime_dir=runtime_dir)
    use(twin)
    assert folder_of(twin) == folder_of(shop)
    assert len(list(folder_of(shop).iterdir())) == 2
    scrape = Scrape(shop)
    assert len(scrape["db_client_connection_max"].samples) == 1
    assert scrape.value("flask_mysqlpool_checkouts_total") == 2
    assert scrape.values("flask_mysqlpool_workers", "state")["answering"] == 1


def test_app_without_pools_is_refused() -> None:
    with pytest.raises(NotInitializedError):
        PoolCollector(flask.Flask("bare"))


# Without the extras

Run = Callable[..., str]


@pytest.fixture
def run_python() -> Run:
    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.stdout + done.stderr

    return run


@pytest.mark.parametrize(
    ("extra", "package"),
    [("prometheus", "prometheus_client"), ("opentelemetry", "opentelemetry-api")],
)
def test_missing_extra_is_named(run_python: Run, extra: str, package: str) -> None:
    module = package.partition("-")[0]
    code = f"""
import sys
sys.modules[{module!r}] = None
import flask_mysqlpool
print("imported")
import flask_mysqlpool.metrics.{extra}
"""
    first, *_, last = run_python(code).splitlines()
    assert first == "imported"
    assert last == (
        f"ImportError: flask_mysqlpool.metrics.{extra} needs {package}:"
        f" pip install 'flask-mysqlpool[{extra}]'"
    )


def test_package_imports_no_extra(run_python: Run) -> None:
    code = """
import sys
import flask_mysqlpool
loaded = {name.partition(".")[0] for name in sys.modules}
print(loaded & {"prometheus_client", "opentelemetry"})
"""
    assert run_python(code).strip() == "set()"
