"""Threads that run one at a time, by turns that a seed decides.

A worker is a real thread. While it runs code of the pool, a trace function counts byte
codes; after a number of them the worker hands the baton back to the scheduler, which
picks the next worker. Locks and clocks are simulated: who would block hands the baton
back, and the clock moves only when nobody can run.

An interrupt is raised where CPython itself runs signal handlers: at the start of a
function, after a call, and at a jump back.
"""

from __future__ import annotations

import dis
import functools
import gc
import random
import sys
import threading
import types
import typing as t
from _thread import allocate_lock
from collections.abc import Callable
from pathlib import Path

import flask_mysqlpool.pool

POOL_FOLDER = str(Path(flask_mysqlpool.pool.__file__).parent)
FOREVER = float("inf")


class Interrupt(BaseException):
    """What a signal handler raises."""


class Stopped(BaseException):
    """Ends a worker when the simulation is over."""


@functools.cache
def interruptible(code: types.CodeType) -> frozenset[int] | None:
    """Return the offsets before which a signal handler may run; ``None`` where the
    code is not the pool's.
    """
    if not code.co_filename.startswith(POOL_FOLDER) or counts_references(code):
        return None
    offsets = set()
    before, at = "RESUME", 0  # Python 3.10 has no such instruction
    for each in dis.get_instructions(code):
        if before == "RESUME" or before.startswith("CALL"):
            if handler(code, at) == handler(code, each.offset):
                offsets.add(each.offset)
        if "JUMP" in each.opname and isinstance(each.argval, int):
            if each.argval <= each.offset:
                offsets.add(each.argval)
        before, at = each.opname, each.offset
    return frozenset(offsets)


def handler(code: types.CodeType, offset: int) -> int | None:
    """Return where an exception at that offset goes. An interrupt after a call is the
    call's: not that of the next instruction, which may be past the end of a block.
    """
    parse: t.Any = getattr(dis, "_parse_exception_table", None)  # from Python 3.11 on
    for each in parse(code) if parse is not None else ():
        if each.start <= offset < each.end:
            return int(each.target)
    return None


def counts_references(code: types.CodeType) -> bool:
    """Return whether tracing would falsify the code: it refers to the locals."""
    listed = code.co_filename.endswith("dropped.py") and code.co_name == "<listcomp>"
    return listed or code.co_name in ("_reference_counts", "note_unowned")


def where_of(frame: types.FrameType | None) -> str:
    """Return the calls within the pool that led to a frame, the innermost first."""
    places = []
    while frame is not None:
        if interruptible(frame.f_code) is not None:
            places.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(places)


class Worker:
    """A thread that does one job after the other, when it has the baton."""

    def __init__(self, scheduler: Scheduler, number: int) -> None:
        self.scheduler = scheduler
        self.number = number
        self.job: Callable[[], None] | None = None
        self.task = ""  # what the job is
        self.lock: SimulatedLock | None = None  # that it waits for
        self.until: float | None = None  # when its wait ends; None: it does not wait
        self.waits_in = ""  # function of the pool that waits
        self.interrupt_in = 0  # places where an interrupt is possible; 0: never
        self.interrupted = False
        self.collecting = False
        self.baton = allocate_lock()
        self.baton.acquire()
        self._turn = 1  # byte codes left
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def __repr__(self) -> str:
        return f"worker {self.number} ({self.task or 'idle'})"

    @property
    def idle(self) -> bool:
        return self.job is None

    def can_run(self, now: float) -> bool:
        if self.job is None:
            return False
        if self.until is None or now >= self.until:
            return True
        return self.lock is not None and not self.lock.locked

    def begin(self, task: str, job: Callable[[], None], interrupt_in: int = 0) -> None:
        self.task, self.job = task, job
        self.interrupt_in, self.interrupted = interrupt_in, False

    def hand_over(self) -> None:
        scheduler = self.scheduler
        if not scheduler.stopping:
            scheduler.baton.release()
            self.baton.acquire()
        if scheduler.stopping:
            raise Stopped

    def wait(self, lock: SimulatedLock | None, until: float, where: str) -> None:
        """Let others run until the lock is free or the clock says so."""
        self.lock, self.until, self.waits_in = lock, until, where
        try:
            self.hand_over()
        finally:
            self.lock, self.until, self.waits_in = None, None, ""
        if self.interrupt_in and self.scheduler.random.random() < 0.2:
            self.interrupt()

    def interrupt(self) -> t.NoReturn:
        rng = self.scheduler.random
        self.interrupted = True
        self.scheduler.interrupts.append(f"{self} {where_of(sys._getframe(1))}")
        again = rng.random() < self.scheduler.second_interrupts
        self.interrupt_in = rng.randint(1, 12) if again else 0
        self.scheduler.on_interrupt()
        raise Interrupt

    def trace_again(self) -> None:
        """Go on tracing: an exception in a trace function ends it."""
        if sys.gettrace() is not None or self.scheduler.stopping:
            return
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None:
            if interruptible(frame.f_code) is not None:
                frame.f_trace = self._trace
                frame.f_trace_opcodes = True
            frame = frame.f_back
        sys.settrace(self._trace)

    def _trace(self, frame: types.FrameType, event: str, argument: t.Any) -> t.Any:
        places = interruptible(frame.f_code)
        if places is None or self.scheduler.stopping:
            return None
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            if self.interrupt_in and frame.f_lasti in places:
                self.interrupt_in -= 1
                if not self.interrupt_in:
                    self.interrupt()
            self._turn -= 1
            if self._turn <= 0:
                self._end_turn()
        return self._trace

    def _end_turn(self) -> None:
        rng = self.scheduler.random
        self._turn = rng.choice((1, 3, 10, 30, 60, 90))
        if rng.random() < 0.01:
            self.collecting = True
            gc.collect(1)
            self.collecting = False
        self.hand_over()

    def _run(self) -> None:
        while True:
            self.baton.acquire()
            job = self.job
            if job is None:
                return
            sys.settrace(self._trace)
            try:
                job()
            except Stopped:
                return
            except BaseException as error:
                self.scheduler.report(f"{self} ended with {error!r}")
                error.__traceback__ = None
            finally:
                sys.settrace(None)
            self.job, self.task, self.interrupt_in = None, "", 0
            del job
            if self.scheduler.stopping:  # a finalizer may swallow Stopped
                return
            self.scheduler.baton.release()


