"""``check`` finds what does not fit, says by how much, and what to change."""

from __future__ import annotations

import os
import resource
import typing as t

import pytest

from flask_mysqlpool.control.client import Reply
from flask_mysqlpool.stats.readings import PoolStats

from ...support.check_case import CheckCase


@pytest.fixture
def case() -> CheckCase:
    return CheckCase()


def test_all_is_well(case: CheckCase) -> None:
    case.bind()
    case.bind("reports")
    case.workers(PoolStats(max_size=10))
    case.answers[0][0].binds["reports"] = PoolStats(max_size=10)
    findings = case.findings()
    assert {finding.verdict for finding in findings} == {"ok"}
    assert not any(finding.change for finding in findings)
    checks = [finding.check for finding in findings if "default" in finding.binds]
    assert checks == [
        *("connect", "version", "tls", "charset", "wait_timeout", "named locks"),
        "settings",
        *("clock", "limits", "account", "workers", "exhausted", "leaks"),
    ]
    assert case.paused == [], "the workers are asked once"


def test_each_problem_says_what_to_change(case: CheckCase) -> None:
    case.bind(max_size=1000, timeout=0, max_waiting=3)
    case.view(
        version="5.7.44",
        tls="",
        tls_mode="PREFERRED",
        charset="latin1",
        charset_of_database="latin1",
        wait_timeout=1,
        clock_ahead_seconds=9.0,
        max_user_connections=1,
    )
    case.workers(PoolStats(max_size=1000, in_use=1, leaks=1, exhausted_ago=1.0))
    case.answers *= 2
    case.named_locks = ["bank.f"]
    findings = [each for each in case.findings() if each.check != "connect"]
    findings = [each for each in findings if each.check != "workers"]
    assert all(finding.change for finding in findings)
    assert "ok" not in {finding.verdict for finding in findings}
    assert len(findings) == 11


def test_server_that_cannot_be_reached(case: CheckCase) -> None:
    case.bind()
    case.bind("reports")
    case.views["reports"] = OSError("no route")
    findings = case.findings()
    found = [f for f in findings if f.binds == ["reports"]]
    assert (found[0].check, found[0].verdict) == ("connect", "error")
    assert found[0].text == "cannot connect: no route"
    assert {f.check for f in found} == {"connect", "settings", "exhausted", "leaks"}


# Limits


def test_limits_are_of_all_binds_on_one_server(case: CheckCase) -> None:
    case.bind(max_size=20)
    case.bind("reports", max_size=8)
    case.bind("archive", max_size=500)
    case.view("archive", hostname="elsewhere", max_connections=1000)
    case.workers()
    case.answers = [
        [
            Reply(
                pid,
                {
                    "default": PoolStats(max_size=20),
                    "reports": PoolStats(max_size=8),
                    "archive": PoolStats(max_size=500),
                },
            )
            for pid in range(6)
        ]
    ]
    here, there = [each for each in case.findings() if each.check == "limits"]
    assert (here.binds, here.verdict) == (["default", "reports"], "error")
    assert "6 workers may open 168 connections (default 120, reports 48)" in here.text
    assert "allows 151" in here.text
    assert here.change == (
        "lower MYSQLPOOL_MAX_SIZE of these binds to 25 in total"
        " or raise max_connections"
    )
    assert (there.binds, there.verdict) == (["archive"], "error")
    assert "6 workers may open 3000 connections;" in there.text
    assert "to 166 or raise" in there.change


def test_limits_of_a_pool_that_was_resized(case: CheckCase) -> None:
    case.bind(max_size=10)
    case.workers(PoolStats(max_size=100), PoolStats(max_size=100))
    found = case.found("limits")
    assert found.verdict == "error"
    assert "2 workers may open 200 connections" in found.text
    assert found.change == "lower MYSQLPOOL_MAX_SIZE to 75 or raise max_connections"


def test_limits_count_what_others_have_open(case: CheckCase) -> None:
    case.bind(max_size=100)
    case.view(threads_connected=70)  # 9 are ours, one is the doctor's
    case.workers(PoolStats(size=9, max_size=100))
    found = case.found("limits")
    assert found.verdict == "warning"
    assert "1 worker may open 100 connections; the server allows 151" in found.text
    assert "others have 60 open" in found.text
    assert "to 91 or raise" in found.change
    case.view(threads_connected=61)
    case.workers(PoolStats(size=9, max_size=100))
    assert case.found("limits").verdict == "ok"


