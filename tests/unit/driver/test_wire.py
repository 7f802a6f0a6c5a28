"""Packets are read whole and in order, or the connection ends."""

from __future__ import annotations

import pymysql
import pytest
from pymysql.connections import MAX_PACKET_LEN

from ...support.driver_connections import fed
from ...support.driver_connections import packet


def test_connection_closed_between_two_steps_is_lost() -> None:
    connection = fed(packet(1, b"abc"))
    connection._rfile = None  # as another thread leaves it
    for name, arguments in (("next_packets", (1,)), ("skip_packets", (1, 4))):
        with pytest.raises(pymysql.err.OperationalError) as raised:
            getattr(connection, name)(*arguments)
        assert raised.value.args[0] == 2013
    connection.abandon()


@pytest.mark.parametrize("rest", [b"", b"abc"])
def test_packets_of_more_than_16_megabytes(rest: bytes) -> None:
    full = bytes(MAX_PACKET_LEN)
    connection = fed(packet(1, full) + packet(2, rest) + packet(3, b"next"))
    assert connection._read_packet().get_all_data() == full + rest
    assert connection._read_packet().get_all_data() == b"next"
    connection.abandon()


BROKEN = {
    "nothing": b"",
    "half a header": b"\x01",
    "half a packet": packet(1, b"abc")[:-1],
    "a later one": packet(2, b"abc"),
    "of nobody": packet(0, b"\xff\x1d\x04"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_broken_packet_ends_the_connection(data: bytes) -> None:
    connection = fed(data)
    with pytest.raises(pymysql.err.OperationalError) as raised:
        connection._read_packet()
    assert raised.value.args[0] == 2013
    assert not connection.open
    connection.abandon()
