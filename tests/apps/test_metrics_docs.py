"""What the page about metrics says holds: its examples run, and its names exist."""

from __future__ import annotations

import re
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client import generate_latest

from flask_mysqlpool import get_db
from flask_mysqlpool.metrics.conventions import BOUNDS
from flask_mysqlpool.metrics.conventions import CONVENTIONS
from flask_mysqlpool.metrics.prometheus import PoolCollector

from ..support.flask_apps import MakeApp
from ..support.runtime_folders import short_folder
from .test_docs import EXAMPLE_URL
from .test_docs import examples

PAGE = Path(__file__).parents[2] / "docs" / "metrics.rst"


@pytest.fixture
def bank(mysql_url: str) -> Iterator[t.Any]:
    """The app of the page's examples."""
    with short_folder() as folder:
        url = f"{mysql_url}?ssl_disabled=1&runtime_dir={folder}"
        code = examples("docs/metrics.rst").replace(EXAMPLE_URL, url)
        names: dict[str, t.Any] = {"__name__": "bank"}
        exec(compile(code, PAGE, "exec"), names)
        yield names["app"]
        names["app"].extensions["mysqlpool"]["default"].close()


def shape(line: str) -> str:
    """Return a line of a scrape without what differs from one to another."""
    without_pool = re.sub(r'"[^"]*/\w+"', '"POOL"', line)
    return re.sub(r"\b\d+(\.\d+)?\b", "0", without_pool)


def test_examples_show_what_the_page_shows(bank: t.Any) -> None:
    with bank.app_context():
        get_db()
        pages = [
            bank.test_client().get(path) for path in ("/metrics", "/internal/metrics")
        ]
    (shown,) = re.findall(r"code-block:: text\n\n((?:   .*\n)+)", PAGE.read_text())
    for page in pages:
        assert page.content_type.startswith("text/plain; version=")
        seen = {shape(line) for line in page.text.splitlines()}
        for line in shown.splitlines():
            assert shape(line.strip()) in seen


def test_page_names_each_metric_once(make_app: MakeApp) -> None:
    collector = PoolCollector(make_app())
    suffixes = {"counter": "_total"}
    names = [f.name + suffixes.get(f.type, "") for f in collector.describe()]
    tables = PAGE.read_text().partition("\nNames\n-----\n")[2]
    named = re.findall(r"^   (?:\* -|   ) ``(\w[\w.]+)``$", tables, re.MULTILINE)
    assert sorted(named) == sorted([*names, *(metric.name for metric in CONVENTIONS)])


def test_page_has_the_bounds() -> None:
    text = PAGE.read_text().partition("Histograms have the bounds ")[2]
    milliseconds, _, seconds = text.partition(" s.")[0].partition(" ms")
    shown = [float(each) / 1000 for each in re.findall(r"[\d.]+", milliseconds)]
    shown += [float(each) for each in re.findall(r"\d+(?:\.\d)?", seconds)]
    assert tuple(shown) == BOUNDS


def test_page_counts_the_series(make_app: MakeApp) -> None:
    with short_folder() as folder:
        app = make_app(runtime_dir=str(folder))
        with app.app_context():
            get_db()
        with_endpoints, without = (
            sum(
                len(family.samples)
                for family in PoolCollector(app, endpoints=endpoints).collect()
            )
            for endpoints in (True, False)
        )
    of_workers = 2
    assert f"{without - of_workers} for each pool and worker" in PAGE.read_text()
    assert with_endpoints - without == 5


def test_collector_goes_with_the_client_s_own_way_for_processes(tmp_path: Path) -> None:
    code = """
import flask
from flask_mysqlpool import MySQLPool
from flask_mysqlpool.metrics.prometheus import PoolCollector
from prometheus_client import CollectorRegistry
from prometheus_client import Counter
from prometheus_client import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
app = flask.Flask("shop")
app.config["MYSQLPOOL_URL"] = "mysql://db"
app.config["MYSQLPOOL_RUNTIME_DIR"] = "/tmp/nobody"
MySQLPool(app)
registry = CollectorRegistry()
MultiProcessCollector(registry)
registry.register(PoolCollector(app))
Counter("sales", "Of the app's own.").inc()
print(generate_latest(registry).decode())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == ""
    assert "sales_total 1.0" in done.stdout
    assert 'flask_mysqlpool_workers{state="answering"} 0.0' in done.stdout


def test_registry_without_pools_used_says_so(make_app: MakeApp) -> None:
    registry = CollectorRegistry()
    with short_folder() as folder:
        registry.register(PoolCollector(make_app(runtime_dir=str(folder))))
        text = generate_latest(registry).decode()
    assert 'flask_mysqlpool_workers{state="answering"} 0.0' in text
    assert "worker=" not in text