def test_silent_worker_counts_and_is_an_error(case: CheckCase) -> None:
    case.bind(max_size=100)
    silent: Reply[PoolStats] = Reply(42, error="not answering (timed out)")
    case.workers(PoolStats(max_size=100))
    case.answers[0].append(silent)
    findings = {each.check: each for each in case.findings()}
    assert "2 workers may open 200 connections" in findings["limits"].text
    assert findings["workers"].verdict == "error"
    assert "worker 42 is not answering" in findings["workers"].text


def test_where_nobody_runs_one_worker_is_looked_at(case: CheckCase) -> None:
    case.bind(max_size=152)
    findings = {each.check: each for each in case.findings()}
    assert findings["limits"].verdict == "error"
    assert "1 worker may open 152" in findings["limits"].text
    for check in ("workers", "exhausted", "leaks"):
        assert findings[check].verdict == "unknown"
    assert findings["workers"].text == "no worker was reached"


def test_what_only_silent_workers_know_is_unknown(case: CheckCase) -> None:
    case.bind()
    case.answers = [[Reply(42, error="not answering (timed out)")]]
    findings = {each.check: each.verdict for each in case.findings()}
    assert findings["workers"] == "error"
    assert findings["exhausted"] == findings["leaks"] == "unknown"


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [(1024, "ok"), (resource.RLIM_INFINITY, "ok"), (100, "warning"), (64, "warning")],
)
def test_worker_whose_pools_may_need_more_files_than_it_may_open(
    limit: int, verdict: str, case: CheckCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "prlimit", lambda pid, kind: (limit, limit))
    case.bind(max_size=60)
    case.bind("reports", max_size=40)
    case.answers = [
        [
            Reply(
                41,
                {"default": PoolStats(max_size=60), "reports": PoolStats(max_size=40)},
            )
        ]
    ]
    found = case.found("workers")
    assert found.verdict == verdict
    if verdict == "warning":
        assert (
            found.text == f"worker 41 may open {limit} files, its pools 100 connections"
        )
        assert "ulimit -n" in found.change


def test_limit_of_a_running_process_is_read(case: CheckCase) -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        pytest.skip("there is no limit of open files here")
    case.bind()
    case.answers = [[Reply(os.getpid(), {"default": PoolStats(max_size=limit)})]]
    assert case.found("workers").verdict == "warning"


def test_too_many_workers_for_any_size(case: CheckCase) -> None:
    case.bind(max_size=1)
    case.workers(*[PoolStats(max_size=1)] * 200)
    assert case.found("limits").change.startswith("run fewer workers or raise")


def test_limit_of_the_account(case: CheckCase) -> None:
    case.bind(max_size=10)
    case.bind("reports", max_size=10)
    case.bind("other", max_size=10)
    for name in ("default", "reports"):
        case.view(name, max_user_connections=15)
    case.view("other", account="other@%", max_user_connections=10)
    first, second = [each for each in case.findings() if each.check == "account"]
    assert (first.binds, first.verdict) == (["default", "reports"], "error")
    assert "may open 20 connections (default 10, reports 10)" in first.text
    assert "allows 15 to app@%" in first.text
    assert "to 15 in total or raise its MAX_USER_CONNECTIONS" in first.change
    assert (second.binds, second.verdict) == (["other"], "ok")


# Times


@pytest.mark.parametrize(
    ("settings", "wait_timeout", "verdict"),
    [
        ({}, 631, "ok"),  # max_idle, and until the housekeeper comes
        ({}, 630, "warning"),
        ({"min_size": 1}, 1800, "warning"),  # max_idle does not end all
        ({"min_size": 1}, 1831, "ok"),
        ({"max_idle": 0}, 1831, "ok"),
        ({"max_idle": 0, "max_lifetime": 0}, 28800, "warning"),
        ({"max_idle": 10}, 16, "ok"),
        ({"max_idle": 10}, 15, "warning"),
    ],
)
def test_pool_lets_go_before_the_server(
    case: CheckCase, settings: dict[str, t.Any], wait_timeout: int, verdict: str
) -> None:
    case.bind(**settings)
    case.view(wait_timeout=wait_timeout)
    found = case.found("wait_timeout")
    assert found.verdict == verdict
    assert f"after {wait_timeout} s idle" in found.text
    if verdict == "warning":
        key = "MAX_LIFETIME" if "min_size" in settings else "MAX_IDLE"
        assert found.change.startswith(f"set MYSQLPOOL_{key} to {wait_timeout // 2} or")


