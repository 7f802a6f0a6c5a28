"""Connections of the driver without a pool, and packets for them."""

from __future__ import annotations

import io
import socket
import typing as t

from flask_mysqlpool.driver.session import Session

from .pools import settings_for


class Given(io.BytesIO):
    """A reader of what is given, as :class:`flask_mysqlpool.driver.arrivals.Reader`."""

    def has_unread(self) -> bool:
        return False


def fed(data: bytes) -> t.Any:
    """A connection that reads ``data`` and nothing else."""
    url = "mysql://user:secret@127.0.0.1/t"
    settings = settings_for(url)
    arguments = {"ssl_disabled": True}
    connection = Session(
        settings, {}, lambda options, create: create(options), arguments
    )
    connection._sock, other = socket.socketpair()
    other.close()
    connection._rfile = Given(data)
    connection._current_timeout = connection._read_timeout
    connection._next_seq_id = 1
    return connection


class Pieces(io.RawIOBase):
    """A stream that gives a piece at each read."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        piece = self._pieces.pop(0) if self._pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


def length_encoded(value: bytes | None) -> bytes:
    if value is None:
        return b"\xfb"
    size = len(value)
    if size < 251:
        return bytes([size]) + value
    for mark, room in ((b"\xfc", 2), (b"\xfd", 3)):
        if size < 1 << 8 * room:
            return mark + size.to_bytes(room, "little") + value
    return b"\xfe" + size.to_bytes(8, "little") + value


def packet(number: int, data: bytes) -> bytes:
    return len(data).to_bytes(3, "little") + bytes([number]) + data
