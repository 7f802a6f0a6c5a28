"""``flask pool`` on workers that run, are stopped, come and go."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import typing as t
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flask_mysqlpool.cli.commands import pool_cli

from ..support.terminal import Terminal
from ..support.terminal import terminal
from ..support.waiting import wait_until
from ..support.web_servers import Server
from ..support.web_servers import Site

COMMAND = ["-m", "flask", "--app", "shop", "pool"]
BARS = set("▁▂▃▄▅▆▇█")
FLASK = "import sys; sys.argv = ['flask']; from flask.cli import main; main()"


@pytest.fixture
def site(tmp_path: Path, mysql_url: str) -> Iterator[Site]:
    site = Site(tmp_path, url=mysql_url, ssl_disabled=True, max_size=3)
    yield site
    shutil.rmtree(site.runtime_folder, ignore_errors=True)


@pytest.fixture
def server(site: Site) -> Iterator[Server]:
    """Two workers that have both used their pools."""
    with site.gunicorn("-w2", "--threads=4") as server:
        wait_until(lambda: server.get() and len(site.workers()) == 2)
        yield server


@pytest.fixture
def database(mysql_server: t.Any, mysql_url: str) -> Iterator[t.Any]:
    with mysql_server.connect() as connection:
        yield connection.cursor()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def done_json(done: subprocess.CompletedProcess[str], status: int = 0) -> t.Any:
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


# who


def test_who_names_the_view_the_line_and_the_servers_session(
    site: Site, server: Server, database: t.Any, mysql_url: str
) -> None:
    name = urlsplit(mysql_url).path.strip("/")
    database.execute("SELECT GET_LOCK(%s, 0)", (name,))
    with ThreadPoolExecutor() as visitors:
        blocked = visitors.submit(server.get, f"/wait/{name}")
        try:
            wait_until(
                lambda: any(w.binds["default"].in_use for w in site.workers().values())
            )
            answer = done_json(site.flask("pool", "who", "--stack", "--json"))
            text = site.flask("pool", "who", "--stack").stdout
            database.execute("SHOW FULL PROCESSLIST")
            sessions = {row[0]: row[7] or "" for row in database.fetchall()}
        finally:
            database.execute("SELECT RELEASE_ALL_LOCKS()")
        pid = blocked.result(20)
    holders = {each["pid"]: each["binds"]["default"] for each in answer["workers"]}
    (holder,) = holders.pop(pid)
    assert list(holders.values()) == [[]]
    assert sessions[holder["connection_id"]] == f"SELECT GET_LOCK('{name}', 20)"
    assert holder["statement"] == "SELECT GET_LOCK(%s, ?)"
    assert holder["holder"] == "GET wait"
    lines = (site.folder / "shop.py").read_text().splitlines()
    for stack in (holder["taken"], holder["stands"]):
        found = re.fullmatch(r".*shop\.py:(\d+) in wait", stack[-1])
        assert found is not None, stack
    assert "get_db()" in lines[int(re.findall(r":(\d+) ", holder["taken"][-1])[0]) - 1]
    assert "GET_LOCK" in lines[int(re.findall(r":(\d+) ", holder["stands"][-1])[0]) - 1]
    for word in (str(pid), str(holder["connection_id"]), "GET wait", "GET_LOCK(%s, ?)"):
        assert word in text
    assert name not in text


# recycle and resize


def test_recycle_and_resize_reach_each_worker(site: Site, server: Server) -> None:
    pids = sorted(site.workers())
    answer = done_json(site.flask("pool", "recycle", "--json"))
    assert [each["pid"] for each in answer["workers"]] == pids
    assert all(
        each["binds"]["default"] == {"closed": 1, "at_return": 0}
        for each in answer["workers"]
    )
    assert {w.binds["default"].size for w in site.workers().values()} == {0}
    answer = done_json(site.flask("pool", "resize", "5", "--json"))
    assert [each["pid"] for each in answer["workers"]] == pids
    assert {w.binds["default"].max_size for w in site.workers().values()} == {5}
    done = site.flask("pool", "resize", "4", "--pid", str(pids[1]))
    assert (done.returncode, done.stderr) == (0, "")
    assert str(pids[0]) not in done.stdout
    sizes = {pid: w.binds["default"].max_size for pid, w in site.workers().items()}
    assert sizes == {pids[0]: 5, pids[1]: 4}


@pytest.mark.parametrize("command", ["recycle", "resize 2"])
def test_worker_that_does_not_answer_is_named_and_the_status_is_1(
    site: Site, server: Server, command: str
) -> None:
    hung, other = site.workers()
    with stopped(hung):
        done = site.flask("pool", *command.split())
        as_json = site.flask("pool", *command.split(), "--json")
        alone = site.flask("pool", *command.split(), "--pid", str(hung))
    assert done.returncode == as_json.returncode == alone.returncode == 1
    expected = f"Worker {hung} is not answering (timed out)\n"
    assert done.stderr == as_json.stderr == alone.stderr == expected
    assert str(other) in done.stdout and str(hung) not in done.stdout
    assert alone.stdout == ""
    answers = {each["pid"]: each for each in json.loads(as_json.stdout)["workers"]}
    assert answers[hung]["error"] == "not answering (timed out)"
    assert answers[other]["binds"]["default"]


# check


def test_check_finds_the_worker_that_does_not_answer(
    site: Site, server: Server
) -> None:
    hung, _ = site.workers()
    with stopped(hung):
        began = time.monotonic()
        checked = done_json(site.flask("pool", "check", "--json"), status=1)
        assert time.monotonic() - began < 5
    (finding,) = [f for f in checked["findings"] if f["verdict"] == "error"]
    assert finding["check"] == "workers"
    assert f"worker {hung} is not answering" in finding["text"]


SLEEP = """
    @app.get("/sleep")
    def sleep():
        with get_db().cursor() as cursor:
            cursor.execute("SELECT SLEEP(0.05)")
        return str(os.getpid())

    return app
