"""Durations are counted within a known error and add up without loss."""

from __future__ import annotations

import dataclasses
import json
import math
import random

import pytest

from flask_mysqlpool.stats.histogram import Histogram
from flask_mysqlpool.stats.readings import EndpointStats
from flask_mysqlpool.stats.readings import PoolStats

SHARES = (0.0, 0.01, 0.5, 0.9, 0.99, 1.0)
TWELVE_DAYS = 2**40 / 1_000_000


def some_durations(chance: random.Random) -> list[float]:
    """Return durations of all sizes, from a microsecond to ten days."""
    low, high = sorted((chance.uniform(-6, 6), chance.uniform(-6, 6)))
    count = chance.choice((1, 2, 3, 10, 500))
    return [min(10 ** chance.uniform(low, high), 864_000.0) for _ in range(count)]


def filled(durations: list[float]) -> Histogram:
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    return histogram


def exact_percentile(durations: list[float], share: float) -> float:
    return sorted(durations)[max(1, math.ceil(share * len(durations))) - 1]


@pytest.mark.parametrize("seed", range(50))
def test_percentile_is_off_by_a_sixteenth_at_most(seed: int) -> None:
    durations = some_durations(random.Random(seed))
    histogram = filled(durations)
    assert histogram.max == max(durations)
    for share in SHARES:
        exact = exact_percentile(durations, share)
        # Whole microseconds are counted: below 16 of them that is the larger error.
        allowed = exact / 16 + 0.000_001
        assert abs(histogram.percentile(share) - exact) <= allowed, share


