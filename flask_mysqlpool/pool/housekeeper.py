"""One daemon thread for each process, which calls each pool when it is due.

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

MIN_PAUSE = 0.01  # seconds between two visits to a pool
FAILED_PAUSE = 30.0  # seconds until a pool is visited again that raised


class Maintained(t.Protocol):
    """What the housekeeper calls; see :class:`.pool.Pool`."""

    on_need: t.Callable[[], None]

    @property
    def closed(self) -> bool: ...

    def maintain(self) -> float: ...


class Housekeeper:
    """Calls pools in each process that uses them."""

    def __init__(self) -> None:
        # By process: a forked child has no thread of its parent's, and must not wait
        # for a lock that one of them held.
        self._rounds: dict[int, _Round] = {}

    def watch(self, pool: Maintained) -> None:
        """Call ``pool`` in this process when it is due, until it is closed."""
        pid = os.getpid()
        rounds = self._rounds.get(pid)
        if rounds is None:  # setdefault() is atomic: two first uses get the same one
            rounds = self._rounds.setdefault(pid, _Round())
            for other in self._rounds.keys() - {pid}:
                self._rounds.pop(other, None)
        rounds.watch(pool)

    @property
    def thread(self) -> threading.Thread | None:
        """The thread of this process, while it runs."""
        rounds = self._rounds.get(os.getpid())
        return rounds.thread if rounds is not None else None

    def watched(self) -> list[Maintained]:
        """Return the pools that are called in this process."""
        rounds = self._rounds.get(os.getpid())
        return rounds.watched() if rounds is not None else []


class _Round:
    """The pools of one process, and the thread that calls them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: weakref.WeakKeyDictionary[Maintained, float] = (
            weakref.WeakKeyDictionary()
        )
        # Its put() may be called while a put() is under way, as from a finalizer.
        # True: a pool is in need, whichever it is. False: there is a new one.
        self._calls: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None

    def watched(self) -> list[Maintained]:
        with self._lock:
            return list(self._due)

    def watch(self, pool: Maintained) -> None:
        with self._lock:
            self._due[pool] = 0.0
            pool.on_need = self._call
            if self.thread is None:
                self._start()
        self._calls.put(False)  # the others are not due

    def _start(self) -> None:
        thread = threading.Thread(
            target=self._run, name="mysqlpool-housekeeper", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            logger.warning("no housekeeper thread: %s", error)
        else:
            self.thread = thread

    def _call(self) -> None:
        self._calls.put(True)

    def _run(self) -> None:
        while True:
            called = self._wait()
            with self._lock:
                now = time.monotonic()
                for pool in [pool for pool in self._due if pool.closed]:
                    del self._due[pool]
                if not self._due:
                    self.thread = None
                    return
                due = [pool for pool, at in self._due.items() if called or at <= now]
            for pool in due:
                self._visit(pool)
            del due  # keeps no pool alive
            pool = None  # type: ignore[assignment]

    def _wait(self) -> bool:
        """Wait until a pool is due or somebody calls; return whether one is in need."""
        with self._lock:
            next_visit = min(self._due.values(), default=0.0)
        try:
            called = self._calls.get(
                timeout=max(MIN_PAUSE, next_visit - time.monotonic())
            )
        except queue.Empty:
            return False
        while not self._calls.empty():
            called |= self._calls.get()
        return called

    def _visit(self, pool: Maintained) -> None:
        try:
            pause = pool.maintain()
        except Exception:
            logger.exception("the maintenance of %r failed", pool)
            pause = FAILED_PAUSE
        with self._lock:
            if pool in self._due:
                self._due[pool] = time.monotonic() + max(MIN_PAUSE, pause)


housekeeper = Housekeeper()
