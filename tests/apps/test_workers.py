"""``flask pool stats`` finds the processes that run, however they were started."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
import typing as t
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flask_mysqlpool.control.client import merged
from flask_mysqlpool.stats.readings import PoolStats

from ..support.runtime_folders import short_folder
from ..support.waiting import wait_until
from ..support.web_servers import APP
from ..support.web_servers import Server
from ..support.web_servers import Site


@pytest.fixture
def site(tmp_path: Path, mysql_url: str) -> Iterator[Site]:
    site = Site(tmp_path, url=mysql_url, ssl_disabled=True)
    yield site
    shutil.rmtree(site.runtime_folder, ignore_errors=True)


class Lock(t.NamedTuple):
    """A lock that the test holds and the view at ``/wait/NAME`` waits for."""

    name: str
    release: t.Callable[[], t.Any]


@pytest.fixture
def lock(mysql_server: t.Any, mysql_url: str) -> Iterator[Lock]:
    name = urlsplit(mysql_url).path.strip("/")
    with mysql_server.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT GET_LOCK(%s, 0)", (name,))
        assert cursor.fetchone() == (1,)
        yield Lock(name, lambda: cursor.execute("SELECT RELEASE_ALL_LOCKS()"))


def total(site: Site) -> PoolStats:
    return merged(site.workers().values()).get("default", PoolStats())


def load(server: Server, requests: int = 300) -> set[int]:
    """Make many requests from 8 threads; return the processes that answered."""
    with ThreadPoolExecutor(8) as executor:
        return set(executor.map(server.get, ["/"] * requests))


@pytest.mark.parametrize(
    "options",
    [("-w2",), ("-w2", "--threads=4"), ("-w2", "--preload")],
    ids=["sync", "threads", "preload"],
)
def test_each_checkout_under_load_is_counted(
    site: Site, options: tuple[str, ...]
) -> None:
    with site.gunicorn(*options) as server:
        assert site.workers() == {}  # a request without the database opens nothing
        pids = load(server)
        assert server.process.pid not in pids
        wait_until(lambda: total(site).in_use == 0)
        stats = site.stats()
        assert {worker["pid"] for worker in stats["workers"]} == pids
        assert all("error" not in worker for worker in stats["workers"])
        default = stats["totals"]["default"]
        assert default["checkouts"] == 300
        assert default["in_use"] == default["waiting"] == default["timeouts"] == 0
        assert default["size"] == default["idle"] == default["opened"] > 0
        assert default["max_size"] == 10 * len(pids)
        assert default["use_seconds"]["max"] >= default["use_seconds"]["p50"] > 0
        text = site.flask("pool", "stats").stdout
        assert all(str(pid) in text for pid in pids)
    assert list(site.runtime_folder.iterdir()) == []
    assert site.stats()["workers"] == []


def test_blocked_request_and_who_waits_for_it_are_seen(site: Site, lock: Lock) -> None:
    site.settings["max_size"] = 1
    with site.gunicorn("-w1", "--threads=4") as server, ThreadPoolExecutor() as pool:
        blocked = pool.submit(server.get, f"/wait/{lock.name}")
        try:
            wait_until(lambda: total(site).in_use == 1)
            waiting = pool.submit(server.get)
            wait_until(lambda: total(site).waiting == 1)
            held = total(site).oldest_use_seconds
            wait_until(lambda: total(site).oldest_use_seconds > held)
            default = site.stats()["totals"]["default"]
            assert (default["size"], default["in_use"], default["idle"]) == (1, 1, 0)
            assert default["waiting"] == 1
            assert default["oldest_use_seconds"] > held > 0
            assert 0 < default["oldest_wait_seconds"] < default["oldest_use_seconds"]
        finally:
            lock.release()
        assert blocked.result(20) == waiting.result(20)
        wait_until(lambda: total(site).in_use == 0)
        assert total(site).checkouts == 2
        assert total(site).wait_seconds.max >= held


def test_hung_worker_is_listed_as_not_answering(site: Site) -> None:
    with site.gunicorn("-w2") as server:
        wait_until(lambda: server.get() and len(site.workers()) == 2)
        hung, other = site.workers()
        os.kill(hung, signal.SIGSTOP)
        try:
            began = time.monotonic()
            worker = site.workers()[hung]
            assert time.monotonic() - began < 3
            assert worker.error == "not answering (timed out)"
            stats = site.stats()
            text = site.flask("pool", "stats").stdout
        finally:
            os.kill(hung, signal.SIGCONT)
        first, second = stats["workers"]
        expected = {"pid": hung, "binds": {}, "error": "not answering (timed out)"}
        assert expected in (first, second)
        assert {first["pid"], second["pid"]} == {hung, other}
        assert stats["totals"]["default"]["max_size"] == 10
        assert f"Worker {hung} is not answering (timed out)" in text
        assert "…" not in text
        wait_until(lambda: not site.workers()[hung].error)


def test_killed_worker_is_swept_and_its_successor_appears(site: Site) -> None:
    with site.gunicorn("-w1") as server:
        killed = server.get()
        assert set(site.workers()) == {killed}
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: killed not in site.workers(), 20)
        wait_until(lambda: _get_or_none(server) not in (None, killed), 20)
        (successor,) = site.workers()
        assert successor != killed
        (socket,) = site.runtime_folder.iterdir()
        assert socket.name.startswith(f"{successor}.")


def _get_or_none(server: Server) -> int | None:
    try:
        return server.get()
    except OSError:
        return None


def test_reloaded_process_appears_under_its_own_pid(site: Site) -> None:
    with site.flask_run("--debug") as server:
        before = server.get()
        assert before != server.process.pid
        assert set(site.workers()) == {before}
        app = site.folder / "shop.py"
        app.write_text(app.read_text() + "# changed\n")
        wait_until(lambda: _get_or_none(server) not in (None, before), 20)
        (after,) = site.workers()
        assert after == server.get() != before
        assert [worker["pid"] for worker in site.stats()["workers"]] == [after]


def test_one_app_is_found_however_it_was_started(site: Site, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(site.gunicorn("-w1")),
            stack.enter_context(site.gunicorn("-w1", app="create_app()")),
            stack.enter_context(site.flask_run()),
            stack.enter_context(site.run("shop.py")),
            stack.enter_context(site.run("-m", "shop")),
            stack.enter_context(site.run(str(site.folder / "shop.py"), cwd=Path("/"))),
        ]
        pids = {server.get() for server in servers}
        assert len(pids) == len(servers)
        elsewhere = {"app": str(site.folder / "shop.py"), "cwd": Path("/")}
        for options in ({}, elsewhere, {"app": "shop:create_app"}):
            stats = site.stats(**options)
            assert {worker["pid"] for worker in stats["workers"]} == pids
    assert site.workers() == {}


def test_package_with_a_factory_is_found(site: Site) -> None:
    with short_folder() as base:
        site.settings["runtime_dir"] = str(base)
        package = site.folder / "market"
        package.mkdir()
        (package / "__init__.py").write_text(APP)
        command = ("-m", "gunicorn", "--bind=127.0.0.1:0", "market:create_app()")
        with site.run(*command) as server:
            pid = server.get()
            stats = site.stats(app="market")
            assert [worker["pid"] for worker in stats["workers"]] == [pid]
            assert site.stats()["workers"] == []


def test_two_apps_in_one_folder_are_told_apart(site: Site) -> None:
    bank = Site(site.folder, "bank", **site.settings)
    try:
        with site.gunicorn("-w1") as one, bank.gunicorn("-w1") as other:
            pids = one.get(), other.get()
            assert [worker["pid"] for worker in site.stats()["workers"]] == [pids[0]]
            assert [worker["pid"] for worker in bank.stats()["workers"]] == [pids[1]]
    finally:
        shutil.rmtree(bank.runtime_folder, ignore_errors=True)


def test_runtime_dir_moves_the_sockets(site: Site) -> None:
    with short_folder() as base:
        site.settings["runtime_dir"] = str(base)
        with site.gunicorn("-w1") as server:
            pid = server.get()
            assert site.runtime_folder.parent == base
            assert site.runtime_folder.stat().st_mode & 0o777 == 0o700
            assert [worker["pid"] for worker in site.stats()["workers"]] == [pid]
            del site.settings["runtime_dir"]
            assert site.stats()["workers"] == []


def test_workers_are_shown_where_the_database_cannot_be_reached(site: Site) -> None:
    with site.gunicorn("-w1") as server:
        pid = server.get()
        json_there = site.flask("pool", "stats", "--json", host="127.0.0.1", port=1)
        text_there = site.flask("pool", "stats", host="127.0.0.1", port=1)
    assert json_there.returncode == text_there.returncode == 1
    stats = json.loads(json_there.stdout)
    assert [worker["pid"] for worker in stats["workers"]] == [pid]
    assert stats["server"]["default"]["error"].startswith("cannot connect: ")
    assert str(pid) in text_there.stdout
    assert text_there.stderr.startswith("Server of default: cannot connect: ")


def test_nobody_runs(site: Site) -> None:
    done = site.flask("pool", "stats")
    assert (done.returncode, done.stderr) == (0, "")
    first, *_, second = done.stdout.splitlines()  # others may run elsewhere
    assert first.startswith("No worker of this app is using its pools")
    assert f"looked in {site.runtime_folder} " in first
    assert second.startswith("Server of default: ")
    assert second.endswith(" connections open")
