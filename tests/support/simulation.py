"""A simulation of the pool: callers, a server and a clock that one seed decides."""

from __future__ import annotations

import gc
import sys
import typing as t
import weakref
from collections.abc import Callable

from pymysql import err

from flask_mysqlpool import Pool
from flask_mysqlpool.errors import ConnectionBusyError
from flask_mysqlpool.errors import PoolClosed
from flask_mysqlpool.errors import PoolFull
from flask_mysqlpool.errors import PoolTimeout
from flask_mysqlpool.errors import StaleConnectionError
from flask_mysqlpool.pool.pooled_connection import PooledConnection

from .pools import settings_for
from .simulation_invariants import Watch
from .simulation_server import DENIED
from .simulation_server import FULL
from .simulation_server import GONE
from .simulation_server import SimulatedServer
from .simulation_server import SimulatedSession
from .simulation_threads import Interrupt
from .simulation_threads import Scheduler
from .simulation_threads import SimulatedLock
from .simulation_threads import where_of
from .simulation_threads import Worker
from .simulation_world import simulated

URL = "mysql://app:secret@127.0.0.1:1/bank"  # nobody listens there
WORKERS = 5  # and one that is the housekeeper
EPISODE = 800  # steps of one pool
CONNECT_TIMEOUT = 3.0

# How often callers do what.
WEIGHTS = {
    "check_out": 30,
    "give_back": 26,
    "use": 6,
    "touch_stale": 5,
    "drop": 3,
    "drop_in_cycle": 1,
    "kill": 3,
    "resize": 1,
    "recycle": 1,
    "read": 1,
    "change_server": 2,
    "shut": 0.1,
}


