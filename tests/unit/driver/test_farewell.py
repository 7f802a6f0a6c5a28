"""Where a server closed the connection, the error says so, and why if it is known."""

from __future__ import annotations

import socket
import typing as t

import pymysql
import pytest

from flask_mysqlpool.driver.farewell import farewell

from ...support.driver_connections import fed
from ...support.driver_connections import packet

IDLE = "The client was disconnected by the server because of inactivity."
SAID = b"\xff\xbf\x0f#HY000" + IDLE.encode()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (SAID, f"4031 {IDLE}"),
        (b"\xff\xbf\x0f" + IDLE.encode(), f"4031 {IDLE}"),  # before the login
        (b"\xff\x87\x07#08S01caf\xe9", "1927 caf\ufffd"),
        (b"\xff\x87\x07#08S01" + b"x" * 500, "1927 " + "x" * 200),
        (b"\xff\x87", ""),
        (b"\0\0\0\x02\0\0\0", ""),
        (b"", ""),
    ],
)
def test_farewell(data: bytes, text: str) -> None:
    assert farewell(data) == text


@pytest.mark.parametrize("data", [b"", b"\x01"])
def test_end_of_the_connection_in_words(data: bytes) -> None:
    connection = fed(data)
    with pytest.raises(pymysql.err.OperationalError) as raised:
        connection._read_packet()
    assert raised.value.args[0] == 2013
    assert "(the server closed the connection)" in raised.value.args[1]
    assert "unpack" not in repr(raised.value.__cause__)
    connection.abandon()


def test_reason_that_came_before_the_end() -> None:
    connection = fed(packet(0, SAID))
    with pytest.raises(pymysql.err.OperationalError, match="closed the .*: 4031 The"):
        connection._read_packet()
    connection.abandon()


def test_refusal_before_the_end_is_the_reason() -> None:
    connection = fed(b"")
    connection.refusal = "1317 Query execution was interrupted"
    with pytest.raises(pymysql.err.OperationalError, match="connection: 1317 Query"):
        connection._read_packet()
    connection.abandon()


def test_end_by_another_thread_is_not_the_servers() -> None:
    connection = fed(b"")
    connection.severed = True
    with pytest.raises(pymysql.err.OperationalError, match="by another thread"):
        connection._read_packet()
    connection.abandon()


class Deaf:
    """A socket that takes no more, with what came in before."""

    def __init__(self, came: bytes, error: OSError) -> None:
        self._came = came
        self._error = error

    def settimeout(self, seconds: float | None) -> None: ...

    def sendall(self, data: bytes) -> t.NoReturn:
        raise self._error

    def recv(self, size: int) -> bytes:
        if not self._came:
            raise BlockingIOError
        return self._came[:size]

    def shutdown(self, how: int) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("came", "error", "why"),
    [
        (packet(2, SAID), BrokenPipeError(), "the server closed the connection: 4031"),
        (b"", ConnectionResetError(), "the server closed the connection"),
        (packet(2, SAID), TimeoutError("timed out"), "timed out"),
    ],
)
def test_failed_write(came: bytes, error: OSError, why: str) -> None:
    connection = fed(b"")
    t.cast(socket.socket, connection._sock).close()
    connection._sock = t.cast(t.Any, Deaf(came, error))
    with pytest.raises(pymysql.err.OperationalError) as raised:
        connection._execute_command(3, "SELECT 1")
    code, text = raised.value.args
    assert code == 2006
    assert why in text
    assert not connection.open
    connection.abandon()
