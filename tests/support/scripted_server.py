"""A server that its client talks to within one thread: what it sends is a script, and
waiting for it moves a clock instead of taking time.
"""

from __future__ import annotations

import itertools
import socket
import struct
import types
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

import pytest
from pymysql.constants import COMMAND

from flask_mysqlpool import Pool
from flask_mysqlpool.driver import wire

from .driver_connections import length_encoded
from .driver_connections import packet
from .pools import settings_for

# What a server sends: bytes, seconds of silence, or nothing: the end of the connection.
Answer = Iterable[bytes | float]

AUTOCOMMIT, IN_TRANS = 0x02, 0x01
AT_ONCE = 16384  # bytes that have arrived before somebody reads them

# All but TLS and compression, session tracking included.
_CAPABILITIES = 0x00FFF7DF


def ok(number: int = 1, status: int = AUTOCOMMIT, rest: bytes = b"") -> bytes:
    return packet(number, struct.pack("<BBBHH", 0, 0, 0, status, 0) + rest)


def eof(number: int, status: int = AUTOCOMMIT) -> bytes:
    return packet(number, struct.pack("<BHH", 0xFE, 0, status))


def column(name: bytes = b"a", kind: int = 0xFD) -> bytes:
    names = (b"def", b"", b"", b"", name, b"")
    rest = struct.pack("<BHIBHBxx", 12, 45, 100, kind, 0, 0)
    return b"".join(map(length_encoded, names)) + rest


def result(
    *rows: tuple[bytes | None, ...],
    status: int = AUTOCOMMIT,
    kinds: t.Sequence[int] = (),
) -> bytes:
    """The answer to a query: these rows.

    :param kinds: types of the columns; strings without.
    """
    kinds = kinds or [0xFD] * len(rows[0])
    columns = [column(b"%d" % kind, kind) for kind in kinds]
    values = [b"".join(map(length_encoded, row)) for row in rows]
    packets = [bytes([len(kinds)]), *columns, eof(0)[4:], *values, eof(0, status)[4:]]
    return b"".join(packet(1 + at & 0xFF, data) for at, data in enumerate(packets))


def greeting(version: bytes = b"10.11.9-MariaDB", rest: bytes = b"") -> bytes:
    salt = b"abcdefghijklmnopqrst"
    low, high = _CAPABILITIES & 0xFFFF, _CAPABILITIES >> 16
    data = b"\x0a" + version + b"\0" + struct.pack("<I", 7) + salt[:8] + b"\0"
    data += struct.pack("<HBHHB", low, 45, AUTOCOMMIT, high, 21) + bytes(10)
    return packet(0, data + salt[8:] + b"\0" + b"mysql_native_password\0" + rest)


def answers(data: bytes) -> Answer:
    """What a server in good order answers to a packet."""
    if not data:
        return [greeting()]
    number, command, text = data[3], data[4], data[5:]
    if number:
        return [ok(number + 1)]  # to the login
    if command == wire.COM_QUERY and text.startswith((b"SELECT CURRENT_ROLE", b"SHOW")):
        return [result((b"NONE",))]
    if command == wire.COM_QUERY and text.startswith(b"SELECT"):
        return [result((b"1", None), (b"2", b"x" * 300))]
    if command == wire.COM_QUERY and text.startswith((b"BEGIN", b"INSERT")):
        return [ok(status=AUTOCOMMIT | IN_TRANS)]
    return [b""] if command == wire.COM_QUIT else [ok()]


def asks(point: str, data: bytes) -> bool:
    """Return whether a packet is what ``point`` names: ``"greeting"`` for the begin of
    a connection, ``"login"``, ``"ping"``, or the start of a statement.
    """
    if point == "greeting" or not data:
        return point == "greeting" and not data
    if point == "login" or data[3]:
        return point == "login" and data[3] != 0
    if point == "ping":
        return data[4] == COMMAND.COM_PING
    return data[4] == wire.COM_QUERY and data[5:].startswith(point.encode())