class Simulation:
    """Runs one pool after the other, until a fault is found."""

    def __init__(
        self,
        seed: int,
        second_interrupts: float = 0.0,
        expected: tuple[type[Exception], ...] = (),
    ) -> None:
        self.expected = expected  # what a checkout may raise besides
        self.seed = seed
        self.scheduler = Scheduler(seed, WORKERS + 1, second_interrupts)
        self.scheduler.on_interrupt = self._note_disorder
        self.random = self.scheduler.random
        self.server = SimulatedServer(self.scheduler)
        self.done: dict[str, int] = {}  # how often what was done
        self.held: list[PooledConnection] = []  # by borrowers
        self.stale: list[PooledConnection] = []  # returned, or the parent's
        self._in_cycles: list[weakref.ref[PooledConnection]] = []
        self._disorder = 0  # counts what only maintenance makes good

    def run(self, steps: int) -> None:
        """Run so many steps at least, or until a fault is found."""
        scheduler = self.scheduler
        try:
            with simulated(scheduler, self.server):
                try:
                    while scheduler.steps < steps and not scheduler.faults:
                        self._episode()
                finally:
                    scheduler.stop()
        finally:
            self.held.clear()
            self.stale.clear()

    # One pool

    def _episode(self) -> None:
        self._make_pool()
        rng, end = self.random, self.scheduler.steps + EPISODE
        while self.scheduler.steps < end and self._step(new_jobs=True):
            if rng.random() < 0.003:
                self._fork()
        self._end_jobs()
        self.held.clear()
        self.stale.clear()
        gc.collect()
        self.server.answer = 0
        self._alone("maintain", self._maintain)
        if not self.scheduler.faults:
            self.watch.check_end_of_all()
            self._alone("close", self.pool.close)
            self.watch.check_end_of_all()
        gc.collect(1)

    def _make_pool(self) -> None:
        rng = self.random
        max_size = rng.randint(1, 4)
        self.pool = Pool(
            settings_for(
                URL,
                timeout=1,
                connect_timeout=CONNECT_TIMEOUT,
                max_size=max_size,
                min_size=rng.randint(0, max_size - 1),
                max_waiting=rng.choice((0, 0, 0, 2)),
                max_usage=rng.choice((0, 0, 3)),
                max_lifetime=rng.choice((3600, 5)),
                max_idle=rng.choice((300, 1)),
                ping_after=rng.choice((10, 0.1)),
                autocommit=True,
            )
        )
        self.pool._checkout.connector = self.server
        self.pool.on_first_use.clear()  # a worker is the housekeeper
        self.pool.on_need = self._note_need
        self.server.answer = 0
        self.watch = Watch(self.pool, self.scheduler, self.server)
        self.watch.attach()
        self.watch.is_held = lambda session: any(  # type: ignore[method-assign]
            h.entry is not None and h.entry.session is session for h in self.held
        )
        self._disorder = 0

    def _step(self, new_jobs: bool) -> bool:
        """Let somebody run; return whether that goes on."""
        scheduler, rng = self.scheduler, self.random
        housekeeper = scheduler.workers[-1]
        if housekeeper.idle and self._disorder and rng.random() < 0.05:
            self._begin(housekeeper, "maintain", self._maintain)
        idle = [worker for worker in scheduler.workers[:-1] if worker.idle]
        if new_jobs and idle and rng.random() < 0.3:
            self._begin_job(rng.choice(idle))
        able = scheduler.able()
        if able:
            scheduler.run(rng.choice(able))
            if not self.watch.locked:
                self.watch.check_step()
        elif not self._settle(housekeeper) and not new_jobs:
            return False
        return not scheduler.faults

    def _settle(self, housekeeper: Worker) -> bool:
        """Nobody can run: check the pool and let time pass; return whether somebody
        waits.
        """
        scheduler = self.scheduler
        if self.watch.locked:
            busy = [worker for worker in scheduler.workers if not worker.idle]
            scheduler.report(f"the lock was left locked; {busy} cannot go on")
            return False
        if self._disorder and housekeeper.idle:
            self._begin(housekeeper, "maintain", self._maintain)
            return True
        if not self._disorder and self.pool._pid == self.server.pid:
            self.watch.check_settled(*self._held_now())
        then = scheduler.next_time()
        if then == float("inf"):
            if busy := [worker for worker in scheduler.workers if not worker.idle]:
                scheduler.report(f"nobody can go on: {busy}")
            scheduler.now += self.random.choice((0.0, 0.01, 0.2, 3.0))
            return False
        scheduler.now = max(scheduler.now, then)
        return True

    def _held_now(self) -> tuple[set[int], bool]:
        mine = [
            handle.checkout_id
            for handle in {
                *self.held,
                *self.stale,
                *(each() for each in self._in_cycles),
            }
            if handle is not None
            and handle.entry is not None
            and handle.entry.session.pid == self.server.pid
        ]
        complete = all(
            worker.idle or worker.waits_in in ("_wait", "_wait_for_room")
            for worker in self.scheduler.workers
        )
        return set(mine), complete

    def _begin_job(self, worker: Worker) -> None:
        rng = self.random
        task = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        interrupt_in = int(rng.expovariate(1 / 25)) + 1 if rng.random() < 0.12 else 0
        if task == "shut" and rng.random() < 0.5:
            interrupt_in = 0
        self._begin(worker, task, getattr(self, f"_{task}"), interrupt_in)

    def _begin(
        self, worker: Worker, task: str, job: Callable[[], None], interrupt_in: int = 0
    ) -> None:
        self.done[task] = self.done.get(task, 0) + 1

        def run() -> None:
            try:
                job()
            except Interrupt as error:
                error.__traceback__ = error.__context__ = None
                self.done["interrupt"] = self.done.get("interrupt", 0) + 1
            # What else was raised is reported by the worker.

        worker.begin(task, run, interrupt_in)

    def _end_jobs(self) -> None:
        while self._step(new_jobs=False):
            pass

    def _alone(self, task: str, job: Callable[[], None]) -> None:
        self._begin(self.scheduler.workers[-1], task, job)
        self._end_jobs()

    def _note_disorder(self) -> None:
        self._disorder += 1

    def _note_need(self) -> None:
        self._disorder += 1
        worker = self.scheduler.current
        if worker is not None and worker.task == "check_out":
            finalized = sys._getframe(2)
            if (
                not worker.interrupted
                and not worker.collecting
                and finalized is not None
                and finalized.f_code.co_name == "__del__"
            ):
                where = where_of(sys._getframe(1))
                self.scheduler.report(f"a checkout left a place to {where}")

    # What callers do

    def _check_out(self) -> None:
        scheduler, rng = self.scheduler, self.random
        timeout = rng.choice((0, 0, 0.02, 0.3, 2))
        begun, step = scheduler.now, scheduler.steps
        try:
            holder = rng.choice(("", "one", "two"))
            handle = self.pool.connection(timeout, holder=holder)
        except PoolTimeout as error:
            early = scheduler.now < begun + timeout
            if early and error.__cause__ is None:
                scheduler.report(f"too early: {error}")
        except PoolFull:
            pass
        except self.expected:
            pass
        except PoolClosed:
            if not self.pool.closed:
                scheduler.report("an open pool says that it is closed")
        except err.OperationalError as error:
            if error.args[0] != DENIED:
                raise
        else:
            self._lend(handle, step)
        if scheduler.now > begun + (timeout or CONNECT_TIMEOUT) + 1e-6:
            took = scheduler.now - begun
            scheduler.report(f"a checkout took {took} s, with a timeout of {timeout}")

    def _lend(self, handle: PooledConnection, step: int) -> None:
        session = t.cast(SimulatedSession, handle.session)
        report = self.scheduler.report
        if self.watch.is_held(session):
            report(f"{session} is lent twice")
        if session.ended or not (session.alive or session.died_at >= step):
            report(f"{session} is lent though it is dead")
        if session.pid != self.server.pid:
            report(f"{session} is the parent's")
        self.held.append(handle)

    def _take_one(self, handles: list[PooledConnection]) -> PooledConnection | None:
        if not handles:
            return None
        return handles.pop(self.random.randrange(len(handles)))

    def _give_back(self) -> None:
        handle = self._take_one(self.held)
        if handle is None:
            return
        if self.random.random() < 0.4:
            self.stale.append(handle)
            del self.stale[:-6]
        handle.close()
        if not handle.returned:
            self.scheduler.report("a handle was closed and is not returned")

    def _touch_stale(self) -> None:
        if not self.stale:
            return
        handle = self.random.choice(self.stale)
        if self.random.random() < 0.5:
            handle.close()
        else:
            self._query(handle)

    def _use(self) -> None:
        if self.held:
            self._query(self.random.choice(self.held))

    def _query(self, handle: PooledConnection) -> None:
        try:
            handle.query("SELECT 1")
        except (ConnectionBusyError, StaleConnectionError):
            pass
        except (err.InterfaceError, err.OperationalError) as error:
            if error.args[0] not in (0, 2013):
                raise
            error.__traceback__ = None

    def _drop(self) -> None:
        self._take_one(self.held)

    def _drop_in_cycle(self) -> None:
        handle = self._take_one(self.held)
        if handle is not None:
            cycle: list[t.Any] = [handle]
            cycle.append(cycle)
            self._in_cycles.append(weakref.ref(handle))

    def _kill(self) -> None:
        sessions = [each for each in self.server.sessions() if each.alive]
        if sessions:
            self.random.choice(sessions).die(self.scheduler.steps)

    def _resize(self) -> None:
        self.pool.resize(self.random.randint(max(1, self.pool.settings.min_size), 5))

    def _recycle(self) -> None:
        self.pool.recycle()

    def _read(self) -> None:
        self.pool.stats()
        self.pool.holders()

    def _change_server(self) -> None:
        self.server.answer = self.random.choice((0, 0, 0, FULL, FULL, GONE, DENIED))

    def _shut(self) -> None:
        self.pool.close()

    def _maintain(self) -> None:
        """Call maintain(). What others refer to just then it may have to leave for the
        next time.
        """
        others = self.scheduler.workers[:-1]
        alone = all(each.idle or each.waits_in for each in others)
        before = self._disorder
        self.pool.maintain()
        if self._disorder == before and alone:
            self._disorder = 0

    def _fork(self) -> None:
        """Become a forked child. The threads have come to an end, but for one that may
        have held the lock.
        """
        self._end_jobs()
        if self.scheduler.faults:
            return
        self.done["fork"] = self.done.get("fork", 0) + 1
        held = self.random.random() < 0.5
        if held:
            t.cast(SimulatedLock, self.pool._slots.lock).owner = "a lost thread"
        self.server.pid += 1
        self.stale += self.held
        self.held.clear()
        # A handle that is closed before the pool started over would wait for the lock.
        self._alone("first", self._read if held else self._touch_stale)
        self._alone("after_fork", self.pool.after_fork)
        self.watch.attach()
        self._note_disorder()
