"""The size that a demand needs follows from two readings, by Little's law."""

from __future__ import annotations

import pytest

from flask_mysqlpool.diagnostics.sizing import Demand
from flask_mysqlpool.diagnostics.sizing import longest_holder
from flask_mysqlpool.stats.readings import EndpointStats
from flask_mysqlpool.stats.readings import PoolStats


def reading(checkouts: int, wait: float, hold: float, earlier: int = 0) -> PoolStats:
    """A pool that lent so often, after ``earlier`` checkouts of no time at all."""
    stats = PoolStats(checkouts=checkouts + earlier)
    for _ in range(checkouts):
        stats.wait_seconds.add(wait)
        stats.use_seconds.add(hold)
    for _ in range(earlier):
        stats.wait_seconds.add(0.0)
        stats.use_seconds.add(0.0)
    return stats


def test_callers_at_once_are_their_rate_times_their_stay() -> None:
    before = reading(0, 0, 0, earlier=1000)
    demand = Demand.between(before, reading(40, 0.1, 0.3, earlier=1000), 2.0)
    assert demand is not None
    assert demand.rate == 20
    assert demand.wait == pytest.approx(0.1, rel=1 / 16)
    assert demand.hold == pytest.approx(0.3, rel=1 / 16)
    assert demand.callers == pytest.approx(20 * 0.4, rel=1 / 16)


@pytest.mark.parametrize(
    ("callers", "workers", "size"),
    [(8.0, 2, 4), (8.2, 2, 5), (0.3, 4, 1), (0.0, 1, 1), (3.00001, 1, 3), (9.0, 0, 9)],
)
def test_each_worker_has_room_for_its_share(
    callers: float, workers: int, size: int
) -> None:
    assert Demand(rate=callers, wait=0.25, hold=0.75).size(workers) == size


def test_nothing_is_known_of_a_pool_that_does_not_move() -> None:
    assert Demand.between(PoolStats(), PoolStats(), 1.0) is None
    still = reading(10, 0.1, 0.1)
    assert Demand.between(still, still, 1.0) is None
    lent_not_returned = reading(10, 0.1, 0.1)
    lent_not_returned.checkouts += 3
    assert Demand.between(still, lent_not_returned, 1.0) is None
    assert Demand.between(reading(1, 0, 0), reading(2, 0, 0), 0.0) is None


def test_longest_holder_by_all_its_time() -> None:
    often, seldom = EndpointStats(), EndpointStats()
    for _ in range(100):
        often.use_seconds.add(0.03)
    seldom.use_seconds.add(1.0)
    name, share = longest_holder(PoolStats(endpoints={"a": seldom, "b": often}))
    assert name == "b"
    assert share == pytest.approx(0.75, rel=1 / 16)
    assert longest_holder(PoolStats()) == ("", 0.0)
    assert longest_holder(PoolStats(endpoints={"a": EndpointStats()})) == ("", 0.0)
