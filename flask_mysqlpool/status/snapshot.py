"""The data of the page: all workers of an app at one moment, and the health."""

from __future__ import annotations

import threading
import time
import typing as t
from collections.abc import Mapping
from pathlib import Path

from flask import Flask

from ..context import folder_of
from ..context import pools_of
from ..control.client import ask_snapshots
from ..control.client import PoolSnapshot
from ..control.client import Reply
from ..stats.readings import LOADED
from ..stats.readings import PoolStats
from ..stats.text import printable

CACHE_SECONDS = 0.5  # for which all viewers get the same snapshot
# From good to bad.
STATUSES = ("ok", "exhausted", "unreachable", "closed")


class Snapshots:
    """The latest snapshot of each app. All viewers share it, so that the workers are
    asked at most once in :data:`CACHE_SECONDS`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[Path, tuple[float, dict[str, t.Any]]] = {}

    def latest(self, app: Flask) -> dict[str, t.Any]:
        """Return a snapshot that is at most :data:`CACHE_SECONDS` old.

        :raise OSError: the folder of their sockets is not this user's alone.
        """
        folder = folder_of(app)
        with self._lock:  # viewers that wait for it get the same snapshot
            asked_at, snapshot = self._latest.get(folder, (0.0, {}))
            if not snapshot or time.monotonic() - asked_at > CACHE_SECONDS:
                pools = pools_of(app)
                binds = [*pools.configured, *[LOADED] * pools.loads]
                snapshot = take(app.name, binds, folder)
                self._latest[folder] = time.monotonic(), snapshot
            return snapshot


def take(app_name: str, binds: list[str], folder: Path) -> dict[str, t.Any]:
    """Ask all workers; return the statistics and holders of each, and the totals.

    :param binds: those that have a total; others are loaded on demand.
    """
    replies = ask_snapshots(folder)
    workers = [_worker(each, binds) for each in replies]
    readings = [(name, each.stats) for r in replies for name, each in r.binds.items()]
    totals = {
        bind: PoolStats.merged(stats for name, stats in readings if name == bind)
        for bind in binds
    }
    return {
        "app": printable(app_name),
        "time": time.time(),
        "workers": workers,
        "totals": {bind: _total(reading) for bind, reading in totals.items()},
    }


def _worker(reply: Reply[PoolSnapshot], known: list[str]) -> dict[str, t.Any]:
    binds = {bind: each.stats.as_dict() for bind, each in reply.binds.items()}
    for reading in binds.values():
        del reading["endpoints"]  # in the totals
    holders = {
        bind: [holder.as_dict() for holder in each.holders]
        for bind, each in reply.binds.items()
    }
    if LOADED in holders:
        holders[LOADED] = [
            holder | {"holder": f"{holder['holder']} ({bind})"}
            for bind in holders.keys() - set(known)
            for holder in holders[bind]
        ]
    worker = {"pid": reply.pid, "binds": binds, "holders": holders}
    return worker | {"error": reply.error} if reply.error else worker


def _total(reading: PoolStats) -> dict[str, t.Any]:
    # The page computes the percentiles between two snapshots from them.
    buckets = {
        "wait_buckets": list(reading.wait_seconds.buckets()),
        "use_buckets": list(reading.use_seconds.buckets()),
    }
    return reading.as_dict() | buckets


class PoolHealth(t.Protocol):
    """What the health of a pool is read from."""

    @property
    def closed(self) -> bool: ...

    @property
    def outage(self) -> Exception | None: ...

    def stats(self) -> PoolStats: ...


def health_of(pools: Mapping[str, PoolHealth]) -> dict[str, t.Any]:
    """Return the health of pools of this process, read from memory."""
    binds = {bind: _health(pool) for bind, pool in pools.items()}
    statuses = [health["status"] for health in binds.values()]
    return {"status": max(statuses, key=STATUSES.index), "binds": binds}


def _health(pool: PoolHealth) -> dict[str, t.Any]:
    reading = pool.stats()
    if pool.closed:
        status = "closed"
    elif pool.outage is not None:
        status = "unreachable"
    elif reading.waiting and reading.in_use >= reading.max_size:
        status = "exhausted"
    else:
        status = "ok"
    return {
        "status": status,
        "in_use": reading.in_use,
        "idle": reading.idle,
        "waiting": reading.waiting,
        "max_size": reading.max_size,
        "timeouts": reading.timeouts,
    }
