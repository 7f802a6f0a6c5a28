"""PyMySQL's reading and writing of packets: in fewer steps, within limits, and with a
reason where the connection was lost.

What is used here that PyMySQL does not document is checked against the installed
version by the tests of ``wire``.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
import typing as t
from collections.abc import Callable

from pymysql import err
from pymysql.connections import Connection
from pymysql.connections import MAX_PACKET_LEN
from pymysql.constants import CR
from pymysql.protocol import MysqlPacket

from .farewell import farewell
from .farewell import unread_farewell
from .malformed import malformed_error
from .malformed import parsing

# What reading raises; the last two where another thread has closed the connection.
GONE = (OSError, AttributeError, ValueError)

# Bytes that a server may answer to what the pool itself sends, up to the next limit():
# login, session set-up, reset, ping. A list of roles is the longest of these answers.
MAX_LIMITED_BYTES = 256 * 1024

HEADER = struct.Struct("<HBB")  # length in two parts, sequence number
unpack_header = HEADER.unpack


if t.TYPE_CHECKING:
    _Connection = Connection[t.Any]  # generic in its stubs only
else:
    _Connection = Connection


class PacketConnection(_Connection):
    """A PyMySQL connection whose exchanges can be given a deadline and a length."""

    # The written contract with PyMySQL.
    server_status: int = 0
    server_capabilities: int
    client_flag: int
    connect_timeout: float | None
    _sock: socket.socket | None
    _rfile: t.Any
    _result: t.Any
    _next_seq_id: int
    _secure: bool
    _current_timeout: float | None
    _read_timeout: float | None
    _write_timeout: float | None
    _force_close: Callable[[], None]
    _affected_rows: int

    _deadline: float | None = None
    _bytes_left = 0  # that may come in until the limit is lifted
    _bytes_here = 0  # of them in the buffer for sure

    refusal = ""  # after which the server closes the connection
    severed = False  # by this process

    def limit(self, deadline: float | None) -> None:
        """Let the exchanges from here on end by ``deadline``, on the monotonic clock,
        and read no more than :data:`MAX_LIMITED_BYTES`; ``None`` lifts the limits.
        """
        if self._deadline is None:
            self._own_timeouts = (self._read_timeout, self._write_timeout)
        self._deadline = deadline
        self._bytes_left, self._bytes_here = MAX_LIMITED_BYTES, 0
        if deadline is None:
            self._read_timeout, self._write_timeout = self._own_timeouts
        else:
            self._read_timeout = None  # so that both are set
            self._refresh_limit()

    def next_packets(self, count: int) -> bytes:
        """Return the next packets as they are, headers and all, without reading them;
        nothing where they are not all here, or within limits.
        """
        if self._deadline is not None:
            return b""  # to look at them may wait
        try:
            here: bytes = self._rfile.peek(4)  # gives all that was received
        except GONE as error:
            raise self.lost(error) from error
        end = 0
        try:
            for _ in range(count):
                low, high, _ = HEADER.unpack_from(here, end)
                end += 4 + (low | high << 16)
        except struct.error:
            return b""
        return here[:end] if end <= len(here) else b""

    def skip_packets(self, count: int, size: int) -> None:
        """Read packets that :meth:`next_packets` has shown."""
        try:
            self._rfile.read(size)
        except GONE as error:
            raise self.lost(error) from error
        self._next_seq_id = (self._next_seq_id + count) & 0xFF

    def shut_down(self, sock: socket.socket) -> None:
        """End both directions of the socket without closing it: a thread that reads
        from it wakes, and learns that this process did so.

        ``SSLSocket.shutdown()`` forgets TLS before it ends the connection: what another
        thread sends in between would leave in clear. Here TLS stays until the end.
        """
        self.severed = True
        try:
            if isinstance(sock, ssl.SSLSocket):
                super(ssl.SSLSocket, sock).shutdown(socket.SHUT_RDWR)
            else:
                sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was faster

    def _read_packet(self, packet_type: t.Any = MysqlPacket) -> t.Any:
        """Read a packet, as PyMySQL does but in fewer steps: what a checkout costs is
        won back here, so that the pool is no slower than PyMySQL alone.
        """
        data, size = b"", MAX_PACKET_LEN
        while size == MAX_PACKET_LEN:  # protocol, Sending More Than 16Mb
            try:
                read = self._rfile.read
                if self._deadline is not None:
                    read = self._read_limited
                elif self._current_timeout != self._read_timeout:
                    t.cast(socket.socket, self._sock).settimeout(self._read_timeout)
                    self._current_timeout = self._read_timeout
                low, high, number = unpack_header(read(4))
                size = low | high << 16
                part = read(size)
            except struct.error:
                raise self.lost(self._why_closed()) from None
            except GONE as error:
                closed = self.severed or isinstance(error, ConnectionError)
                raise self.lost(self._why_closed() if closed else error) from error
            if number != self._next_seq_id or len(part) != size:
                # A server that closes an idle connection says why in packet 0.
                if said := farewell(part):
                    raise self.lost(self._why_closed(said))
                raise self.lost("the answer is cut off or out of order")
            self._next_seq_id = (number + 1) & 0xFF
            data += part  # no copy of the first
        packet = packet_type(data, self.encoding)
        if data and data[0] == 0xFF:
            if self._result is not None:
                self._result.unbuffered_active = False
            with parsing(self):
                packet.raise_for_error()
        return packet

    def _read_limited(self, size: int) -> bytes:
        """Read so many bytes, or fewer where the connection ends.

        Each wait is as long as what is left of the deadline: a server that sends byte
        after byte gets no more time than one that is silent.

        :raise OSError: that took longer than the limits allow, or was more.
        """
        if size > self._bytes_left:
            raise OSError(f"the answer is longer than {MAX_LIMITED_BYTES} bytes")
        self._bytes_left -= size
        if size <= self._bytes_here:
            self._bytes_here -= size
            return t.cast(bytes, self._rfile.read(size))
        data, self._bytes_here = b"", 0
        while (missing := size - len(data)) > 0:
            left: float = self._deadline - time.monotonic()  # type: ignore[operator]  # there is one
            if left <= 0:
                raise TimeoutError("timed out")
            current = self._current_timeout
            # To set it for each packet of an answer would cost more than reading them.
            if current is None or not -0.001 <= current - left <= 0.001:
                t.cast(socket.socket, self._sock).settimeout(left)
                self._current_timeout = left
            # The first receives once, where the buffer is empty; the second takes what
            # is there, and alone would receive for each few bytes.
            here = len(self._rfile.peek(1))
            part = self._rfile.read1(missing)
            self._bytes_here = here - len(part)
            if not part:
                break
            data += part
        return data

    def _write_bytes(self, data: bytes) -> None:
        sock = t.cast(socket.socket, self._sock)
        if self._current_timeout != self._write_timeout:
            sock.settimeout(self._write_timeout)
            self._current_timeout = self._write_timeout
        try:
            sock.sendall(data)
        except OSError as error:
            why = repr(error)
            if isinstance(error, ConnectionError):
                why = self._why_closed(unread_farewell(sock))
            self._force_close()
            text = f"MySQL server has gone away ({why})"
            raise err.OperationalError(CR.CR_SERVER_GONE_ERROR, text) from error

    def _why_closed(self, said: str = "") -> str:
        if self.severed:
            return "the connection was closed by another thread, or returned"
        why = said or self.refusal
        return f"the server closed the connection{why and ': '}{why}"

    def lost(self, why: object) -> err.OperationalError:
        self._force_close()
        return err.OperationalError(
            CR.CR_SERVER_LOST, f"Lost connection to MySQL server during query ({why})"
        )

    def malformed(self, error: Exception) -> err.OperationalError:
        self._force_close()
        return malformed_error(error)

    def _refresh_limit(self) -> None:
        """Give the next reads and writes what is left until the deadline."""
        if self._deadline is not None:
            left = max(0.001, self._deadline - time.monotonic())
            if self._read_timeout is None or abs(self._read_timeout - left) > 0.001:
                self._read_timeout = self._write_timeout = left
