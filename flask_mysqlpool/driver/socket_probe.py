"""What has arrived at a socket, and what it takes: without waiting or a round trip."""

from __future__ import annotations

import select
import socket
import ssl
import sys
import typing as t
from collections.abc import Callable
from functools import partial
from types import BuiltinFunctionType

# Linux: the first byte of TCP_INFO is the state, the first number of SO_MEMINFO
# (asm-generic/socket.h) the memory of what was received and not read.
_can_be_quick = sys.platform == "linux" and sys.byteorder == "little"
TCP_INFO = 11
TCP_ESTABLISHED = 1
SO_MEMINFO = 55

LONGEST_TAKEN = 4096  # bytes at once


def listener(sock: socket.socket) -> Callable[[], bool]:
    """Return a function that tells whether a socket is quiet: no bytes, no end, and it
    can be waited for in this thread.
    """
    poll = _system_poll()
    poll.register(sock, select.POLLIN)

    def quiet() -> bool:
        return not poll.poll(0)

    if _can_be_quick and sock.family != socket.AF_UNIX:
        try:
            state = sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO) & 0xFF
            sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO)
        except OSError:
            state = 0  # a kernel without them
        if state == TCP_ESTABLISHED:
            quiet = _quick_listener(sock.getsockopt, quiet)
    hub = getattr(sock, "hub", None)
    if hub is not None:  # it is true only while it runs
        quiet = _in_thread_of(hub, quiet)
    if isinstance(sock, ssl.SSLSocket):
        return lambda: not sock.pending() and quiet()
    return quiet


def _in_thread_of(hub: object, quiet: Callable[[], bool]) -> Callable[[], bool]:
    """Return ``quiet`` for the thread of gevent's hub, in which a socket was made: in
    another one nothing can wait for it.
    """
    get_hub = sys.modules["gevent"].get_hub
    return lambda: get_hub() is hub and quiet()


def _system_poll() -> t.Any:
    """Return a new poll object of the system's own, also where eventlet has removed
    it, or gevent has replaced it by one that lets other greenlets run: here it is
    always asked not to wait.
    """
    if eventlet := sys.modules.get("eventlet.patcher"):
        return eventlet.original("select").poll()
    if gevent := sys.modules.get("gevent.monkey"):
        return gevent.get_original("select", "poll")()
    return select.poll()


def _quick_listener(
    option: Callable[[int, int], int], poll: Callable[[], bool]
) -> Callable[[], bool]:
    """Return a function that asks for the state of TCP and the memory of what is
    unread before it polls: poll() lets other threads run, and with many of them each
    checkout would wait for its turn at the interpreter.
    """
    tcp, any_level = int(socket.IPPROTO_TCP), int(socket.SOL_SOCKET)  # on the hot path

    def quiet() -> bool:
        if option(tcp, TCP_INFO) & 0xFF != TCP_ESTABLISHED:
            return False
        return not option(any_level, SO_MEMINFO) or poll()

    return quiet


def unread_meter(sock: socket.socket) -> Callable[[], int]:
    """Return a function that tells how much memory what has come in and was not read
    takes, the end of the connection included: 0 where nothing has. It costs less than
    :func:`listener`; where that has to poll, it always returns 0.
    """
    if _can_be_quick and sock.family != socket.AF_UNIX:
        meter = partial(sock.getsockopt, socket.SOL_SOCKET, SO_MEMINFO)
        try:
            meter()
        except OSError:
            pass  # a kernel without it
        else:
            return meter
    return lambda: 0


def taker(sock: socket.socket) -> Callable[[], bytes]:
    """Return a function that takes what a socket has received, nothing at its end. It
    raises :exc:`BlockingIOError` where that would have to be waited for, and where
    ``recv()`` is not the system's own: not that of TLS, nor of gevent, which waits.
    """
    if _knows_dontwait(sock):
        return partial(sock.recv, LONGEST_TAKEN, socket.MSG_DONTWAIT)
    return _take_nothing


def putter(sock: socket.socket) -> Callable[[bytes], int]:
    """Return a function that sends what a socket takes at once, and returns how many
    bytes that were: none under TLS and gevent, see :func:`taker`.
    """
    if not _knows_dontwait(sock):
        return lambda data: 0
    send, flags = sock.send, socket.MSG_DONTWAIT

    def put(data: bytes) -> int:
        try:
            return send(data, flags)
        except OSError:  # whoever sends the rest is told why
            return 0

    return put


def _knows_dontwait(sock: socket.socket) -> bool:
    own = isinstance(sock.recv, BuiltinFunctionType)
    return own and hasattr(socket, "MSG_DONTWAIT")


def _take_nothing() -> t.NoReturn:
    raise BlockingIOError
