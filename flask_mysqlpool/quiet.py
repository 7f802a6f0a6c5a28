"""Whether a socket is quiet: nothing has come in that was not asked for, the end of the
connection included. Costs no round trip.
"""

from __future__ import annotations

import select
import socket
import ssl
import sys
from collections.abc import Callable

# Linux: the first byte of TCP_INFO is the state, the first number of SO_MEMINFO
# (asm-generic/socket.h) the memory of what was received and not read.
_can_be_quick = sys.platform == "linux" and sys.byteorder == "little"
TCP_INFO = 11
TCP_ESTABLISHED = 1
SO_MEMINFO = 55


def listener(sock: socket.socket) -> Callable[[], bool]:
    """Return a function that tells whether a socket is quiet: no bytes, no end."""
    poll = select.poll()
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
    if isinstance(sock, ssl.SSLSocket):
        return lambda: not sock.pending() and quiet()
    return quiet


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
