"""One caller probes a server that could not be reached, the others fail at once."""

from __future__ import annotations

from flask_mysqlpool.pool.circuit_breaker import CircuitBreaker
from flask_mysqlpool.pool.circuit_breaker import MAX_PAUSE
from flask_mysqlpool.pool.circuit_breaker import MIN_PAUSE
from flask_mysqlpool.pool.circuit_breaker import Probe

DOWN = OSError("connection refused")
WORSE = OSError("no route to host")


def admit(breaker: CircuitBreaker, now: float) -> Probe | Exception | None:
    return breaker.admit(now, now + 10)


def test_closed_breaker_admits_everybody() -> None:
    breaker = CircuitBreaker()
    assert [admit(breaker, 0.0) for _ in range(3)] == [None, None, None]
    assert breaker.pause(0.0) == 0.0


def test_after_a_failure_one_probes_and_the_others_are_refused() -> None:
    breaker = CircuitBreaker()
    breaker.note_unreachable(DOWN, 100.0)
    assert str(admit(breaker, 100.0)) == str(DOWN)
    later = 100.0 + MIN_PAUSE
    probe = admit(breaker, later)
    assert isinstance(probe, Probe)
    assert str(admit(breaker, later)) == str(DOWN)
    assert str(admit(breaker, later + 9)) == str(
        DOWN
    )  # as long as the probe is under way


def test_others_are_told_the_last_failure() -> None:
    breaker = CircuitBreaker()
    breaker.note_unreachable(DOWN, 0.0)
    breaker.note_unreachable(WORSE, 0.0)
    assert str(admit(breaker, 0.0)) == str(WORSE)


def test_pause_doubles_up_to_a_limit_and_varies() -> None:
    breaker = CircuitBreaker()
    now, longest = 0.0, MIN_PAUSE
    pauses = []
    for _ in range(40):
        breaker.note_unreachable(DOWN, now)
        pauses.append(breaker.pause(now))
        assert longest / 2 <= pauses[-1] <= longest
        longest = min(MAX_PAUSE, longest * 2)
        assert breaker.pause(now + 2 * pauses[-1]) == 0.0
        now += pauses[-1]
        assert isinstance(admit(breaker, now), Probe)
    assert len(set(pauses[10:])) > 1


def test_reachable_server_closes_the_breaker() -> None:
    breaker = CircuitBreaker()
    for _ in range(10):
        breaker.note_unreachable(DOWN, 0.0)
    breaker.note_reachable()
    assert [admit(breaker, 0.0) for _ in range(3)] == [None, None, None]
    breaker.note_unreachable(DOWN, 0.0)
    assert breaker.pause(0.0) <= MIN_PAUSE  # a new outage begins anew


def test_interrupted_probe_lets_the_next_caller_probe() -> None:
    breaker = CircuitBreaker()
    breaker.note_unreachable(DOWN, 0.0)
    probe = admit(breaker, 1.0)
    assert isinstance(probe, Probe)
    breaker.end_probe(probe)
    other = admit(breaker, 1.0)
    assert isinstance(other, Probe)
    breaker.end_probe(probe)  # late, and not its own
    assert str(admit(breaker, 1.0)) == str(DOWN)


def test_dropped_probe_lets_the_next_caller_probe() -> None:
    breaker = CircuitBreaker()
    breaker.note_unreachable(DOWN, 0.0)
    probe = admit(breaker, 1.0)
    assert str(admit(breaker, 1.0)) == str(DOWN)
    del probe
    assert isinstance(admit(breaker, 1.0), Probe)


def test_probe_that_a_traceback_keeps_alive_expires() -> None:
    breaker = CircuitBreaker()
    breaker.note_unreachable(DOWN, 0.0)
    kept = breaker.admit(1.0, 3.0)
    assert str(admit(breaker, 2.9)) == str(DOWN)
    assert isinstance(admit(breaker, 3.0), Probe)
    assert isinstance(kept, Probe)
