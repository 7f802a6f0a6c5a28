"""``check`` tells what the load of an exhausted pool needs, by its own measurements."""

from __future__ import annotations

import itertools
import types
import typing as t
from collections.abc import Callable

import pytest

from flask_mysqlpool.control.client import Reply
from flask_mysqlpool.diagnostics import checks
from flask_mysqlpool.diagnostics import worker_checks
from flask_mysqlpool.diagnostics.findings import Finding
from flask_mysqlpool.stats.readings import EndpointStats
from flask_mysqlpool.stats.readings import PoolStats

from ...support.check_case import CheckCase


@pytest.fixture
def case() -> CheckCase:
    return CheckCase()


def loaded(checkouts: int, wait: float, hold: float, **values: t.Any) -> PoolStats:
    slow, quick = EndpointStats(), EndpointStats()
    reading = PoolStats(
        max_size=3,
        checkouts=checkouts,
        queued=checkouts // 2,
        exhausted_ago=4.0,
        endpoints={"GET slow": slow, "GET quick": quick},
        **values,
    )
    for _ in range(checkouts):
        reading.wait_seconds.add(wait)
        reading.use_seconds.add(hold)
        slow.use_seconds.add(hold)
        quick.use_seconds.add(hold / 4)
    return reading


@pytest.fixture
def exhausted(case: CheckCase) -> Callable[[PoolStats, PoolStats], Finding]:
    """Read two workers of a pool twice."""

    def found(before: PoolStats, after: PoolStats) -> Finding:
        case.bind()
        case.answers = [
            [Reply(pid, {"default": reading}) for pid in (41, 42)]
            for reading in (before, after)
        ]
        return case.found("exhausted")

    return found


@pytest.fixture
def a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second pass between one look at the clock and the next."""
    clock = types.SimpleNamespace(monotonic=itertools.count().__next__)
    monkeypatch.setattr(checks, "time", clock)
    monkeypatch.setattr(worker_checks, "time", clock)


@pytest.mark.usefixtures("a_second")
def test_exhausted_pool_is_told_what_its_load_needs(
    case: CheckCase, exhausted: Callable[[PoolStats, PoolStats], Finding]
) -> None:
    # Between the readings 2 s pass by that clock: 2 × 20 checkouts of 0.1 + 0.4 s.
    found = exhausted(loaded(20, 0.1, 0.4), loaded(40, 0.1, 0.4))
    assert found.verdict == "warning"
    assert "a caller had to wait 4 s ago" in found.text
    assert "20 of 40 checkouts waited and 0 timed out" in found.text
    assert "20.0 checkouts/s wait 0.1" in found.text and "and hold 0.4" in found.text
    assert "10." in found.text and "callers at once" in found.text
    size = found.change.partition(" or more")[0].removeprefix(
        "set MYSQLPOOL_MAX_SIZE to "
    )
    assert size in ("5", "6")  # 10 callers on two workers, as far as buckets tell
    assert "(it is 3)" in found.change
    assert "shorten GET slow: 80% of the time that connections are held" in found.change
    assert case.answers == [], "the workers are asked twice"
    assert case.paused == [0.0]


@pytest.mark.usefixtures("a_second")
def test_pool_that_is_large_enough_just_now(
    exhausted: Callable[[PoolStats, PoolStats], Finding],
) -> None:
    found = exhausted(loaded(20, 0.0, 0.1), loaded(22, 0.0, 0.1))
    assert "MYSQLPOOL_MAX_SIZE (3) is enough on average" in found.change
    assert "set MYSQLPOOL_MAX_SIZE" not in found.change


def test_pool_that_does_not_move(
    exhausted: Callable[[PoolStats, PoolStats], Finding],
) -> None:
    still = loaded(20, 0.1, 0.4, in_use=3, waiting=5, oldest_use_seconds=77.0)
    found = exhausted(still, still)
    assert (
        "no connection is returned: 6 are checked out, the oldest for 77.0 s"
        in found.text
    )
    assert "10 callers wait" in found.text
    assert "held 0.4" in found.text and "p99 0.4" in found.text
    assert "set MYSQLPOOL_MAX_SIZE" not in found.change
    assert "shorten GET slow" in found.change
    assert "`flask pool who --stack --bind default`" in found.change


@pytest.mark.parametrize(
    ("ago", "verdict"), [(None, "ok"), (301.0, "ok"), (299.0, "warning")]
)
def test_exhaustion_of_long_ago_is_no_news(
    case: CheckCase, ago: float | None, verdict: str
) -> None:
    case.bind()
    case.workers(PoolStats(max_size=3, exhausted_ago=ago))
    case.answers *= 2
    assert case.found("exhausted").verdict == verdict
    assert len(case.paused) == (verdict == "warning")


def test_leaks_lead_to_who(case: CheckCase) -> None:
    case.bind()
    case.workers(PoolStats(leaks=2, oldest_use_seconds=61.0), PoolStats(leaks=1))
    found = case.found("leaks")
    assert found.verdict == "warning"
    assert found.text.startswith("3 held longer than MYSQLPOOL_LEAK_AFTER")
    assert "61.0 s" in found.text
    assert "`flask pool who --stack --bind default`" in found.change
