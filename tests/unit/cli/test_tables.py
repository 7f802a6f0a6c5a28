"""What the command line prints reads well at 80 columns and loses nothing below."""

from __future__ import annotations

import io
import random
import typing as t

import pytest
from rich.console import Console
from rich.console import RenderableType

from flask_mysqlpool.cli.tables import counts_table
from flask_mysqlpool.cli.tables import duration
from flask_mysqlpool.cli.tables import endpoints_table
from flask_mysqlpool.cli.tables import findings_table
from flask_mysqlpool.cli.tables import holders_table
from flask_mysqlpool.cli.tables import server_line
from flask_mysqlpool.cli.tables import settings_table
from flask_mysqlpool.cli.tables import workers_table
from flask_mysqlpool.control.client import Reply
from flask_mysqlpool.diagnostics.findings import Finding
from flask_mysqlpool.stats.holders import Holder
from flask_mysqlpool.stats.readings import EndpointStats
from flask_mysqlpool.stats.readings import PoolStats

BUSY = """\
Pool default
          in                                             wait     use
 worker  use  idle  waiting  max  checkouts  timeouts     p99     p99    held
─────────────────────────────────────────────────────────────────────────────
4194303   10     0      999   10   12345678     99999  999 ms  100 ms  9999 s
4194304    0    10        0   10          0         0       0       0       0
─────────────────────────────────────────────────────────────────────────────
  total   10    10      999   20   12345678     99999  999 ms  100 ms  9999 s
Worker 41 is not answering (timed out)
"""


def printed(what: RenderableType, width: int = 80, **options: bool) -> str:
    console = Console(file=io.StringIO(), width=width, **options)  # type: ignore[arg-type]
    console.print(what, soft_wrap=not isinstance(what, str))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def busy() -> PoolStats:
    reading = PoolStats(
        in_use=10,
        waiting=999,
        max_size=10,
        checkouts=12_345_678,
        timeouts=99_999,
        oldest_use_seconds=9999.0,
    )
    reading.wait_seconds.add(0.999)
    reading.use_seconds.add(0.1)
    return reading


def three_workers() -> RenderableType:
    idle = PoolStats(idle=10, max_size=10)
    workers = [
        Reply(41, error="not answering (timed out)"),
        Reply(4_194_303, {"default": busy()}),
        Reply(4_194_304, {"default": idle}),
    ]
    total = PoolStats.merged([busy(), idle])
    return workers_table("default", workers, total)


def test_busy_workers_fit_into_80_columns() -> None:
    assert printed(three_workers()) == BUSY
    assert max(map(len, BUSY.splitlines())) <= 80


@pytest.mark.parametrize("width", [10, 40, 79, 200])
def test_no_number_is_cut_off_at_any_width(width: int) -> None:
    assert printed(three_workers(), width) == printed(three_workers())


def test_one_worker_needs_no_total() -> None:
    workers = [Reply(41, {"default": busy()})]
    text = printed(workers_table("default", workers, busy()))
    assert "total" not in text
    assert len(text.splitlines()) == 5


def test_workers_that_say_nothing_need_no_table() -> None:
    workers: list[Reply[PoolStats]]
    workers = [Reply(41, error="not answering"), Reply(42, error="not answering")]
    assert printed(workers_table("default", workers, PoolStats())).splitlines() == [
        "Pool default",
        "Worker 41 is not answering",
        "Worker 42 is not answering",
    ]


