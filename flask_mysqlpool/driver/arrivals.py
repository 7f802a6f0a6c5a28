"""What has arrived from a server: read like a file, or looked at without waiting."""

from __future__ import annotations

import io
import socket
import typing as t

from .green_tls import receiver


class _Arrivals(io.RawIOBase):
    """A socket to read from, which can be told that nothing more comes just now.

    :param file: the socket's own raw file. It counts as a user: until that is closed, a
        close of the socket leaves the descriptor, which another thread may be reading.
    """

    def __init__(self, sock: socket.socket, file: io.RawIOBase) -> None:
        self._file = file
        self._receive = receiver(sock)
        self.paused = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int | None:
        return None if self.paused else self._receive(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class Reader(io.BufferedReader):
    """A buffered reader for PyMySQL that tells whether its buffer holds something.

    :param reader: the socket's own, which this one takes the place of. What its buffer
        holds is dropped.
    """

    def __init__(self, sock: socket.socket, reader: io.BufferedReader) -> None:
        self._arrivals = _Arrivals(sock, reader.detach())
        super().__init__(self._arrivals)

    def has_unread(self) -> bool:
        """Return whether the buffer holds what nobody has read, without a look at the
        socket.
        """
        self._arrivals.paused = True
        try:
            return bool(self.peek(1))
        finally:
            self._arrivals.paused = False