@pytest.mark.parametrize(
    ("ahead", "round_trip", "verdict"),
    [
        (2.0, 0.0, "ok"),
        (-2.1, 0.0, "warning"),
        (2.1, 0.0, "warning"),
        (2.1, 0.3, "ok"),  # as near as one can tell
    ],
)
def test_clock(case: CheckCase, ahead: float, round_trip: float, verdict: str) -> None:
    case.bind()
    case.view(clock_ahead_seconds=ahead, round_trip_seconds=round_trip)
    found = case.found("clock")
    assert found.verdict == verdict
    assert ("ahead of ours" if ahead > 0 else "behind ours") in found.text
    assert f"takes {round_trip * 1000:.1f} ms" in found.text


# Text and secrecy


@pytest.mark.parametrize(
    ("connection", "database", "change"),
    [
        ("utf8mb4", "utf8mb4", ""),
        ("utf8mb4", "utf16", ""),
        ("latin1", "utf8mb4", "set MYSQLPOOL_CHARSET to utf8mb4"),
        ("utf8mb4", "utf8mb3", "ALTER DATABASE `bank` CHARACTER SET utf8mb4"),
        ("utf8mb4", "latin1", "ALTER DATABASE `bank` CHARACTER SET utf8mb4"),
    ],
)
def test_charset(case: CheckCase, connection: str, database: str, change: str) -> None:
    case.bind()
    case.view(charset=connection, charset_of_database=database)
    found = case.found("charset")
    assert found.verdict == ("warning" if change else "ok")
    assert found.change.startswith(change)
    assert f"{connection} on the connection, {database} in new tables" in found.text


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ("8.0.11", "ok"),
        ("9.7.4", "ok"),
        ("8.4.0-azure", "ok"),
        ("5.7.44-log", "error"),
        ("10.2.44-MariaDB", "error"),
        ("10.3.39-MariaDB-log", "ok"),
    ],
)
def test_version(case: CheckCase, version: str, verdict: str) -> None:
    case.bind()
    case.view(version=version)
    assert case.found("version").verdict == verdict


# Settings


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"timeout": 0, "max_waiting": 5}, "MAX_WAITING is 5 but has no effect: "),
        ({"max_idle": 900, "max_lifetime": 600}, "MAX_IDLE is 900 but has no effect: "),
        (
            {"max_idle": 5, "min_size": 4, "max_size": 4},
            "MAX_IDLE is 5 but has no effect",
        ),
        (
            {"connect_timeout": 30, "timeout": 5},
            "CONNECT_TIMEOUT is 30 but has no effect",
        ),
    ],
)
def test_settings_that_contradict_each_other(
    case: CheckCase, settings: dict[str, t.Any], named: str
) -> None:
    case.bind(**settings)
    found = case.found("settings")
    assert found.verdict == "warning"
    assert found.text.startswith(f"MYSQLPOOL_{named}")
    assert found.change.startswith("remove MYSQLPOOL_")


@pytest.mark.parametrize(
    "settings",
    [
        {"leak_after": 0},
        {"timeout": 0},
        {"max_lifetime": 300},  # the default of max_idle was not chosen
        {"timeout": 2},
        {"max_idle": 0, "max_lifetime": 60},
        {"connect_timeout": 30, "min_size": 1},  # for the housekeeper
        {"min_size": 4, "max_size": 4},
    ],
)
def test_settings_that_go_together(case: CheckCase, settings: dict[str, t.Any]) -> None:
    case.bind(**settings)
    assert case.found("settings").verdict == "ok"


def test_named_locks_that_a_return_does_not_see(case: CheckCase) -> None:
    case.bind()
    assert case.found("named locks").verdict == "ok"
    case.named_locks = [f"bank.f{number}" for number in range(5)]
    case.answers = [[]]
    finding = case.found("named locks")
    assert finding.verdict == "warning"
    assert finding.text.startswith("bank.f0, bank.f1, bank.f2 and 2 more may take")
    assert "MYSQLPOOL_RESET" in finding.change
    case.named_locks = RuntimeError("denied")
    case.answers = [[]]
    assert "denied" in case.found("named locks").text


@pytest.mark.parametrize("reset", ["session", "rollback"])
def test_named_locks_are_looked_for_under_auto_only(
    case: CheckCase, reset: str
) -> None:
    case.bind(reset=reset)
    assert "named locks" not in {each.check for each in case.findings()}
