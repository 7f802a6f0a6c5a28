"""The pools of an app that were loaded on demand: at most so many, and the one that was
asked for least recently goes first.

Rule: none is closed that somebody uses. Connections are closed outside the lock.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import OrderedDict
from contextlib import suppress

from ..errors import PoolFull
from ..stats.readings import EndpointStats
from ..stats.readings import MAX_ENDPOINTS
from ..stats.readings import PoolStats
from .counters import OTHERS
from .idle import Closing
from .pool import Pool


class _State:
    """What belongs to one process: a fork may copy a lock while it is held."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.closed = PoolStats()  # the sum of the pools that were closed
        self.endpoints: set[str] = set()  # that are counted apart

    def note_closed(self, pool: Pool) -> None:
        """Add up what counts of a pool that was closed."""
        final = dataclasses.replace(
            pool.stats(), min_size=0, max_size=0, exhausted_ago=None
        )
        total = PoolStats.merged([self.closed, final])
        _limit_endpoints(total, self.endpoints)
        self.closed = total


class LoadedPools:
    """The loaded pools of one app by bind name.

    :param max_pools: the most that there may be.
    """

    def __init__(self, max_pools: int) -> None:
        self._max_pools = max_pools
        self._pools: OrderedDict[str, Pool] = OrderedDict()  # the latest is the last
        self._states: dict[int, _State] = {}  # by process id
        self._told_until: dict[str, float] = {}  # else each load would warn anew

    def find(self, name: str) -> Pool | None:
        """Return a pool that is open, and note that it was asked for. Takes no lock."""
        pool = self._pools.get(name)
        if pool is None or pool.closed:
            return None
        with suppress(KeyError):  # another thread closes it just now
            self._pools.move_to_end(name)
        return pool

    def add(self, name: str, pool: Pool, index: dict[str, Pool]) -> Pool:
        """Add a pool, and close another where there are too many; if there is one of
        that name by now, return that.

        :param index: has all of them, too.
        :raise PoolFull: all that there may be are in use.
        """
        closing: list[tuple[Pool, Closing]] = []
        state = self._state()
        try:
            with state.lock:
                known = self.find(name)
                if known is not None:
                    return known
                gone = [name] if name in self._pools else []
                if not gone and len(self._pools) >= self._max_pools:
                    gone.append(self._close_one(name, closing))
                for each in gone:  # the last step last, for an interrupt may come
                    index.pop(each, None)
                    state.note_closed(self._pools[each])
                    del self._pools[each]
                pool.share_warnings(self._told_until)
                self._pools[name] = index[name] = pool
                return pool
        finally:
            for each, connections in closing:
                each.disconnect(connections)

    def _close_one(self, wanted: str, closing: list[tuple[Pool, Closing]]) -> str:
        """Close the first that nobody uses; return its name."""
        for name, pool in list(self._pools.items()):
            closing.append((pool, pool.close_unused()))
            if pool.closed:
                return name
        raise PoolFull(
            f"bind {wanted!r} cannot be loaded: all {self._max_pools} loaded binds that"
            " there may be are in use (MYSQLPOOL_MAX_BINDS)",
            retry_after=pool.settings.timeout,
        )

    def stats(self) -> PoolStats:
        """Return a reading of all together, of those that were closed, too: no counter
        goes down.
        """
        state = self._state()
        with state.lock:
            total = PoolStats.merged([state.closed])
            pools = list(self._pools.values())
        for pool in pools:
            total.add(pool.stats())
        with state.lock:
            _limit_endpoints(total, state.endpoints)
        return total

    def _state(self) -> _State:
        pid = os.getpid()
        return self._states.get(pid) or self._states.setdefault(pid, _State())


def _limit_endpoints(total: PoolStats, apart: set[str]) -> None:
    """Count endpoints beyond the limit together, always the same ones."""
    others = EndpointStats()
    for name in list(total.endpoints):
        if name not in apart and name != OTHERS:
            if len(apart) < MAX_ENDPOINTS:
                apart.add(name)
            else:
                others.add(total.endpoints.pop(name))
    if others.checkouts or others.timeouts:
        total.endpoints.setdefault(OTHERS, EndpointStats()).add(others)
