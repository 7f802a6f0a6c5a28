"""One daemon thread per process that calls on each pool when it asks for it.

It knows only time: what there is to do, the pools know. Where no thread can run, a
connection that is too old or was dropped goes at a checkout instead, and nothing is
opened or closed ahead of time.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import typing as t
import weakref

logger = logging.getLogger(__name__)

SOONEST = 0.01  # seconds between two visits to a pool at least


class Tended(t.Protocol):
    """What the housekeeper looks after; see :class:`.pool.Pool`."""

    on_need: t.Callable[[], None]

    @property
    def closed(self) -> bool: ...

    def tend(self) -> float: ...


class Housekeeper:
    """The thread, and the pools that it looks after."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._due: weakref.WeakKeyDictionary[Tended, float] = (
            weakref.WeakKeyDictionary()
        )
        # Its put() may be called while a put() is under way, as from a finalizer.
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def watch(self, pool: Tended) -> None:
        """Look after ``pool`` in this process, until it is closed."""
        if self._pid != os.getpid():
            self._clear()
        with self._lock:
            self._due[pool] = 0.0
            pool.on_need = self._call
            if self._thread is None:
                self._start()
        self._call()

    def _start(self) -> None:
        thread = threading.Thread(
            target=self._run, name="mysqlpool-housekeeper", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            logger.warning("no housekeeper thread: %s", error)
        else:
            self._thread = thread

    def _call(self) -> None:
        self._calls.put(None)

    def _run(self) -> None:
        while True:
            called = self._wait()
            with self._lock:
                now = time.monotonic()
                for pool in [pool for pool in self._due if pool.closed]:
                    del self._due[pool]
                if not self._due:
                    self._thread = None
                    return
                due = [pool for pool, at in self._due.items() if called or at <= now]
            for pool in due:
                self._visit(pool)
            del due  # keeps no pool alive
            pool = None  # type: ignore[assignment]

    def _wait(self) -> bool:
        """Wait until a pool is due or somebody calls; return whether one did."""
        with self._lock:
            next_visit = min(self._due.values(), default=0.0)
        try:
            self._calls.get(timeout=max(SOONEST, next_visit - time.monotonic()))
        except queue.Empty:
            return False
        while not self._calls.empty():
            self._calls.get()
        return True

    def _visit(self, pool: Tended) -> None:
        try:
            pause = pool.tend()
        except Exception:
            logger.exception("%r could not be tended", pool)
            pause = 30.0
        with self._lock:
            if pool in self._due:
                self._due[pool] = time.monotonic() + max(SOONEST, pause)


housekeeper = Housekeeper()
