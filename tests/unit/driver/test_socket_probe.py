"""A socket is quiet until something comes."""

from __future__ import annotations

import socket
import struct
import sys

import pytest

from flask_mysqlpool.driver.socket_probe import listener
from flask_mysqlpool.driver.socket_probe import unread_meter

from ...support.waiting import wait_until


def pair(family: socket.AddressFamily) -> tuple[socket.socket, socket.socket]:
    if family == socket.AF_UNIX:
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
@pytest.mark.parametrize("how", ["bytes", "end", "shutdown", "reset"])
def test_socket_is_quiet_until_something_comes(
    family: socket.AddressFamily, how: str
) -> None:
    ours, theirs = pair(family)
    with ours, theirs:
        quiet = listener(ours)
        assert quiet()
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"
        assert quiet()
        if how == "bytes":
            theirs.sendall(b"x")
        elif how == "shutdown":
            theirs.shutdown(socket.SHUT_WR)
        else:
            if how == "reset":
                linger = struct.pack("ii", 1, 0)
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            theirs.close()
        wait_until(lambda: not quiet())


def test_memory_of_what_is_unread() -> None:
    ours, theirs = pair(socket.AF_INET)
    with ours, theirs:
        memory = unread_meter(ours)
        if sys.platform != "linux":
            pytest.skip("it would have to poll")
        assert not memory()
        theirs.sendall(b"x")
        wait_until(lambda: memory() > 0)
        assert ours.recv(1) == b"x"
        assert not memory()
        theirs.close()
        wait_until(lambda: memory() > 0)


def test_memory_is_not_asked_where_that_takes_a_poll() -> None:
    ours, theirs = pair(socket.AF_UNIX)
    with ours, theirs:
        theirs.sendall(b"x")
        assert unread_meter(ours)() == 0
