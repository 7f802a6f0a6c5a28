"""Sockets whose n-th use is interrupted, as by Ctrl-C, and what a sound pool is."""

from __future__ import annotations

import socket
import typing as t

import pytest

from flask_mysqlpool import Pool
from flask_mysqlpool.driver.arrivals import Reader
from flask_mysqlpool.driver.socket_probe import taker
from flask_mysqlpool.driver.sockets import open_socket

from .queries import execute


class GreenTimeout(BaseException):
    """What gevent's Timeout is to the driver: no Exception."""


class Plan:
    """When to raise what: at use number :attr:`number` of a socket of the pool."""

    def __init__(self) -> None:
        self.number = 0
        self.uses = 0
        self.when = ""
        self.error: type[BaseException] = KeyboardInterrupt

    def arm(self, number: int, when: str, error: type[BaseException]) -> None:
        """Raise at the ``number``-th use from here on: ``"before"`` it, ``"half"``
        way through, or ``"after"`` it.
        """
        self.number, self.when, self.error, self.uses = number, when, error, 0

    @property
    def fired(self) -> bool:
        return 0 < self.number <= self.uses

    def use(
        self, call: t.Callable[[t.Any], t.Any], argument: t.Any, half: t.Any
    ) -> t.Any:
        self.uses += 1
        if self.uses != self.number:
            return call(argument)
        if self.when == "half" and half:
            call(half)
        if self.when == "after":
            call(argument)
        raise self.error


class FrailReader:
    def __init__(self, reader: t.Any, plan: Plan) -> None:
        self._reader = reader
        self._plan = plan

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._reader, name)

    def read(self, size: int) -> t.Any:
        return self._plan.use(self._reader.read, size, size // 2)

    def read1(self, size: int) -> t.Any:
        return self._plan.use(self._reader.read1, size, size // 2)

    def peek(self, size: int) -> t.Any:
        return self._plan.use(self._reader.peek, size, 0)


class FrailSocket:
    def __init__(self, sock: socket.socket, plan: Plan) -> None:
        self._sock = sock
        self._plan = plan

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._sock, name)

    def makefile(self, mode: t.Literal["rb"]) -> FrailReader:
        return FrailReader(self._sock.makefile(mode), self._plan)

    def send(self, data: bytes, flags: int) -> t.Any:
        half = data[: len(data) // 2]
        return self._plan.use(lambda data: self._sock.send(data, flags), data, half)

    def sendall(self, data: bytes) -> None:
        self._plan.use(self._sock.sendall, data, data[: len(data) // 2])


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Interrupts the sockets that are opened from here on."""
    plan = Plan()

    def open_frail(*args: t.Any, **keywords: t.Any) -> FrailSocket:
        return FrailSocket(open_socket(*args, **keywords), plan)

    monkeypatch.setattr("flask_mysqlpool.driver.login.open_socket", open_frail)

    def frail_reader(sock: t.Any, reader: t.Any) -> FrailReader:
        return FrailReader(Reader(sock, reader), plan)

    monkeypatch.setattr("flask_mysqlpool.driver.wire.Reader", frail_reader)

    def frail_taker(sock: t.Any) -> t.Callable[[], bytes]:
        take = taker(sock)
        return lambda: t.cast(bytes, plan.use(lambda _: take(), None, None))

    monkeypatch.setattr("flask_mysqlpool.driver.wire.taker", frail_taker)
    return plan


def check_sound(pool: Pool) -> None:
    """Check that no place is lost, and that everybody gets rows of their own."""
    reading = pool.stats()
    assert (reading.in_use, reading.waiting) == (0, 0), pool
    assert reading.size == reading.idle, pool
    held = [pool.connection(timeout=10) for _ in range(reading.max_size)]
    try:
        sessions = {execute(db, "SELECT CONNECTION_ID()") for db in held}
        assert len(sessions) == len(held)
        for number, db in enumerate(held):
            assert execute(db, f"SELECT {number}, @a") == ((number, None),)
            assert execute(db, f"SELECT -{number}") == ((-number,),)
    finally:
        for db in held:
            db.close()
    assert pool.stats().in_use == 0
