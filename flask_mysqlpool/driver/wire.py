"""PyMySQL's connection with status flags, and commands sent ahead of their replies.

What is used here that PyMySQL does not document is checked against the installed
version by the tests of this module.
"""

from __future__ import annotations

import socket
import struct
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterable

from pymysql import err
from pymysql.connections import MAX_PACKET_LEN
from pymysql.constants import COMMAND
from pymysql.constants import CR
from pymysql.protocol import MysqlPacket

from ..errors import PoolError
from .arrivals import Reader
from .farewell import farewell
from .green_tls import deadline_of
from .malformed import parsing
from .malformed import raised_by_parsing
from .packets import GONE
from .packets import HEADER
from .packets import PacketConnection
from .results import message_text
from .results import read_ok
from .results import TrackedResult
from .socket_probe import listener
from .socket_probe import putter
from .socket_probe import taker
from .socket_probe import unread_meter

# MySQL client/server protocol, capability flags.
CLIENT_SESSION_TRACK = 1 << 23

COM_QUIT = COMMAND.COM_QUIT
COM_INIT_DB = COMMAND.COM_INIT_DB
COM_QUERY = COMMAND.COM_QUERY
COM_PING = COMMAND.COM_PING
COM_RESET_CONNECTION = 0x1F  # PyMySQL calls this number COM_END

Command = tuple[int, bytes]

SEND_TIMEOUT = 1.0  # seconds for what is sent ahead where there is no deadline
_pack_command = struct.Struct("<iB").pack


def refused_by_server(error: BaseException) -> bool:
    """Return whether ``error`` is an ERR packet: the exchange has ended, and the
    connection stands. Client errors have the numbers 2000 to 2999 (MySQL Error
    Message Reference).
    """
    if not isinstance(error, err.MySQLError) or not error.args:
        return False
    if isinstance(error, PoolError):  # of another pool, as in a password's function
        return False
    code = error.args[0]
    if not isinstance(code, int):
        return False
    return code >= 1000 and not CR.CR_ERROR_FIRST <= code < 3000


