"""One caller tries a server that could not be reached, the others are told at once."""

from __future__ import annotations

from flask_mysqlpool.pool.circuit_breaker import FIRST_PAUSE
from flask_mysqlpool.pool.circuit_breaker import LONGEST_PAUSE
from flask_mysqlpool.pool.circuit_breaker import Outage

DOWN = OSError("connection refused")
WORSE = OSError("no route to host")


def test_server_that_answers_may_be_tried_by_all() -> None:
    outage = Outage()
    assert [outage.begin_try(0.0) for _ in range(3)] == [None, None, None]
    assert outage.pause(0.0) == 0.0


def test_after_a_failure_one_tries_and_the_others_are_told() -> None:
    outage = Outage()
    outage.failed(DOWN, 100.0)
    assert outage.begin_try(100.0) is DOWN
    later = 100.0 + FIRST_PAUSE
    assert outage.begin_try(later) is None
    assert outage.begin_try(later) is DOWN
    assert outage.begin_try(later + 1000) is DOWN  # as long as the first still tries


def test_others_are_told_the_last_failure() -> None:
    outage = Outage()
    outage.failed(DOWN, 0.0)
    outage.failed(WORSE, 0.0)
    assert outage.begin_try(0.0) is WORSE


def test_pause_doubles_up_to_a_limit_and_varies() -> None:
    outage = Outage()
    now, longest = 0.0, FIRST_PAUSE
    pauses = []
    for _ in range(40):
        outage.failed(DOWN, now)
        pauses.append(outage.pause(now))
        assert longest / 2 <= pauses[-1] <= longest
        longest = min(LONGEST_PAUSE, longest * 2)
        assert outage.pause(now + 2 * pauses[-1]) == 0.0
        now += pauses[-1]
        assert outage.begin_try(now) is None
    assert len(set(pauses[10:])) > 1


def test_answer_ends_the_outage() -> None:
    outage = Outage()
    for _ in range(10):
        outage.failed(DOWN, 0.0)
    outage.ended()
    assert [outage.begin_try(0.0) for _ in range(3)] == [None, None, None]
    outage.failed(DOWN, 0.0)
    assert outage.pause(0.0) <= FIRST_PAUSE  # a new outage begins anew


def test_try_that_was_interrupted_lets_the_next_one_try() -> None:
    outage = Outage()
    outage.failed(DOWN, 0.0)
    assert outage.begin_try(1.0) is None
    outage.give_up_try()
    assert outage.begin_try(1.0) is None
    assert outage.begin_try(1.0) is DOWN
