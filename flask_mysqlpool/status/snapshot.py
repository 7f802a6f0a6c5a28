"""What the page shows, as plain data: all workers of an app at one moment."""

from __future__ import annotations

import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flask import Flask

from ..context import folder_of
from ..context import pools_of
from ..control.client import ask_holders
from ..control.client import ask_stats
from ..control.client import merged
from ..control.client import Reply
from ..pool.pool import Pool
from ..pool.pools import Pools
from ..stats.holders import Holder
from ..stats.readings import PoolStats

KEPT = 0.5  # seconds for which an answer serves all who look


class Snapshots:
    """The latest answer of the workers of each app. However many look, the workers
    are asked twice a second at most.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[Path, tuple[float, dict[str, t.Any]]] = {}

    def latest(self, app: Flask) -> dict[str, t.Any]:
        """Return what the workers of an app say.

        :raise OSError: the folder of their sockets is not this user's alone.
        """
        folder = folder_of(app)
        with self._lock:  # who comes meanwhile has the same answer
            asked_at, snapshot = self._latest.get(folder, (0.0, {}))
            if not snapshot or time.monotonic() - asked_at > KEPT:
                snapshot = take(app.name, list(pools_of(app)), folder)
                self._latest[folder] = time.monotonic(), snapshot
            return snapshot


def take(app_name: str, binds: list[str], folder: Path) -> dict[str, t.Any]:
    """Ask every worker; return the numbers of each and their sum."""
    # A worker that is silent costs its second once.
    with ThreadPoolExecutor(1) as executor:
        asked = executor.submit(ask_holders, folder)
        replies = ask_stats(folder)
        holders = _by_pid(asked.result())
    sums = merged(replies)
    return {
        "app": app_name,
        "time": time.time(),
        "workers": [_worker(each, holders.pop(each.pid, {})) for each in replies],
        "totals": {bind: _total(sums.get(bind, PoolStats())) for bind in binds},
    }


def _by_pid(replies: list[Reply[list[Holder]]]) -> dict[int, dict[str, list[Holder]]]:
    """Return who holds what; a process may have made its app twice."""
    holders: dict[int, dict[str, list[Holder]]] = {}
    for reply in replies:
        binds = holders.setdefault(reply.pid, {})
        for bind, lent in reply.binds.items():
            binds[bind] = binds.get(bind, []) + lent
    return holders


def _worker(
    reply: Reply[PoolStats], holders: dict[str, list[Holder]]
) -> dict[str, t.Any]:
    if reply.error:
        return {"pid": reply.pid, "binds": {}, "holders": {}, "error": reply.error}
    binds = {bind: reading.as_dict() for bind, reading in reply.binds.items()}
    for reading in binds.values():
        del reading["endpoints"]  # the totals have them, of all workers
    lent = {bind: [each.as_dict() for each in holders.get(bind, [])] for bind in binds}
    return {"pid": reply.pid, "binds": binds, "holders": lent}


def _total(reading: PoolStats) -> dict[str, t.Any]:
    # Who has two of these knows the percentiles of the time between them.
    buckets = {
        "wait_buckets": list(reading.wait_seconds.buckets()),
        "use_buckets": list(reading.use_seconds.buckets()),
    }
    return reading.as_dict() | buckets


def health_of(pools: Pools) -> dict[str, t.Any]:
    """Return how the pools of this process are, from its memory."""
    binds = {bind: _health(pool) for bind, pool in pools.items()}
    words = [health["status"] for health in binds.values()]
    return {"status": max(words, key=WORDS.index), "binds": binds}


# From good to bad.
WORDS = ("ok", "exhausted", "unreachable", "closed")


def _health(pool: Pool) -> dict[str, t.Any]:
    reading = pool.stats()
    if pool.closed:
        word = "closed"
    elif pool.outage is not None:
        word = "unreachable"
    elif reading.waiting and reading.in_use >= reading.max_size:
        word = "exhausted"
    else:
        word = "ok"
    return {
        "status": word,
        "in_use": reading.in_use,
        "idle": reading.idle,
        "waiting": reading.waiting,
        "max_size": reading.max_size,
        "timeouts": reading.timeouts,
    }
