"""The server of a simulated pool: sessions that note who does what to them."""

from __future__ import annotations

import typing as t
import weakref

from pymysql import err

from .fake_session import FakeSession
from .simulation_threads import Interrupt
from .simulation_threads import Scheduler
from .simulation_threads import Worker

# What the server answers to who connects: its error number, 0 for none.
FULL, GONE, DENIED = 1040, 2003, 1045


class SimulatedSession(FakeSession):
    """A session at the simulated server."""

    def __init__(self, server: SimulatedServer, number: int) -> None:
        super().__init__(number)
        self.server = server
        self.pid = server.pid
        self.ended = False  # by the pool
        self.died_at = 0  # step at which the server ended it
        self._user: Worker | None = None
        self._still_quiet = weakref.WeakMethod(self._is_alive)
        still_quiet = self._still_quiet  # no cycle: its life ends with its last owner
        self.quiet = lambda: bool((alive := still_quiet()) and alive())

    def _is_alive(self) -> bool:
        return self.alive

    def die(self, step: int) -> None:
        self.alive, self.died_at = False, step

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:
        if self.server.is_idle(self):  # one that has left the pool harms nobody
            self.server.report(f"{self} is used though it is idle")
        self._exchange("query", 0.5)
        if not self.alive:
            raise err.OperationalError(2013, "lost connection")
        return 0

    def note_error(self, error: BaseException) -> bool:
        if not isinstance(error, err.Error):
            self.alive, self.ended = False, True  # its holder's: not for check_end
        return self.alive

    def start_reset(self, mode: str) -> bool:
        if self.pid != self.server.pid:
            return False
        self._exchange("reset", 0.0)
        self.pending_replies = int(self.server.random.random() < 0.3)
        return self.alive

    def finish_rollback(self) -> bool:
        self.pending_replies = 0
        return self.alive

    def validate(self, deadline: float, ping: bool) -> bool:
        left = max(0.0, deadline - self.server.now)
        self._exchange("validate", left if ping or self.pending_replies else 0.0)
        self.pending_replies = 0
        return self.alive

    def _exchange(self, what: str, seconds: float) -> None:
        """Talk to the server for so many seconds at most."""
        if not self.alive:
            return
        self._begin(what)
        try:
            self.server.pass_time(seconds)
        finally:
            self._user = None

    def _begin(self, what: str) -> None:
        server = self.server
        if self.pid != server.pid:
            server.report(f"{self}: a child sent {what} to its parent's session")
        if self._user is not None:
            server.report(f"{self}: {what} while {self._user} uses it")
        self._user = server.scheduler.current

    def _end(self, how: str) -> None:
        if self.alive and self.pid == self.server.pid:
            if how == "quit":
                self._begin(how)
                self._user = None
            self.server.check_end(self, how)
        super()._end(how)
        self.ended = True

    def __repr__(self) -> str:
        return f"session {self.server_thread_id[0]} {self.calls[-4:]}"


class SimulatedServer:
    """Opens sessions, or refuses to; it also says which process the pool is in."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.random = scheduler.random
        self.report = scheduler.report
        self.answer = 0
        self.pid = 1
        self.is_idle: t.Callable[[SimulatedSession], bool] = lambda session: False
        self.check_end: t.Callable[[SimulatedSession, str], None] = lambda *_: None
        self._opened = 0
        self._sessions: list[weakref.ref[SimulatedSession]] = []

    @property
    def now(self) -> float:
        return self.scheduler.now

    def getpid(self) -> int:
        return self.pid

    def sessions(self) -> list[SimulatedSession]:
        """Return those that somebody refers to."""
        return [session for each in self._sessions if (session := each()) is not None]

    def pass_time(self, seconds: float) -> None:
        """Take as long as an exchange does: nothing, a moment, or all of it."""
        share = self.random.choice((0.0, 0.0, 0.0, 0.01, 0.3, 1.0))
        self.scheduler.sleep(share * seconds, "network")

    def open(self, deadline: float) -> t.Any:
        self.pass_time(deadline - self.now)
        if self.now >= deadline:
            raise err.OperationalError(GONE, "timed out")
        if self.answer:
            raise err.OperationalError(self.answer, "the answer of the simulation")
        self._opened += 1
        session = SimulatedSession(self, self._opened)
        self._sessions = [each for each in self._sessions if each() is not None]
        self._sessions.append(weakref.ref(session))
        try:
            self.pass_time(0.0)
        except Interrupt:
            session.ended, session.alive = True, False  # as the real one does
            raise
        return session

    def renew(self) -> None:
        """There are no files."""
