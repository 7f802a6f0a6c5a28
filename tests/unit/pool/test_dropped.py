"""What was dropped instead of returned is freed once, whoever comes first."""

from __future__ import annotations

import sys
import threading
from collections import deque

import pytest

from flask_mysqlpool import Pool

from ...support.fake_session import fake_pool

ROUNDS = 300


class WatchedDeque(deque[int]):
    """Notes whether this thread held the lock of the slots at each draining."""

    def __init__(self, pool: Pool, notes: deque[int]) -> None:
        super().__init__(notes)
        self._pool = pool
        self.locked: list[bool] = []

    def popleft(self) -> int:
        self.locked.append(self._pool._slots.in_this_thread())
        return super().popleft()


def use(pool: Pool) -> None:
    pool.connection(timeout=5).close()


@pytest.mark.parametrize("drain", [use, Pool.maintain, Pool.stats, Pool.recycle])
def test_notes_are_drained_under_the_lock(drain: object) -> None:
    pool = fake_pool(max_size=2)
    dropped = pool.connection(), pool.connection()
    del dropped
    notes = WatchedDeque(pool, pool._slots._dropped.noted)
    assert len(notes) == 2
    pool._slots._dropped.noted = notes
    drain(pool)  # type: ignore[operator]
    assert notes.locked and all(notes.locked)
    assert not notes
    assert pool.stats().in_use == 0


def test_two_threads_that_drain_at_once_lose_nothing() -> None:
    pool = fake_pool(max_size=4, timeout=10)
    start, errors = threading.Barrier(3), []

    def drain_repeatedly(drain: object) -> None:
        for _ in range(ROUNDS):
            start.wait(20)
            try:
                drain(pool)  # type: ignore[operator]
            except Exception as error:
                errors.append(error)
            start.wait(20)

    threads = [
        threading.Thread(target=drain_repeatedly, args=(drain,))
        for drain in (use, Pool.maintain)
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(ROUNDS):
            dropped = [pool.connection() for _ in range(4)]
            dropped.clear()
            start.wait(20)
            start.wait(20)
            reading = pool.stats()
            assert (reading.in_use, reading.waiting) == (0, 0), pool
            assert reading.size == reading.idle, pool
    finally:
        sys.setswitchinterval(interval)
        start.abort() if sys.exc_info()[0] else None
        for thread in threads:
            thread.join(20)
    assert errors == []
    assert pool.stats().closed["lost"] == 4 * ROUNDS
