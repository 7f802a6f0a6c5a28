"""Commands are sent ahead, and their answers are read in order and in time."""

from __future__ import annotations

import socket
import ssl
import time
import typing as t

import pymysql
import pytest
from pymysql.constants import COMMAND

from flask_mysqlpool.driver.socket_probe import taker
from flask_mysqlpool.driver.wire import COM_QUERY
from flask_mysqlpool.driver.wire import COM_RESET_CONNECTION

from ..support.driver_connections import packet
from ..support.tcp_proxy import TCPProxy
from ..support.waiting import wait_until


def test_commands_sent_ahead_are_answered_in_order(raw: t.Any, proxy: TCPProxy) -> None:
    proxy.commands.clear()
    queries = [b"SELECT 1", b"SELECT 2; SELECT 3", b"SET @a = 4", b"SELECT @a"]
    raw.send_ahead((COM_QUERY, sql) for sql in queries)
    assert raw.pending_replies == 4
    assert raw.read_ahead() == ((4,),)
    assert raw.pending_replies == 0
    assert [data for _, data in proxy.commands] == queries
    raw.send_ahead([(COM_RESET_CONNECTION, b""), (COM_QUERY, b"SELECT @a")])
    assert raw.read_ahead() == ((None,),)
    assert raw.query("SELECT 5") == 1
    assert raw._result.rows == ((5,),)


def test_refused_command_leaves_the_rest_unanswered(raw: t.Any) -> None:
    raw.send_ahead(
        [(COM_QUERY, b"DO 1"), (COM_QUERY, b"NOT SQL"), (COM_QUERY, b"DO 2")]
    )
    with pytest.raises(pymysql.err.ProgrammingError):
        raw.read_ahead()
    assert raw.pending_replies == 2


def test_force_close_says_nothing(raw: t.Any, proxy: TCPProxy) -> None:
    sent = proxy.sent
    raw.abandon()
    wait_until(lambda: proxy.sessions[0].ended)
    assert proxy.sent == sent
    assert not raw.quiet()
    raw.abandon()  # a second time does nothing


def test_leave_is_taken_by_the_book(raw: t.Any, proxy: TCPProxy) -> None:
    raw.send_ahead([(COM_QUERY, b"ROLLBACK")])
    raw.quit(time.monotonic() + 5)
    wait_until(lambda: proxy.sessions[0].ended)
    assert proxy.commands[-2:] == [(COM_QUERY, b"ROLLBACK"), (COMMAND.COM_QUIT, b"")]


@pytest.fixture
def patient(raw: t.Any) -> t.Any:
    """A connection without a read timeout, that waits for the answer to one command."""
    raw._read_timeout = None
    raw.send_ahead([(COM_QUERY, b"ROLLBACK")])
    raw.read_ahead()
    raw.pending_replies = 1
    return raw


OK = packet(1, bytes((0, 0, 0, 2, 0, 0, 0)))


def test_answer_is_read_only_where_it_is_here(patient: t.Any, proxy: TCPProxy) -> None:
    assert not patient.read_arrived()
    proxy.sessions[0].inject(OK)
    wait_until(lambda: not patient.quiet())
    assert patient.read_arrived()
    assert patient.pending_replies == 0
    assert patient.quiet()


@pytest.mark.parametrize("how", ["timeout", "two commands", "TLS"])
def test_answer_is_left_to_the_slow_path(
    patient: t.Any, proxy: TCPProxy, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.sessions[0].inject(OK)
    wait_until(lambda: not patient.quiet())
    if how == "timeout":
        patient._sock.settimeout(5.0)
        patient._current_timeout = 5.0
    elif how == "two commands":
        patient.pending_replies = 2
    else:
        with (
            socket.socket() as plain,
            ssl.create_default_context().wrap_socket(
                plain, server_hostname="localhost", do_handshake_on_connect=False
            ) as sock,
        ):
            monkeypatch.setattr(patient, "take", taker(sock))
    assert not patient.read_arrived()
    assert not patient.quiet()  # it is still there


NOT_THE_ANSWER = {
    "half a header": OK[:3],
    "a header": OK[:4],
    "half": OK[:-1],
    "two": OK + packet(1, b"\xff"),
    "a later one": packet(2, OK[4:]),
    "empty": packet(1, b""),
    "cut short inside": packet(1, b"\0\0"),
    "refused": packet(1, b"\xff\x1d\x04#42000no"),
    "rows": packet(1, b"\1"),
}


@pytest.mark.parametrize("came", NOT_THE_ANSWER.values(), ids=NOT_THE_ANSWER)
def test_what_is_no_whole_answer_is_not_taken_for_one(
    patient: t.Any, proxy: TCPProxy, came: bytes
) -> None:
    proxy.sessions[0].inject(came)
    wait_until(lambda: not patient.quiet())
    with pytest.raises(pymysql.err.Error):
        patient.read_arrived()


def test_end_of_the_connection_is_no_answer(patient: t.Any, proxy: TCPProxy) -> None:
    proxy.sessions[0].end()
    wait_until(lambda: not patient.quiet())
    with pytest.raises(pymysql.err.OperationalError, match="cut off"):
        patient.read_arrived()
