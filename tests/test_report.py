"""What the command line prints reads well at 80 columns and loses nothing below."""

from __future__ import annotations

import io
import random

import pytest
from rich.console import Console
from rich.console import RenderableType

from flask_mysqlpool.control import Worker
from flask_mysqlpool.doctor import Finding
from flask_mysqlpool.report import duration
from flask_mysqlpool.report import findings_table
from flask_mysqlpool.report import server_line
from flask_mysqlpool.report import settings_table
from flask_mysqlpool.report import workers_table
from flask_mysqlpool.stats import PoolStats

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
        Worker(41, error="not answering (timed out)"),
        Worker(4_194_303, {"default": busy()}),
        Worker(4_194_304, {"default": idle}),
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
    workers = [Worker(41, {"default": busy()})]
    text = printed(workers_table("default", workers, busy()))
    assert "total" not in text
    assert len(text.splitlines()) == 5


def test_workers_that_say_nothing_need_no_table() -> None:
    workers = [Worker(41, error="not answering"), Worker(42, error="not answering")]
    assert printed(workers_table("default", workers, PoolStats())).splitlines() == [
        "Pool default",
        "Worker 41 is not answering",
        "Worker 42 is not answering",
    ]


def test_colours_can_be_had_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    findings = findings_table([Finding("default", "connect", "error", "it is down")])
    assert "\x1b[1;31m" in printed(findings, force_terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(findings, force_terminal=True)
    assert "\x1b[3" not in text and ";3" not in text
    assert "\x1b" not in printed(findings)


def test_findings_wrap_between_words() -> None:
    text = "the server ends a session after 28800 s of rest, the pool after 600 s"
    finding = Finding("default", "wait_timeout", "warning", text)
    lines = printed(findings_table([finding])).splitlines()
    assert all(len(line) <= 80 and line == line.rstrip() for line in lines)
    start = lines[3].index("the server")
    assert " ".join(line[start:] for line in lines[3:]) == text


MARKUP = "[red] [/red] [/] [link=x] \\[ :smile:"


def test_text_of_others_is_no_markup() -> None:
    assert f"Server of {MARKUP}: {MARKUP}" in printed(
        server_line(MARKUP, {"error": MARKUP}), 200
    )
    assert MARKUP in printed(findings_table([Finding("a", "b", "error", MARKUP)]), 200)
    assert MARKUP in printed(findings_table([Finding(MARKUP, "b", "ok", "")]), 200)
    text = printed(settings_table(MARKUP, {"init_command": MARKUP}), 200)
    assert text.count(MARKUP) == 2
    workers = [Worker(1, error=MARKUP)]
    text = printed(workers_table(MARKUP, workers, PoolStats()), 200)
    assert text.count(MARKUP) == 2


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