def test_each_edge_of_a_bucket_is_within_the_error() -> None:
    for power in range(4, 40):
        for micros in (2**power - 1, 2**power, 2**power + 1, 2**power * 15 // 8):
            seconds = micros / 1_000_000
            histogram = filled([seconds, 10 * TWELVE_DAYS])
            error = abs(histogram.percentile(0.5) - seconds)
            assert error <= seconds * (1 / 16 + 1e-9), micros


def test_percentiles_of_little() -> None:
    assert Histogram().summary() == {"p50": 0.0, "p99": 0.0, "max": 0.0}
    assert filled([0.0]).summary() == {"p50": 0.0, "p99": 0.0, "max": 0.0}
    assert filled([0.25]).summary() == {"p50": 0.25, "p99": 0.25, "max": 0.25}


@pytest.mark.parametrize("seconds", [TWELVE_DAYS, 10 * TWELVE_DAYS, 1e300])
def test_what_lasts_longer_than_the_last_bucket_counts_in_it(seconds: float) -> None:
    histogram = filled([0.001, seconds])
    assert histogram.max == seconds
    assert sum(histogram.counts) == 2
    assert 0.9 * TWELVE_DAYS < histogram.percentile(1) <= seconds


@pytest.mark.parametrize("seconds", [-1, -0.000_003, -1e300])
def test_negative_duration_counts_as_none(seconds: float) -> None:
    histogram = filled([seconds])
    assert (histogram.counts, histogram.max) == (filled([0.0]).counts, 0.0)


@pytest.mark.parametrize("seed", range(20))
def test_merged_histograms_are_the_histogram_of_all(seed: int) -> None:
    chance = random.Random(seed)
    parts = [some_durations(chance) for _ in range(chance.randint(1, 5))]
    merged = Histogram()
    for part in parts:
        merged.merge(filled(part))
    whole = filled([seconds for part in parts for seconds in part])
    assert merged.counts == whole.counts
    assert merged.max == whole.max


@pytest.mark.parametrize("seed", range(20))
def test_histogram_survives_json(seed: int) -> None:
    histogram = filled(some_durations(random.Random(seed)))
    again = Histogram.unpack(json.loads(json.dumps(histogram.pack())))
    assert again.counts == histogram.counts
    assert again.max == histogram.max


NOTHING = {"p50": 0.0, "p99": 0.0, "max": 0.0}


def a_reading(factor: int) -> PoolStats:
    return PoolStats(
        size=3 * factor,
        in_use=1 * factor,
        idle=2 * factor,
        waiting=4 * factor,
        min_size=5 * factor,
        max_size=10 * factor,
        checkouts=100 * factor,
        timeouts=6 * factor,
        queued=8 * factor,
        leaks=factor,
        opened=7 * factor,
        closed={"lifetime": factor, f"only {factor}": 1},
        wait_seconds=filled([0.001 * factor]),
        use_seconds=filled([0.25 * factor, 0.5 * factor]),
        oldest_wait_seconds=0.1 * factor,
        oldest_use_seconds=3.0 / factor,
        exhausted_ago=9.0 / factor,
        endpoints={
            "GET all": EndpointStats(4 * factor, factor, filled([1e-5]), filled([0.5])),
            f"GET {factor}": EndpointStats(1),
        },
    )


def test_merged_readings_add_up() -> None:
    one, two = a_reading(1), a_reading(2)
    before = one.pack(), two.pack()
    unused = EndpointStats(1).as_dict()
    assert PoolStats.merged([one, two]).as_dict() == {
        "size": 9,
        "in_use": 3,
        "idle": 6,
        "waiting": 12,
        "min_size": 15,
        "max_size": 30,
        "checkouts": 300,
        "timeouts": 18,
        "queued": 24,
        "leaks": 3,
        "opened": 21,
        "closed": {"lifetime": 3, "only 1": 1, "only 2": 1},
        "wait_seconds": {"p50": 0.000992, "p99": 0.001984, "max": 0.002},
        "use_seconds": {"p50": 0.507904, "p99": 1.0, "max": 1.0},
        "create_seconds": NOTHING,
        "oldest_wait_seconds": 0.2,
        "oldest_use_seconds": 3.0,
        "exhausted_ago": 4.5,
        "endpoints": {
            "GET all": {
                "checkouts": 12,
                "timeouts": 3,
                "wait_seconds": {"p50": 1e-5, "p99": 1e-5, "max": 1e-5},
                "use_seconds": {"p50": 0.5, "p99": 0.5, "max": 0.5},
            },
            "GET 1": unused,
            "GET 2": unused,
        },
    }
    assert (one.pack(), two.pack()) == before


def test_merged_nothing_is_nothing() -> None:
    assert PoolStats.merged([]).pack() == PoolStats().pack()


def test_reading_survives_json() -> None:
    reading = a_reading(2)
    again = PoolStats.unpack(json.loads(json.dumps(reading.pack())))
    assert again.pack() == reading.pack()


def test_reading_of_a_newer_version_is_understood() -> None:
    packed = a_reading(1).pack() | {"of_the_future": 1}
    assert PoolStats.unpack(packed).pack() == a_reading(1).pack()


def test_each_number_is_shown() -> None:
    names = [field.name for field in dataclasses.fields(PoolStats)]
    assert list(PoolStats().as_dict()) == names


def test_never_exhausted_is_known_from_just_now() -> None:
    never, now = PoolStats(), PoolStats(exhausted_ago=0.0)
    assert PoolStats.merged([never, never]).exhausted_ago is None
    assert PoolStats.merged([never, now]).exhausted_ago == 0.0
    assert PoolStats.merged([now, never]).exhausted_ago == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_sum_and_mean_are_off_by_a_sixteenth_at_most(seed: int) -> None:
    dice = random.Random(seed)
    durations = [10 ** dice.uniform(-5, 3) for _ in range(500)]
    histogram = filled(durations)
    assert histogram.count == 500
    assert histogram.sum == pytest.approx(sum(durations), rel=1 / 16)
    assert histogram.mean == pytest.approx(sum(durations) / 500, rel=1 / 16)
    assert Histogram().mean == 0


def test_buckets_hold_what_is_below_their_end() -> None:
    dice = random.Random(1)
    durations = [10 ** dice.uniform(-6, 3) for _ in range(500)]
    buckets = list(filled(durations).buckets())
    for number, (end, _) in enumerate(buckets):
        below = sum(count for _, count in buckets[: number + 1])
        assert below == sum(int(each * 1e6) < round(end * 1e6) for each in durations)


def test_copy_stands_alone() -> None:
    one = filled([0.5])
    copy = one.copy()
    copy.add(0.7)
    assert (one.count, one.max) == (1, 0.5)
    assert (copy.count, copy.max) == (2, 0.7)