def test_colours_can_be_had_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    findings = findings_table([Finding(["default"], "connect", "error", "it is down")])
    assert "\x1b[1;31m" in printed(findings, force_terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(findings, force_terminal=True)
    assert "\x1b[3" not in text and ";3" not in text
    assert "\x1b" not in printed(findings)


def test_findings_wrap_between_words() -> None:
    text = "the server ends a session after 28800 s of rest, the pool after 600 s"
    finding = Finding(["default"], "wait_timeout", "warning", text)
    lines = printed(findings_table([finding])).splitlines()
    assert all(len(line) <= 80 and line == line.rstrip() for line in lines)
    start = lines[3].index("the server")
    assert " ".join(line[start:] for line in lines[3:]) == text


MARKUP = "[red] [/red] [/] [link=x] \\[ :smile:"


def test_text_of_others_is_no_markup() -> None:
    assert f"Server of {MARKUP}: {MARKUP}" in printed(
        server_line(MARKUP, {"error": MARKUP}), 200
    )
    finding = Finding([MARKUP], "b", "error", MARKUP, MARKUP)
    assert printed(findings_table([finding]), 200).count(MARKUP) == 3
    text = printed(settings_table(MARKUP, {"init_command": MARKUP}), 200)
    assert text.count(MARKUP) == 2
    workers: list[Reply[PoolStats]] = [Reply(1, error=MARKUP)]
    text = printed(workers_table(MARKUP, workers, PoolStats()), 200)
    assert text.count(MARKUP) == 2

    endpoint = PoolStats(endpoints={MARKUP: EndpointStats()})
    text = printed(endpoints_table(MARKUP, workers, endpoint), 200)
    assert text.count(MARKUP) == 3
    lent = Reply(1, {MARKUP: [a_holder(holder=MARKUP, statement=MARKUP)]})
    assert printed(holders_table(MARKUP, [lent]), 200).count(MARKUP) == 3
    assert printed(counts_table([Reply(1, {MARKUP: {}})]), 200).count(MARKUP) == 1


ENDPOINTS = """\
Pool default
                       wait     use     use     use
checkouts  timeouts     p99     p50     p99     max  share  endpoint
──────────────────────────────────────────────────────────────────────────────
        2         1  100 ms   2.0 s   2.0 s   2.0 s    80%  POST shop.an_order
 12345678         0       0  500 ms  500 ms  500 ms    20%  GET archive
Worker 41 is not answering
"""


def endpoints() -> PoolStats:
    slow = EndpointStats(checkouts=2, timeouts=1)
    slow.wait_seconds.add(0.1)
    slow.use_seconds.add(2.0)
    archive = EndpointStats(checkouts=12_345_678)
    archive.use_seconds.add(0.5)
    return PoolStats(endpoints={"GET archive": archive, "POST shop.an_order": slow})


def test_endpoints_are_shown_by_the_time_they_hold() -> None:
    silent: list[Reply[PoolStats]] = [Reply(41, error="not answering")]
    table = endpoints_table("default", silent, endpoints())
    assert printed(table) == ENDPOINTS
    assert max(map(len, ENDPOINTS.splitlines())) <= 80
    for width in (10, 200):
        assert printed(table, width) == printed(table)


def test_only_so_many_rows_as_asked_for() -> None:
    few = printed(endpoints_table("default", [], endpoints(), rows=1))
    assert "POST shop" in few and "GET" not in few
    assert few.splitlines()[-1] == "1 more endpoint not shown"
    workers = [
        Reply(pid, {"default": PoolStats(in_use=pid % 5, waiting=waiting)})
        for pid, waiting in ((10, 0), (11, 0), (12, 3), (13, 0), (14, 0))
    ]
    table = workers_table("default", workers, PoolStats(), rows=3)
    lines = printed(table).splitlines()
    assert [line.split()[0] for line in lines[4:7]] == ["12", "13", "14"]
    assert lines[7].startswith("───") and lines[8].split()[0] == "total"
    assert lines[9] == "2 more workers not shown"
    none = printed(workers_table("default", workers, PoolStats(), rows=0))
    assert none == "Pool default\n5 more workers not shown\n"


def a_holder(**values: t.Any) -> Holder:
    plain: dict[str, t.Any] = {
        "seconds": 0.346,
        "holder": "GET slow",
        "thread": "ThreadPoolExecutor-0_1",
        "statement": "SELECT SLEEP(?)",
        "in_transaction": False,
        "connection_id": 81,
        "taken": ["example_app/views.py:88 in slow", "example_app/bank.py:12 in sleep"],
        "stands": ["example_app/bank.py:140 in sleep"],
    }
    return Holder(**plain | values)


HOLDERS = """\
Pool default
worker    held  connection  transaction  holder
──────────────────────────────────────────────────────────────────────────
    42   3.0 s           7  open         POST shop.a_view_with_a_long_name
        thread     MainThread
        statement  UPDATE account SET balance = balance - ? WHERE id = ? AND
                   owner = ?
        checkout   unknown
        current    unknown
    41  346 ms          81  none         GET slow
        thread     ThreadPoolExecutor-0_1
        statement  SELECT SLEEP(?)
        checkout   example_app/views.py:88 in slow
                   example_app/bank.py:12 in sleep
        current    example_app/bank.py:140 in sleep
Worker 43 is not answering (timed out)
"""
LONG = "UPDATE account SET balance = balance - ? WHERE id = ? AND owner = ?"


def two_holders() -> list[Reply[list[Holder]]]:
    long = a_holder(
        seconds=3.0,
        holder="POST shop.a_view_with_a_long_name",
        thread="MainThread",
        statement=LONG,
        in_transaction=True,
        connection_id=7,
        taken=[],
        stands=[],
    )
    return [
        Reply(41, {"default": [a_holder()], "reports": []}),
        Reply(42, {"default": [long]}),
        Reply(43, error="not answering (timed out)"),
    ]


def test_holders_with_all_that_is_known_at_80_columns() -> None:
    assert printed(holders_table("default", two_holders(), stacks=True)) == HOLDERS
    assert max(map(len, HOLDERS.splitlines())) <= 80


def test_holders_without_stacks() -> None:
    text = printed(holders_table("default", two_holders()))
    assert "checkout" not in text and "current" not in text
    assert "thread     MainThread" in text and "GET slow" in text


@pytest.mark.parametrize("width", [5, 30, 60, 200])
def test_nothing_of_a_holder_is_cut_off_at_any_width(width: int) -> None:
    statement = "SELECT " + "x" * 300 + " FROM t"
    workers = [Reply(41, {"default": [a_holder(statement=statement)]})]
    text = printed(holders_table("default", workers, stacks=True), width)
    assert "".join(statement.split()) in "".join(text.split())
    for part in (*a_holder().taken, *a_holder().stands, "GET slow", "81"):
        assert "".join(part.split()) in "".join(text.split())


def test_nobody_holds_a_connection() -> None:
    text = printed(holders_table("reports", two_holders()))
    assert text.splitlines() == [
        "Pool reports",
        "No connection is checked out",
        "Worker 43 is not answering (timed out)",
    ]


def test_what_each_worker_did() -> None:
    workers = [
        Reply(41, {"default": {"was": 10, "max_size": 20}, "b": {"was": 4}}),
        Reply(42, error="not answering"),
    ]
    lines = [line.split() for line in printed(counts_table(workers)).splitlines()]
    assert lines[1] == ["worker", "pool", "was", "max", "size"]
    assert lines[3:] == [["41", "default", "10", "20"], ["41", "b", "4"]]


def test_what_to_change_has_a_line_of_its_own() -> None:
    finding = Finding(["a", "b"], "limits", "warning", "too many", "have fewer")
    lines = printed(findings_table([finding])).splitlines()
    assert lines[3].split() == ["a,", "b", "limits", "warning", "too", "many"]
    assert lines[4].strip() == "→ have fewer"


def test_settings_tell_nothing_from_none() -> None:
    text = printed(settings_table("default", {"sql_mode": "", "timeout": 0.0}))
    assert [line.split() for line in text.splitlines()[-2:]] == [
        ["sql_mode", '""'],
        ["timeout", "0.0"],
    ]


def test_long_setting_is_folded_not_cut() -> None:
    value = "x" * 200
    lines = printed(settings_table("default", {"init_command": value})).splitlines()
    assert "".join(line.split()[-1] for line in lines[3:]) == value
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0"),
        (0.000_000_4, "0"),
        (0.000_000_6, "1 µs"),
        (0.000_999_4, "999 µs"),
        (0.000_999_6, "1.0 ms"),
        (0.002_33, "2.3 ms"),
        (0.009_94, "9.9 ms"),
        (0.009_96, "10 ms"),
        (0.999_4, "999 ms"),
        (0.999_6, "1.0 s"),
        (9.96, "10 s"),
        (9999.0, "9999 s"),
        (9999.6, "2.8 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_duration_is_short_and_close() -> None:
    units = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}
    chance = random.Random(1)
    for _ in range(2000):
        seconds = 10 ** chance.uniform(-5, 3.9)
        text = duration(seconds)
        assert len(text) <= 6, seconds
        amount, unit = text.split()
        assert abs(float(amount) * units[unit] - seconds) <= 0.051 * seconds
