"""Use one pool while signals come at random moments, whose handler raises."""

from __future__ import annotations

import gc
import logging
import random
import signal
import sys
import time
import typing as t
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from flask_mysqlpool import Pool


class Alarm(BaseException):
    """What the handler raises, as those of time limits do."""


def ring(*args: object) -> None:
    raise Alarm


def storm(
    pool: Pool, use: Callable[[], None], signals: int, seconds: float, longest: float
) -> dict[str, t.Any]:
    """Call ``use`` until so many signals came; tell how the pool stands then.

    :param seconds: after which it ends with fewer signals.
    :param longest: seconds until a signal comes.
    """
    signal.signal(signal.SIGALRM, ring)
    sys.unraisablehook = lambda _: None  # an alarm within a finalizer
    logging.disable()
    moments = random.Random(7)
    report = {"interrupted": 0, "deadlocks": 0}
    unowned = count_unowned(pool)
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(1) as other:
        while report["interrupted"] < signals and time.monotonic() < end:
            try:
                signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-6, longest))
                use()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Alarm:
                report["interrupted"] += 1
            if not other.submit(free, pool).result(20):
                report["deadlocks"] += 1
                break
            pool.maintain()
    gc.collect()
    pool.maintain()
    reading = pool.stats()
    lost = reading.size - reading.idle
    pool.connection(timeout=5).close()
    return {
        **report,
        "in_use": reading.in_use,
        "lost": lost,
        "waiting": reading.waiting,
        "unowned": len(unowned),
    }


def free(pool: Pool) -> bool:
    """Whether another thread can still use the pool."""
    got: bool = pool._lock.acquire(timeout=2)
    if got:
        pool._lock.release()
    return got


def count_unowned(pool: Pool) -> list[int]:
    """Return a list that gets the checkouts of which no finalizer took note."""
    dropped = pool._slots._dropped
    real = dropped.note_unowned
    found: list[int] = []

    def note_unowned(lent: dict[int, t.Any]) -> None:
        before = set(dropped.noted)
        real(lent)
        found.extend(set(dropped.noted) - before)

    dropped.note_unowned = note_unowned  # type: ignore[method-assign]
    return found