"""


def test_check_of_an_exhausted_pool_names_its_load_and_its_holder(site: Site) -> None:
    module = site.folder / "shop.py"
    module.write_text(module.read_text().replace("\n    return app\n", SLEEP))
    site.settings["max_size"] = 2
    over = threading.Event()

    def visit(server: Server) -> None:
        while not over.is_set():
            server.get("/sleep")

    def queued() -> int:
        return sum(w.binds["default"].queued for w in site.workers().values())

    with site.gunicorn("-w1", "--threads=6") as server, ThreadPoolExecutor(6) as pool:
        visits = [pool.submit(visit, server) for _ in range(6)]
        try:
            wait_until(lambda: queued() > 20)
            checked = done_json(site.flask("pool", "check", "--json"))
        finally:
            over.set()
        for each in visits:
            each.result(20)
    (finding,) = [f for f in checked["findings"] if f["check"] == "exhausted"]
    assert finding["verdict"] == "warning"
    callers = float(re.findall(r"([\d.]+) callers at once", finding["text"])[0])
    assert 4 < callers <= 6.5, "six visitors, who do little else"
    size = int(re.findall(r"MYSQLPOOL_MAX_SIZE to (\d+) or more", finding["change"])[0])
    assert size in (5, 6, 7)
    assert re.search(r"shorten GET sleep: (9\d|100)% of the time", finding["change"])


# stats --watch


@contextlib.contextmanager
def watching(site: Site, *options: str, **environment: str) -> Iterator[Terminal]:
    command = [*COMMAND, "stats", "--watch", *options]
    with terminal(command, site.folder, site.environment() | environment) as watch:
        yield watch


def test_watch_redraws_in_place_and_ends_quietly(site: Site, server: Server) -> None:
    def rate() -> float:
        lines = [each for each in watch.screen if "checkouts/s" in each]
        assert len(lines) <= 1, watch.screen
        found = re.match(r"checkouts/s +([\d.]+) ", lines[0]) if lines else None
        return float(found[1]) if found else 0.0

    with watching(site, "0.2") as watch:
        watch.read(lambda: "checkouts/s" in watch.written)
        watch.read(lambda: server.get() and rate() > 0)
        for pid in site.workers():
            assert sum(str(pid) in line for line in watch.screen) == 1
        watch.press("\x03")
        assert watch.end() == 0
    screen = watch.screen
    assert all(len(line) <= 80 for line in screen)
    assert len(screen) <= 24
    assert sum("Pool default" in line for line in screen) == 1
    assert any(BARS & set(line) for line in screen)
    assert "\x1b[?25h" in watch.written, "the cursor is shown again"
    for word in ("Traceback", "Aborted", "KeyboardInterrupt"):
        assert word not in watch.written


def test_watch_without_colours(site: Site, server: Server) -> None:
    with watching(site, "0.2", NO_COLOR="1") as watch:
        watch.read(lambda: watch.written.count("Pool default") >= 2)
        watch.read(lambda: BARS & set("".join(watch.screen)))
    assert not re.search(r"\x1b\[[\d;]*3\d", watch.written)
    assert "\x1b[1A" in watch.written


def test_watch_sees_workers_come_and_go(site: Site) -> None:
    def shown(pid: int) -> bool:
        return any(line.split()[:1] == [str(pid)] for line in watch.screen)

    with watching(site, "0.2") as watch:
        watch.read(lambda: "No worker of this app" in watch.written)
        with site.gunicorn("-w1") as server:
            pid = server.get()
            watch.read(lambda: shown(pid))
        watch.read(lambda: not shown(pid))
        assert any("No worker of this app" in line for line in watch.screen)


def test_watch_goes_on_beside_a_hung_worker(site: Site, server: Server) -> None:
    hung, other = site.workers()
    with watching(site, "0.2") as watch, stopped(hung):
        complaint = f"Worker {hung} is not answering (timed out)"
        watch.read(lambda: complaint in watch.screen)
        drawn = watch.written.count("Pool default")
        began = time.monotonic()
        watch.read(lambda: watch.written.count("Pool default") >= drawn + 2)
        assert time.monotonic() - began < 4


def piped(site: Site, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *COMMAND, "stats", "--watch", *options],
        cwd=site.folder,
        env=site.environment() | {"FORCE_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_watch_into_a_pipe_is_plain_text(site: Site, server: Server) -> None:
    with piped(site, "0.2") as watch:
        assert watch.stdout is not None
        text = ""
        while text.count("Pool default") < 3:
            line = watch.stdout.readline()
            assert line, watch.communicate()
            text += line
        watch.send_signal(signal.SIGINT)
        rest, error = watch.communicate(timeout=10)
    assert (watch.returncode, error) == (0, "")
    text += rest
    for code in ("\x1b[?", "\x1b[2K", "\x1b[1A", "\r"):
        assert code not in text
    assert not BARS & set(text)
    assert "of 6 in use, 0 waiting, 0 checkouts/s" in text


@pytest.mark.parametrize("options", [("0.1",), ("0.1", "--json")])
def test_watch_into_a_pipe_that_closes(
    site: Site, server: Server, options: tuple[str, ...]
) -> None:
    with piped(site, *options) as watch:
        assert watch.stdout is not None and watch.stderr is not None
        assert watch.stdout.readline()
        watch.stdout.close()
        assert watch.wait(10) in (0, 1)
        assert watch.stderr.read() == ""


def test_watch_as_json_prints_an_object_a_line(site: Site, server: Server) -> None:
    with piped(site, "0.1", "--json") as watch:
        assert watch.stdout is not None
        readings = [json.loads(watch.stdout.readline()) for _ in range(3)]
        watch.send_signal(signal.SIGINT)
        watch.communicate(timeout=10)
    assert watch.returncode == 0
    times = [reading["time"] for reading in readings]
    assert times == sorted(set(times))
    for reading in readings:
        assert {w["pid"] for w in reading["workers"]} == set(site.workers())
        assert reading["totals"]["default"]["max_size"] == 6


# Completion


def completed(site: Site, words: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", FLASK],
        cwd=site.folder,
        env=site.environment()
        | {
            "_FLASK_COMPLETE": "bash_complete",
            "FLASK_APP": "shop",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split())),
        },
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_shell_completes_commands_and_binds(site: Site) -> None:
    site.settings["binds"] = '{"reports": {}, "archive": {}}'
    assert set(completed(site, "flask pool ")) == set(pool_cli.commands)
    assert completed(site, "flask pool who --bind ") == [
        "default",
        "reports",
        "archive",
    ]
