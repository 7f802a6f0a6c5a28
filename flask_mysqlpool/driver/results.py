"""What PyMySQL makes of the answer to a statement: here with the flags that it drops,
and without taking known columns apart again.
"""

from __future__ import annotations

import struct
import typing as t

from pymysql.connections import MySQLResult
from pymysql.converters import decoders
from pymysql.protocol import MysqlPacket
from pymysql.protocol import OKPacketWrapper

from .malformed import raised_by_parsing

MORE_RESULTS = 0x0008  # MySQL client/server protocol, status flags

FIRST_DEFINITION = 2  # number of the packet, in the answer to a command
COLUMNS_KEPT = 256  # results of different columns, for each pool
LONGEST_KEPT = 32768  # bytes of the definitions of a result that is kept

_unpack_flags = struct.Struct("<HH").unpack_from
_EOF = struct.Struct("<xHH")


class TrackedResult(MySQLResult):
    """A result that keeps the flags of the EOF packet, which PyMySQL drops."""

    connection: t.Any
    affected_rows: t.Any
    insert_id: t.Any
    server_status: t.Any
    warning_count: int
    field_count: int
    fields: list[t.Any]
    converters: list[t.Any]
    description: t.Any
    unbuffered_active: bool
    has_next: t.Any
    message: t.Any
    converter_failed = False  # one that is the caller's
    cut_short = False  # rows of an unbuffered result were read for nobody

    def _check_packet_is_eof(self, packet: t.Any) -> bool:
        # MySQL client/server protocol, EOF_Packet
        data = packet._data
        try:
            if data[0] != 0xFE or len(data) >= 9:
                return False
            self.warning_count, status = _EOF.unpack_from(data)
        except (IndexError, struct.error) as error:
            raise self.connection.malformed(error) from error
        self.has_next = status & MORE_RESULTS
        self.connection.note_status(status, self.warning_count)
        return True

    def _read_ok_packet(self, packet: t.Any) -> None:
        self.affected_rows, self.insert_id, status, warnings, rest = read_ok(packet)
        self.server_status, self.warning_count, self.message = status, warnings, rest
        self.has_next = status & MORE_RESULTS

    def _get_descriptions(self) -> None:
        """Read the columns' definitions, and take them apart only where they are new:
        that is half of the work on a small result.
        """
        connection = self.connection
        count = self.field_count + 1
        # Their headers are numbered, of a further result according to what was before.
        first = connection._next_seq_id == FIRST_DEFINITION
        here = connection.next_packets(count) if first else b""
        key: tuple[t.Any, ...] = (connection.encoding, here)
        columns = connection.columns.get(key)
        if columns is not None:
            connection.skip_packets(count, len(here))
        else:
            packets = [connection._read_packet() for _ in range(count)]
            if not here:
                key = (connection.encoding, *(packet._data for packet in packets))
                columns = connection.columns.get(key)
            if columns is None:
                columns = self._take_apart(packets)
                if len(connection.columns) >= COLUMNS_KEPT:
                    connection.columns.clear()
                if sum(map(len, key)) <= LONGEST_KEPT:
                    connection.columns[key] = columns
        self.fields, self.converters, self.description = columns

    def _take_apart(self, packets: list[t.Any]) -> tuple[t.Any, ...]:
        connection = self.connection
        self.connection = _Replay(connection, packets)
        super()._get_descriptions()  # type: ignore[misc]  # not in the stubs
        self.connection = connection
        return self.fields, self.converters, self.description

    def _read_row_from_packet(self, packet: t.Any) -> tuple[t.Any, ...]:
        """Take a row apart (MySQL client/server protocol, Text Resultset Row), as
        PyMySQL does but without a call for each value's length.
        """
        data, at = packet._data, 0
        row: list[t.Any] = []
        try:
            for encoding, converter in self.converters:
                try:
                    length = data[at]
                except IndexError:
                    break  # fewer values than columns, which PyMySQL allows
                at += 1
                if length >= 0xFB:  # NULL, or longer
                    packet.rewind(at - 1)
                    length = packet.read_length_encoded_integer()
                    at = packet._position
                    if length is None:
                        row.append(None)
                        continue
                value = data[at : at + length]
                at += length
                if encoding is not None:
                    value = value.decode(encoding)
                if converter is not None:
                    try:
                        value = converter(value)
                    except Exception:
                        own = any(converter is each for each in decoders.values())
                        self.converter_failed = not own
                        raise
                row.append(value)
        except Exception as error:
            if self.converter_failed or not raised_by_parsing(error):
                raise
            raise self.connection.malformed(error) from error
        if at > len(data):
            raise self.connection.lost("a row is cut off")
        return tuple(row)

    def _finish_unbuffered_query(self) -> None:
        if self.unbuffered_active:
            self.connection.touched = self.cut_short = True
            super()._finish_unbuffered_query()  # type: ignore[misc]  # not in the stubs

    def finish(self) -> None:
        """Read the rows that nobody has read."""
        self._finish_unbuffered_query()

    def disown(self) -> None:
        """Let go of a connection that is being closed: its rows are not read."""
        self.unbuffered_active = False
        self.connection = None


def read_ok(packet: t.Any) -> tuple[int, int, int, int, bytes]:
    """Return affected rows, insert id, status flags, warnings and the rest of an OK
    packet (MySQL client/server protocol, OK_Packet).
    """
    data = packet._data
    if data[1] < 0xFB and data[2] < 0xFB:  # both numbers fit into a byte
        status, warnings = _unpack_flags(data, 3)
        return data[1], data[2], status, warnings, data[7:]
    ok = OKPacketWrapper(packet)
    return (
        ok.affected_rows,
        ok.insert_id,
        ok.server_status,
        ok.warning_count,
        ok.message,
    )


class _Replay:
    """A connection whose next packets have been read already."""

    def __init__(self, connection: t.Any, packets: list[t.Any]) -> None:
        self.use_unicode = connection.use_unicode
        self.encoding = connection.encoding
        self.decoders = connection.decoders
        self._packets = iter(packets)

    def _read_packet(self, packet_type: t.Any = MysqlPacket) -> t.Any:
        return packet_type(next(self._packets)._data, self.encoding)


def message_text(message: bytes) -> bytes:
    """Return the text in an OK packet of a tracked session: a length-encoded string
    (MySQL client/server protocol, OK_Packet), with session information behind it.
    """
    if not message:
        return message
    if message[0] < 0xFB:
        return message[1 : 1 + message[0]]
    (length,) = struct.unpack_from("<H", message, 1)
    return message[3 : 3 + length]
