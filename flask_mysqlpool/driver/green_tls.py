"""The timeout of a TLS socket under gevent and eventlet.

They give each wait within a handshake or a read the whole timeout of the socket, so
that a server which sends byte after byte holds its client as long as it likes. Python's
own sockets take the timeout for the whole.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import time
import typing as t
from collections.abc import Callable


def deadline_of(
    sock: socket.socket, deadline: float | None
) -> contextlib.AbstractContextManager[object]:
    """Return a context in which all the waits together end by ``deadline``, on the
    monotonic clock: a login with its handshake. For Python's own sockets it does
    nothing.

    :raise TimeoutError: in the context, the deadline passed.
    """
    limit = _limit(sock)
    if limit is None or deadline is None:
        return contextlib.nullcontext()
    return limit(max(0.0, deadline - time.monotonic()))


def receiver(sock: socket.socket) -> Callable[[t.Any], int]:
    """Return ``sock.recv_into()``, with the socket's timeout for all of its waits."""
    limit = _limit(sock)
    if limit is None or not isinstance(sock, ssl.SSLSocket):
        return sock.recv_into

    def receive(buffer: t.Any) -> int:
        seconds = sock.gettimeout()
        if not seconds:  # it waits for ever, or not at all
            return sock.recv_into(buffer)
        with limit(seconds):
            return sock.recv_into(buffer)

    return receive


def _limit(
    sock: socket.socket,
) -> Callable[[float], contextlib.AbstractContextManager[object]] | None:
    """Return what makes a limit in seconds, by the library whose socket it is."""
    library = type(sock).__module__.partition(".")[0]
    if library not in ("gevent", "eventlet"):
        return None
    timeout = sys.modules[library].Timeout
    return lambda seconds: t.cast(
        "contextlib.AbstractContextManager[object]",
        timeout(seconds, TimeoutError("timed out")),
    )
