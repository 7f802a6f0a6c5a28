"""What must hold in a pool at every step, and once it has settled."""

from __future__ import annotations

import typing as t
import weakref
from collections.abc import Iterable

from flask_mysqlpool import Pool
from flask_mysqlpool.pool.pooled_connection import PooledConnection
from flask_mysqlpool.pool.waiter import Reservation
from flask_mysqlpool.pool.waiter import Waiter

from .simulation_server import SimulatedServer
from .simulation_server import SimulatedSession
from .simulation_threads import Scheduler
from .simulation_threads import SimulatedLock


class Watch:
    """Watches the slots of one pool.

    It keeps no reference to what the slots hand out: that would keep a finalizer from
    running.
    """

    def __init__(
        self, pool: Pool, scheduler: Scheduler, server: SimulatedServer
    ) -> None:
        self.slots = pool._slots
        self._pool = pool
        self._scheduler = scheduler
        self._report = scheduler.report
        self._server = server
        self._size = 0
        self._section = ""
        self._waiting: list[weakref.ref[Waiter]] = []
        self._lent: set[int] = set()
        self._opening: set[weakref.ref[Reservation]] = set()
        server.is_idle = self.is_idle
        server.check_end = self.check_end

    def attach(self) -> None:
        """Watch the lock of the slots, which a fork makes anew."""
        lock = t.cast(SimulatedLock, self.slots.lock)
        lock.on_locked, lock.on_unlocking = self._note_locked, self._check_unlocking

    @property
    def locked(self) -> bool:
        return t.cast(SimulatedLock, self.slots.lock).locked

    def is_lent(self, session: SimulatedSession) -> bool:
        # Not lent_entries(): it is traced, and would give others a turn.
        return any(each.session is session for each in self.slots._lent.values())

    def is_idle(self, session: SimulatedSession) -> bool:
        return any(each.session is session for each in self.slots._idle.everything())

    def check_end(self, session: SimulatedSession, how: str) -> None:
        """Check what the pool ends: neither an idle session nor one that is lent to
        somebody who holds it still.
        """
        idle = self.slots._idle
        if any(each.session is session for each in [*idle, *idle.settling]):
            self._report(f"{session}: {how} of an idle session")
        if self.is_lent(session) and self.is_held(session):
            self._report(f"{session}: {how} of a session that somebody holds")

    def is_held(self, session: SimulatedSession) -> bool:
        return False  # replaced by who knows

    # First come, first served

    def _note_locked(self, section: str) -> None:
        slots = self.slots
        self._section = section
        self._waiting = waiting(slots._waiters)
        self._lent, self._opening = set(slots._lent), set(slots._opening)

    def _check_unlocking(self) -> None:
        slots = self.slots
        still = waiting(slots._waiters)
        here = set(still)
        granted: list[object] = []
        passed: Waiter | None = None
        for each in self._waiting:
            waiter = each()
            if waiter is None:
                continue
            if waiter.grant is not None:
                granted.append(waiter.grant)
                if passed is not None and not isinstance(waiter.grant, Exception):
                    self._report("a waiter was served before one who came earlier")
            elif not waiter.ended:
                passed = waiter
        before = [each for each in self._waiting if each in here]
        if before != [each for each in still if each in set(before)]:
            self._report("the order of the queue changed")
        if self._section == "take" and still and self._took_itself(granted):
            self._report("a caller was served before those who waited")

    def _took_itself(self, granted: list[object]) -> bool:
        """Return whether more was handed out than the waiters got."""
        slots, worker = self.slots, self._scheduler.current
        if worker is not None and worker.interrupted:
            return False  # it took nothing, and dropped what a waiter was about to get
        ids = {g.checkout_id for g in granted if isinstance(g, PooledConnection)}
        reserved = {weakref.ref(g) for g in granted if isinstance(g, Reservation)}
        return bool(
            set(slots._lent) - self._lent - ids
            or set(slots._opening) - self._opening - reserved
        )

    # At every step

    def check_step(self) -> None:
        slots = self.slots
        size = slots.size
        if size > slots.max_size and size > self._size:
            self._report(f"size grew to {size} of {slots.max_size}")
        self._size = size
        entries = [*slots.idle_entries(), *slots.lent_entries()]
        if size != len(entries) + len(slots._opening):
            self._report("size is not what is idle, lent and being opened")
        if len({id(entry.session) for entry in entries}) < len(entries):
            self._report("a session is in two places")
        for entry in slots.idle_entries():
            if entry.session.pid != self._server.pid == self._pool._pid:
                self._report("a session of the parent is idle in the child")

    # When nobody can run

    def check_settled(self, held: Iterable[int], complete: bool) -> None:
        """Check that nobody waits in vain, and that all places have owners.

        :param held: the checkouts that somebody holds.
        :param complete: nobody is amid something else than waiting.
        """
        slots = self.slots
        workers = self._scheduler.workers
        waits = [each.waits_in for each in workers if not each.idle]
        free = bool(len(slots.idle_entries()) or slots.size < slots.max_size)
        if "_wait" in waits and (free or slots.closed):
            self._report(f"a caller sleeps though a place is free: {self.told()}")
        if not complete:
            return
        rooms = waits.count("_wait_for_room")
        alive = [each for each in slots._opening if each() is not None]
        if len(alive) != rooms:
            self._report(f"{len(alive)} places are reserved, for {rooms} callers")
        if set(slots._lent) != set(held):
            self._report(f"lent {set(slots._lent)}, but held {set(held)}")

    def check_end_of_all(self) -> None:
        """Check a pool whose connections were all returned or dropped."""
        slots = self.slots
        if (
            slots.size != len(slots.idle_entries())
            or len(slots._waiters)
            or slots._lent
        ):
            self._report(f"a place is left behind: {self.told()}")
        idle = {id(entry.session) for entry in slots.idle_entries()}
        for session in self._server.sessions():
            if id(session) not in idle and not session.ended:
                self._report(f"{session} is neither idle nor ended")

    def told(self) -> str:
        slots = self.slots
        return (
            f"size {slots.size} of {slots.max_size}, lent {sorted(slots._lent)},"
            f" idle {len(slots.idle_entries())}, reserved {len(slots._opening)},"
            f" waiting {len(slots._waiters)}, closed {slots.closed}"
        )


def waiting(queue: t.Any) -> list[weakref.ref[Waiter]]:
    """Return those in the queue who live and were granted nothing yet."""
    return [each for each in queue if (w := each()) is not None and w.grant is None]