class Scheduler:
    """Who runs next, and what time it is."""

    def __init__(self, seed: int, workers: int, second_interrupts: float) -> None:
        self.random = random.Random(seed)
        self.second_interrupts = second_interrupts  # share of the interrupts
        self.now = 1000.0
        self.steps = 0
        self.stopping = False
        self.current: Worker | None = None
        self.faults: list[str] = []
        self.interrupts: list[str] = []  # where they came
        self.on_interrupt: Callable[[], None] = lambda: None
        self.baton = allocate_lock()
        self.baton.acquire()
        self.workers = [Worker(self, number) for number in range(workers)]

    def clock(self) -> float:
        return self.now

    def report(self, fault: str) -> None:
        if not self.stopping:
            self.faults.append(fault)

    def able(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.can_run(self.now)]

    def run(self, worker: Worker) -> None:
        """Let a worker run until it hands over the baton: one step."""
        self.steps += 1
        self.current = worker
        worker.baton.release()
        self.baton.acquire()
        self.current = None

    def next_time(self) -> float:
        """Return when the next wait ends."""
        busy = (worker for worker in self.workers if not worker.idle)
        return min((each.until or 0.0 for each in busy), default=FOREVER)

    def stop(self) -> None:
        """End the threads, wherever they are."""
        self.stopping = True
        for worker in self.workers:
            if worker.idle:
                worker.job = None
            worker.baton.release()
            worker.thread.join()

    def sleep(self, seconds: float, where: str) -> None:
        """Let the worker that runs wait."""
        worker = self.current
        if worker is not None:
            worker.trace_again()
            worker.wait(None, self.now + max(0.0, seconds), where)


class SimulatedLock:
    """A :class:`threading.Lock`, or an ``RLock``, of a simulated world."""

    def __init__(self, scheduler: Scheduler, reentrant: bool = False) -> None:
        self.owner: object = None
        self.on_locked: Callable[[str], None] | None = None
        self.on_unlocking: Callable[[], None] | None = None
        self._scheduler = scheduler
        self._reentrant = reentrant
        self._depth = 0

    @property
    def locked(self) -> bool:
        return self.owner is not None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        return self._acquire(blocking, timeout, sys._getframe(1))

    def release(self) -> None:
        me = self._me()
        if self.owner is None or (self._reentrant and self.owner is not me):
            raise RuntimeError("release unlocked lock")
        self._depth -= 1
        if not self._depth:
            if self.on_unlocking is not None:
                self.on_unlocking()
            self.owner = None

    def __enter__(self) -> bool:
        return self._acquire(True, -1, sys._getframe(1))

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def _is_owned(self) -> bool:
        return self.owner is self._me()

    def _me(self) -> object:
        return self._scheduler.current or self._scheduler

    def _acquire(self, blocking: bool, timeout: float, frame: types.FrameType) -> bool:
        scheduler, worker = self._scheduler, self._scheduler.current
        if worker is not None:
            worker.trace_again()
        until = scheduler.now + timeout if timeout >= 0 else FOREVER
        while self.owner is not None and not (self._reentrant and self._is_owned()):
            if not blocking or scheduler.now >= until or scheduler.stopping:
                return False
            if worker is None:
                raise AssertionError("a lock was left locked")
            back = frame.f_back
            where = back.f_code.co_name if timeout >= 0 and back else "lock"
            worker.wait(self, until, where)
        self.owner = self._me()
        self._depth += 1
        if self._depth == 1 and self.on_locked is not None:
            self.on_locked(frame.f_code.co_name)
        return True


class SimulatedThreading:
    """The names of :mod:`threading` that the pool's modules use.

    :param prepare: is given each new lock that may be taken twice.
    """

    TIMEOUT_MAX = threading.TIMEOUT_MAX
    Thread = threading.Thread

    def __init__(
        self,
        scheduler: Scheduler,
        prepare: Callable[[SimulatedLock], None] = lambda lock: None,
    ) -> None:
        self._scheduler = scheduler
        self._prepare = prepare

    def Lock(self) -> SimulatedLock:
        return SimulatedLock(self._scheduler)

    def RLock(self) -> SimulatedLock:
        lock = SimulatedLock(self._scheduler, reentrant=True)
        self._prepare(lock)
        return lock