class Clock:
    """The time of the script."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ScriptedSocket(socket.socket):
    """The client's socket: another one, in this process, is the server's."""

    def __init__(self, server: ScriptedServer) -> None:
        ours, self.peer = socket.socketpair()
        super().__init__(fileno=ours.detach())
        self.sent = b""  # by the client
        self.received = 0  # bytes that it took
        self.reads = 0
        self._server = server
        self._timeout: float | None = None
        self._unread = b""  # of a packet that is not complete
        self._script: list[Iterator[bytes | float]] = []
        self._silence = 0.0
        self._answer(b"")

    def settimeout(self, value: float | None) -> None:
        self._timeout = value

    def gettimeout(self) -> float | None:
        return self._timeout

    def sendall(self, data: t.Any, flags: int = 0) -> None:
        self.send(data)

    def send(self, data: t.Any, flags: int = 0) -> int:
        self.sent += data
        self._unread += data
        while len(self._unread) >= 4:
            size = 4 + int.from_bytes(self._unread[:3], "little")
            if len(self._unread) < size:
                break
            self._answer(self._unread[:size])
            self._unread = self._unread[size:]
        return len(data)

    def recv_into(self, buffer: t.Any, nbytes: int = 0, flags: int = 0) -> int:
        self.reads += 1
        try:
            size = super().recv_into(buffer, nbytes, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._wait()
            size = super().recv_into(buffer, nbytes, socket.MSG_DONTWAIT)
        self.received += size
        return size

    def _answer(self, data: bytes) -> None:
        self._script.append(iter(self._server.answers(data)))
        self._arrive()

    def _arrive(self) -> int:
        """Let arrive what comes without a silence; return how much that was."""
        arrived, ended = b"", False
        while self._script and self._silence <= 0 and len(arrived) < AT_ONCE:
            piece = next(self._script[0], None)
            if piece is None:
                del self._script[0]
            elif isinstance(piece, float):
                self._silence = piece
            elif piece == b"":
                self._script, ended = [], True
            else:
                arrived += piece[:AT_ONCE]
                if rest := piece[AT_ONCE:]:
                    self._script[0] = itertools.chain([rest], self._script[0])
        self.peer.sendall(arrived)
        if ended:
            self.peer.shutdown(socket.SHUT_WR)
        return len(arrived) + ended

    def _wait(self) -> None:
        """Let the time pass until something arrives."""
        left = float("inf") if self._timeout is None else self._timeout
        while not self._arrive():
            silence = self._silence if self._script else float("inf")
            if left == silence == float("inf"):
                raise ConnectionResetError("the script has ended")
            step = min(silence, left)
            self._server.clock.now += step
            self._silence -= step
            left -= step
            if left <= 0:
                raise TimeoutError("timed out")


class ScriptedServer:
    """Opens sockets at whose other end :attr:`answers` answers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.answers: Callable[[bytes], Answer] = answers
        self.sockets: list[ScriptedSocket] = []

    def open_socket(self, *args: object, **keywords: object) -> ScriptedSocket:
        self.sockets.append(ScriptedSocket(self))
        return self.sockets[-1]

    def answer_at(self, point: str, answer: t.Any) -> None:
        """Answer so where :func:`asks` finds ``point``, else in good order.

        :param answer: the pieces, or a function of those of a server in good order.
        """

        def answered(data: bytes) -> Answer:
            good = answers(data)
            if not asks(point, data):
                return good
            return t.cast(Answer, answer(good) if callable(answer) else answer)

        self.answers = answered

    @property
    def open(self) -> list[ScriptedSocket]:
        """The sockets that the client did not close."""
        return [sock for sock in self.sockets if sock.fileno() != -1]

    def forget_closed(self) -> None:
        for sock in self.sockets:
            if sock.fileno() == -1:
                sock.peer.close()
        self.sockets = self.open

    def close(self) -> None:
        for sock in self.sockets:
            sock.peer.close()
            sock.close()


def scripted_pool(**settings: t.Any) -> Pool:
    """Return a pool of the scripted server, which no housekeeper looks after."""
    url = "mysql://app:secret@127.0.0.1/bank"
    keys: dict[str, t.Any] = {"ssl_disabled": True, "autocommit": True, "max_size": 2}
    pool = Pool(settings_for(url, **{**keys, **settings}))
    pool.on_first_use.clear()
    return pool


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A scripted server to which all sessions connect, and whose clock all follow."""
    server = ScriptedServer()
    name = "flask_mysqlpool.driver"
    clock = types.SimpleNamespace(monotonic=server.clock)
    monkeypatch.setattr(f"{name}.login.open_socket", server.open_socket)
    for module in ("driver.packets", "driver.wire", "driver.connector"):
        monkeypatch.setattr(f"flask_mysqlpool.{module}.time", clock)
    for module in ("pool", "checkout", "maintenance"):
        monkeypatch.setattr(f"flask_mysqlpool.pool.{module}.monotonic", server.clock)
    yield server
    server.close()
