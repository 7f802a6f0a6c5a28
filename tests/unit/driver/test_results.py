"""Rows and messages are taken from packets as PyMySQL does it."""

from __future__ import annotations

import io
import struct
import typing as t

import pymysql
import pytest
from pymysql.connections import MySQLResult
from pymysql.protocol import MysqlPacket

from flask_mysqlpool.driver import results

from ...support.driver_connections import fed
from ...support.driver_connections import length_encoded
from ...support.driver_connections import packet
from ...support.scripted_server import column
from ...support.scripted_server import eof


def test_long_message_is_taken_from_before_the_session_information() -> None:
    long = b"m" * 300
    assert results.message_text(b"") == b""
    assert results.message_text(b"\x03abc\x02xy") == b"abc"
    assert results.message_text(b"\xfc" + struct.pack("<H", 300) + long + b"xy") == long


def test_columns_are_kept_within_a_bound() -> None:
    connection = fed(b"")
    for name, kept in ((b"a", 1), (b"b" * 2 * results.LONGEST_KEPT, 1), (b"c", 2)):
        packets = b"\1", column(name), eof(0)[4:], b"\x011", eof(0)[4:]
        data = b"".join(packet(number, each) for number, each in enumerate(packets, 1))
        connection._rfile = io.BufferedReader(io.BytesIO(data))
        connection._next_seq_id = 1
        connection._read_query_result()
        assert connection._result.description[0][0] == name.decode()
        assert len(connection.columns) == kept
    connection.abandon()


VALUES = (
    None,
    b"",
    b"7",
    "é".encode(),
    *(b"1" * n for n in (250, 251, 65536, 1 << 24)),
)


@pytest.mark.parametrize("value", VALUES, ids=lambda v: "NULL" if v is None else len(v))
@pytest.mark.parametrize("kind", ["bytes", "text", "converted"])
def test_rows_are_those_of_pymysql(value: bytes | None, kind: str) -> None:
    encoding, converter = {
        "bytes": (None, None),
        "text": ("utf8", None),
        "converted": ("utf8", str.upper),
    }[kind]
    connection = fed(b"")
    result = results.TrackedResult(connection)
    result.converters = [(encoding, converter)] * 3
    data = length_encoded(value) + b"\x01a" + length_encoded(value)
    for row in (data, data[: -len(length_encoded(value))]):  # the last one is left out
        theirs: t.Any = MySQLResult
        expected = theirs._read_row_from_packet(result, MysqlPacket(row, "utf8"))
        assert result._read_row_from_packet(MysqlPacket(row, "utf8")) == expected
    connection.abandon()


@pytest.mark.parametrize("row", [b"\x05abc", b"\xfc\x00\x01abc", b"\x01a\x01"])
def test_row_that_is_cut_off_ends_the_connection(row: bytes) -> None:
    connection = fed(b"")
    result = results.TrackedResult(connection)
    result.converters = [("utf8", None)] * 2
    with pytest.raises(pymysql.err.OperationalError, match="cut off"):
        result._read_row_from_packet(MysqlPacket(row, "utf8"))
    assert not connection.open
    connection.abandon()


def test_error_of_a_converter_is_not_swallowed() -> None:
    connection = fed(b"")
    result = results.TrackedResult(connection)
    result.converters = [("utf8", lambda value: "ab"[int(value)])]
    with pytest.raises(IndexError):
        result._read_row_from_packet(MysqlPacket(b"\x017", "utf8"))
    connection.abandon()
