"""What is left in the buffer of a reader."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from flask_mysqlpool.driver.arrivals import Reader


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_look_at_the_buffer_waits_for_nothing(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    with Reader(ours, ours.makefile("rb")) as reader:
        assert not reader.has_unread()
        theirs.sendall(b"ab")
        assert not reader.has_unread(), "it is at the socket only"
        assert reader.read(1) == b"a"
        assert reader.has_unread()
        assert reader.read(1) == b"b"
        assert not reader.has_unread()
        theirs.sendall(b"c")
        assert reader.read(1) == b"c", "it reads on after a look"
        theirs.close()
        assert reader.read(1) == b""


def test_descriptor_stays_until_its_reader_is_closed(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """Else another connection could get it while a thread reads."""
    ours, theirs = ends
    reader = Reader(ours, ours.makefile("rb"))
    ours.close()
    theirs.sendall(b"a")
    assert reader.read(1) == b"a"
    reader.close()
    with pytest.raises(OSError):
        theirs.sendall(b"b")
        theirs.sendall(b"b")


def test_dropped_reader_closes_the_descriptor(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    reader = Reader(ours, ours.makefile("rb"))
    ours.close()
    del reader
    assert theirs.recv(1) == b""
