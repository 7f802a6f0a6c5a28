"""Callers that wait, with a place in hand, for room at a full server."""

from __future__ import annotations

import typing as t

import pytest
from pymysql import err

from flask_mysqlpool import Pool
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool.pool.waiter import Waiter

from ...support.fake_session import connector_of
from ...support.fake_session import fake_pool


@pytest.fixture
def pool() -> Pool:
    pool = fake_pool(max_size=2)
    connector_of(pool).error = err.OperationalError(1040, "Too many connections")
    return pool


def check_interrupted(pool: Pool) -> None:
    """Check that Ctrl-C comes out as itself and leaves nothing behind."""
    with pytest.raises(KeyboardInterrupt) as raised:
        pool.connection()
    context = raised.value.__context__
    while context is not None:
        assert isinstance(context, err.OperationalError), repr(context)
        context = context.__context__
    del raised
    reading = pool.stats()
    assert (reading.size, reading.in_use, reading.waiting) == (0, 0, 0)
    connector_of(pool).error = None
    pool.connection(timeout=0).close()


def test_caller_that_does_not_wait_tries_once(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0
    really_open = connector_of(pool).open

    def count(deadline: float) -> t.Any:
        nonlocal tries
        tries += 1
        return really_open(deadline)

    monkeypatch.setattr(connector_of(pool), "open", count)
    with pytest.raises(PoolTimeout, match="the server is full"):
        pool.connection(timeout=0)
    assert tries == 1


def test_interrupt_after_leaving_the_queue_is_not_masked(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pool._slots.leave_if_first

    def leave_if_first(waiter: Waiter) -> bool:
        if real(waiter):
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(pool._slots, "leave_if_first", leave_if_first)
    check_interrupted(pool)


def test_interrupt_in_the_queue_is_not_masked(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(waiter: Waiter, seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Waiter, "wait", wait)
    check_interrupted(pool)


def test_interrupt_as_a_connection_is_handed_over_is_not_masked(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector_of(pool).error = None
    held = pool.connection()
    connector_of(pool).error = err.OperationalError(1040, "Too many connections")

    def wait(waiter: Waiter, seconds: float) -> None:
        held.close()
        assert waiter.grant is not None
        raise KeyboardInterrupt

    monkeypatch.setattr(Waiter, "wait", wait)
    check_interrupted(pool)
