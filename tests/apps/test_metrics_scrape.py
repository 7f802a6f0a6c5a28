"""Real scrapes: of gunicorn's workers, by a real Prometheus, for the dashboard."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import typing as t
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flask_mysqlpool.metrics.prometheus import PoolCollector

from ..support.flask_apps import MakeApp
from ..support.runtime_folders import short_folder
from ..support.waiting import wait_until
from ..support.web_servers import end
from ..support.web_servers import MODULE
from ..support.web_servers import Server
from ..support.web_servers import Site

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD = DOCS / "grafana" / "flask-mysqlpool.json"
REQUESTS = 60
METRICS = """

from prometheus_client import CollectorRegistry
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client import generate_latest
from flask_mysqlpool.metrics.prometheus import PoolCollector

registry = CollectorRegistry()
registry.register(PoolCollector(app))


@app.get("/metrics")
def metrics():
    headers = {"X-Worker": str(os.getpid()), "Content-Type": CONTENT_TYPE_LATEST}
    return generate_latest(registry), headers
"""


WORKERS = {
    "sync": (),
    "threads": ("--threads=2",),
    "gevent": ("--worker-class=gevent",),
    "preload": ("--threads=2", "--preload"),
}


@pytest.fixture
def server(
    request: pytest.FixtureRequest, tmp_path: Path, mysql_url: str
) -> Iterator[Server]:
    """Two workers of gunicorn with a view for Prometheus, both used, in all
    ``REQUESTS`` times or more.
    """
    options = WORKERS[getattr(request, "param", "threads")]
    with short_folder() as folder:
        site = Site(tmp_path, url=mysql_url, ssl_disabled=True, runtime_dir=folder)
        (tmp_path / "shop.py").write_text(MODULE + METRICS)
        with site.gunicorn("-w2", *options) as server:
            done = 0
            while done < REQUESTS or len(site.workers()) < 2:
                with ThreadPoolExecutor(4) as executor:
                    done += len(list(executor.map(server.get, ["/"] * 20)))
            server.requests = done  # type: ignore[attr-defined]
            yield server


def requests(server: Server) -> int:
    return t.cast(int, server.requests)  # type: ignore[attr-defined]


def address(server: Server) -> str:
    return f"127.0.0.1:{server._port}"


def scrape(server: Server) -> tuple[int, str]:
    """Return the process that answered, and what it said."""
    url = f"http://{address(server)}/metrics"
    with urllib.request.urlopen(url, timeout=20) as response:
        return int(response.headers["X-Worker"]), response.read().decode()


def by_worker(text: str, sample: str) -> dict[int, float]:
    return {
        int(found.labels["worker"]): found.value
        for family in text_string_to_metric_families(text)
        for found in family.samples
        if found.name == sample
    }


@pytest.mark.parametrize("server", WORKERS, indirect=True)
def test_whichever_worker_is_scraped_reports_all(server: Server) -> None:
    scraped: dict[int, dict[int, float]] = {}

    def both() -> bool:
        with ThreadPoolExecutor(4) as executor:
            for pid, text in executor.map(lambda _: scrape(server), range(4)):
                scraped[pid] = by_worker(text, "flask_mysqlpool_checkouts_total")
        return len(scraped) == 2

    wait_until(both, 20)
    one, other = scraped.values()
    assert one == other
    assert one.keys() == scraped.keys()
    assert sum(one.values()) == requests(server)


def test_hung_worker_is_left_out_and_comes_back(server: Server) -> None:
    before = by_worker(scrape(server)[1], "flask_mysqlpool_checkouts_total")
    hung, other = before
    os.kill(hung, signal.SIGSTOP)
    try:
        # The kernel may hand a request to the worker that hangs: those wait.
        with ThreadPoolExecutor(8) as executor:
            asked = [executor.submit(scrape, server) for _ in range(8)]
            wait_until(lambda: any(each.done() for each in asked))
            _, text = next(each for each in asked if each.done()).result()
            os.kill(hung, signal.SIGCONT)
    finally:
        os.kill(hung, signal.SIGCONT)
    assert by_worker(text, "flask_mysqlpool_checkouts_total") == {other: before[other]}
    assert 'flask_mysqlpool_workers{state="silent"} 1.0' in text
    after = by_worker(scrape(server)[1], "flask_mysqlpool_checkouts_total")
    assert after == before


def test_promtool_finds_nothing_but_what_the_conventions_name(server: Server) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool: apt-get install prometheus")
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=scrape(server)[1],
        capture_output=True,
        text=True,
        timeout=30,
    )
    found = {line.partition(" ")[0] for line in done.stderr.splitlines()}
    assert found == {"db_client_connection_count"}, done.stderr


class Prometheus:
    """A Prometheus server that scrapes one target each second."""

    def __init__(self, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}/api/v1/query"

    def ask(self, query: str) -> list[t.Any]:
        url = f"{self._api}?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=10) as response:
            answer = json.loads(response.read())
        assert answer["status"] == "success"
        return t.cast("list[t.Any]", answer["data"]["result"])

    def value(self, query: str) -> float | None:
        """Return the one value of a query, ``None`` where there is none."""
        results = self.ask(query)
        return float(results[0]["value"][1]) if results else None

    def answers(self) -> bool:
        try:
            return self.ask("vector(1)") != []
        except OSError:
            return False


@pytest.fixture
def prometheus(server: Server) -> Iterator[Prometheus]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("there is no Prometheus: apt-get install prometheus")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\n"
            "scrape_configs:\n"
            "- job_name: shop\n"
            f"  static_configs: [targets: ['{address(server)}']]\n"
        )
        process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        stack.callback(end, process)
        prometheus = Prometheus(port)
        wait_until(prometheus.answers, 20)
        yield prometheus


def examples() -> list[str]:
    """Return the queries of the documentation."""
    page = (DOCS / "metrics.rst").read_text()
    found = re.findall(r"\.\. code-block:: promql\n\n((?:   .*\n)+)", page)
    return [" ".join(each.split()) for each in found]


def queries() -> list[str]:
    """Return what the dashboard asks, for all jobs and pools."""
    found = re.findall(r'"expr": (".*")', DASHBOARD.read_text())
    return [
        json.loads(each)
        .replace("$__rate_interval", "1m")
        .replace("$job", ".*")
        .replace("$pool", ".*")
        for each in found
    ]


def test_prometheus_has_the_numbers_of_all_workers(
    server: Server, prometheus: Prometheus
) -> None:
    checkouts = "sum(flask_mysqlpool_checkouts_total)"
    wait_until(lambda: prometheus.value(checkouts) == requests(server), 20)
    assert prometheus.value("count(flask_mysqlpool_checkouts_total)") == 2
    assert prometheus.value("sum(db_client_connection_max)") == 20
    idle = 'db_client_connection_state="idle"'
    used = 'db_client_connection_state="used"'
    opened = prometheus.value("sum(flask_mysqlpool_opened_total)")
    assert prometheus.value(f"sum(db_client_connection_count{{{idle}}})") == opened
    assert prometheus.value(f"sum(db_client_connection_count{{{used}}})") == 0
    server.get()
    wait_until(lambda: prometheus.value(checkouts) == requests(server) + 1, 20)
    assert len(examples()) == 5
    for query in [*queries(), *examples()]:
        wait_until(lambda query=query: prometheus.ask(query), 20)  # type: ignore[misc]
    assert prometheus.value("up") == 1


# The dashboard


def test_dashboard_asks_for_what_is_reported(make_app: MakeApp) -> None:
    labels: dict[str, set[str]] = {}
    for family in PoolCollector(make_app()).describe():
        ours = {*getattr(family, "_labelnames", ()), "job", "le"}
        suffixes = {
            "counter": ["_total"],
            "histogram": ["_bucket", "_sum", "_count"],
            "summary": ["_sum", "_count"],
        }
        for suffix in suffixes.get(family.type, [""]):
            labels[family.name + suffix] = ours
    assert len(queries()) > 15
    for query in queries():
        selectors = re.findall(r"(\w+)\{([^}]*)\}", query)
        assert selectors, query
        grouped = set(re.findall(r"by \((\w+)\)", query))
        for name, selector in selectors:
            assert grouped | set(re.findall(r"(\w+)=", selector)) <= labels[name], query
    variables = re.findall(r"label_values\((\w+)[^,]*, (\w+)\)", DASHBOARD.read_text())
    assert len(variables) == 4
    assert all(label in labels[name] for name, label in variables)


def test_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    names = {each["name"] for each in dashboard["templating"]["list"]}
    variables = set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text()))
    assert variables - {"__rate_interval", "__all"} == names
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