class WireConnection(PacketConnection):
    """A PyMySQL connection whose status flags are kept, and that can send commands
    before it reads the answers.
    """

    #: Tells whether nothing has come in that was not asked for, the end of the
    #: connection included. Costs no round trip.
    quiet: Callable[[], bool] = staticmethod(lambda: False)
    #: See socket_probe.unread_meter().
    unread_memory: Callable[[], int] = staticmethod(lambda: 0)
    take: Callable[[], bytes]  # see socket_probe.taker()
    put: Callable[[bytes], int] = staticmethod(lambda data: 0)  # see putter()

    pending_replies = 0  # to commands that were sent ahead
    tracked = False
    #: Whether the exchange has come to the socket: an error before that costs nothing.
    touched = False
    _after_login = False

    def __init__(self, columns: dict[t.Any, t.Any], **arguments: t.Any) -> None:
        # Definitions seen, taken apart: shared by connections with equal arguments.
        self.columns = columns
        self.setups: dict[t.Any, tuple[Command, ...]] = {}  # may be shared likewise
        super().__init__(**arguments)

    def note_status(self, status: int, warnings: int) -> None:
        """Take note of the status flags of an OK or EOF packet."""
        self.server_status = status

    @property
    def in_exchange(self) -> bool:
        """Whether the server still has rows or results for us."""
        result = self._result
        return result is not None and bool(result.unbuffered_active or result.has_next)

    def send_ahead(self, commands: Iterable[Command]) -> None:
        """Send commands whose answers :meth:`read_ahead` will read.

        Without a deadline this waits no longer than :data:`SEND_TIMEOUT`, and in most
        cases not at all: a server that takes nothing any more loses its client.
        """
        self._check_nothing_unread()
        commands = list(commands)
        packets = (
            struct.pack("<iB", len(data) + 1, command) + data
            for command, data in commands
        )
        self.pending_replies = len(commands)
        data = b"".join(packets)
        if self._deadline is not None:
            self._refresh_limit()
            self._write_bytes(data)
            return
        if self._current_timeout is not None:  # such a socket waits for as long
            t.cast(socket.socket, self._sock).settimeout(None)
            self._current_timeout = None
        if rest := data[self.put(data) :]:
            self.limit(time.monotonic() + SEND_TIMEOUT)
            self._write_bytes(rest)
            self.limit(None)

    def read_ahead(self) -> t.Any:
        """Read the answers to the commands sent ahead; return the rows of the last.

        :raise pymysql.Error: the server refused one, or is gone.
        """
        rows = None
        while self.pending_replies:
            self._next_seq_id = 1
            self._read_query_result()
            while self._result.has_next:
                self._read_query_result()
            self.pending_replies -= 1
            rows, self._result = self._result.rows, None
        return rows

    def read_arrived(self) -> bool:
        """Read the answer to the one command sent ahead, if that takes no waiting, and
        return whether it did: never under TLS, nor under gevent.

        :raise pymysql.Error: what came is not one whole OK packet.
        """
        if self.pending_replies != 1 or self._current_timeout is not None:
            return False  # a socket with a timeout waits for as long
        try:
            came = self.take()
        except BlockingIOError:
            return False
        size = len(came) - 4
        if size < 1 or came[:4] != HEADER.pack(size & 0xFFFF, size >> 16, 1):
            raise self.lost("the answer is cut off, or not the only one")
        self._note_ok(MysqlPacket(came[4:], self.encoding))
        self.pending_replies = 0
        return True

    def abandon(self) -> None:
        """Close the socket without a word to the server."""
        if self._result is not None:
            self._result.disown()
        self.quiet = WireConnection.quiet
        self.pending_replies = 0
        try:
            self._force_close()
        except (RuntimeError, ValueError):
            # Under gevent another greenlet is reading; or an interrupt came while the
            # reader was made of PyMySQL's.
            if self._sock is not None:
                self._sock.close()
            self._sock = self._rfile = None

    def quit(self, deadline: float) -> None:
        """Send COM_QUIT, read what is pending by ``deadline``, and close the socket."""
        try:
            self.limit(deadline)
            self._write_bytes(struct.pack("<iB", 1, COM_QUIT))
            self.read_ahead()  # unread, it would make TCP reset the connection
        except (err.Error, *GONE):
            pass  # the server is gone already
        finally:
            self.abandon()

    def ping(self, reconnect: t.Any = False) -> None:
        """Ask the server whether the connection lives.

        :param reconnect: of PyMySQL, which will drop it; without effect.
        """
        self._execute_command(COM_PING, b"")
        self._read_ok_packet()

    def next_result(self, unbuffered: bool = False) -> int:
        if self._result is None or not self._result.has_next:
            raise err.OperationalError(
                CR.CR_COMMANDS_OUT_OF_SYNC,
                "next_result() where no further result is to be read would wait for"
                " ever: ask nextset() of a cursor, or read all rows first",
            )
        self.touched = True
        return super().next_result(unbuffered)

    # PyMySQL's own methods, called by it.

    def connect(self, sock: t.Any = None) -> None:
        self._after_login = False
        with parsing(self):
            super().connect(sock)
        self._after_login = True
        sock = t.cast(socket.socket, self._sock)  # under TLS it is another one
        # What has come behind the answer to the login was not asked for.
        self._rfile = Reader(sock, self._rfile)
        self.quiet, self.unread_memory = listener(sock), unread_meter(sock)
        self.take, self.put = taker(sock), putter(sock)

    def set_character_set(self, charset: str, collation: str | None = None) -> None:
        if self._after_login:
            super().set_character_set(charset, collation)
        # else PyMySQL's connect() calls: what sets the session up sends it as well

    def write_packet(self, payload: bytes) -> None:
        self._refresh_limit()  # TLS begins after one, and reads without _read_packet()
        super().write_packet(payload)

    def _request_authentication(self) -> None:
        self.tracked = bool(self.server_capabilities & CLIENT_SESSION_TRACK)
        if self.tracked:
            self.client_flag |= CLIENT_SESSION_TRACK
        with deadline_of(t.cast(socket.socket, self._sock), self._deadline):
            super()._request_authentication()  # type: ignore[misc]  # not in the stubs

    def _check_nothing_unread(self) -> None:
        """Check that the last answer was all that came: else the rest would be taken
        for the answer to the next command.
        """
        try:
            if not self._rfile.has_unread():
                if not self.unread_memory():
                    return
                t.cast(socket.socket, self._sock).settimeout(0)
                self._current_timeout = 0  # so that sending restores it
            came = self._rfile.peek(4)
        except OSError:
            return  # there is nothing; what is broken is met by who sends
        said = farewell(came[4:])
        if said or not came:
            raise self.lost(self._why_closed(said))
        raise self.lost("the server said more than it was asked")

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        """Send a command, as PyMySQL does but in fewer steps, and without its warning
        of unread rows: as an error it would end the connection.
        """
        if self._sock is None:
            raise err.InterfaceError(0, "")
        if (result := self._result) is not None:
            result._finish_unbuffered_query()
            while self._result.has_next:
                self.next_result()
            self._result, self.touched = None, False
        self._check_nothing_unread()
        if isinstance(sql, str):
            sql = sql.encode(self.encoding)
        size = len(sql) + 1
        if size < MAX_PACKET_LEN:
            packet = _pack_command(size, command) + sql
            self.touched = True
            self._write_bytes(packet)
            self._next_seq_id = 1
        else:
            self.touched = True
            super()._execute_command(command, sql)  # type: ignore[misc]  # not in the stubs

    def _read_ok_packet(self) -> tuple[int, int, int, int, bytes]:
        return self._note_ok(self._read_packet())

    def _note_ok(self, packet: t.Any) -> tuple[int, int, int, int, bytes]:
        try:
            if not packet.is_ok_packet():
                raise err.OperationalError(CR.CR_COMMANDS_OUT_OF_SYNC, "out of sync")
            ok = read_ok(packet)
        except Exception as error:
            if not raised_by_parsing(error):
                raise
            raise self.malformed(error) from error
        self.note_status(ok[2], ok[3])
        return ok

    def _read_query_result(self, unbuffered: bool = False) -> t.Any:
        self._result = None
        result = TrackedResult(self)
        try:
            if unbuffered:
                result.init_unbuffered_query()
            else:
                result.read()
            self._result = result
            if result.server_status is not None:  # an OK packet
                self.note_status(result.server_status, result.warning_count)
                if self.tracked:
                    result.message = message_text(result.message or b"")
        except Exception as error:
            if result.converter_failed or not raised_by_parsing(error):
                raise
            raise self.malformed(error) from error
        return result.affected_rows
