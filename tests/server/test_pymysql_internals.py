"""What is taken from PyMySQL's private parts is there, and does what we rely on."""

from __future__ import annotations

import inspect
import re
import socket
import time
import typing as t
from pathlib import Path

import pymysql
import pytest
from pymysql.connections import Connection as PlainConnection
from pymysql.connections import MySQLResult
from pymysql.cursors import Cursor

from flask_mysqlpool.driver import packets as protocol
from flask_mysqlpool.driver.connector import Connector
from flask_mysqlpool.driver.wire import COM_QUERY
from flask_mysqlpool.driver.wire import WireConnection

from ..support.pools import settings_for
from ..support.tcp_proxy import TCPProxy

# Called or overridden by us, as PyMySQL has it.
METHODS = {
    Cursor: {
        "_do_execute_many": (
            "self, prefix, values, postfix, args, max_stmt_length, encoding"
        ),
        "_mogrify": "self, query, args",
    },
    PlainConnection: {
        "_create_ssl_ctx": "self, sslp",
        "_execute_command": "self, command, sql",
        "_force_close": "self",
        "_get_auth_plugin_handler": "self, plugin_name",
        "_process_auth": "self, plugin_name, auth_packet, handler=None",
        "_read_ok_packet": "self",
        "_read_packet": "self, packet_type=<class 'pymysql.protocol.MysqlPacket'>",
        "_read_query_result": "self, unbuffered=False",
        "_request_authentication": "self",
        "_write_bytes": "self, data",
        "connect": "self, sock=None",
        "set_character_set": "self, charset, collation=None",
    },
    MySQLResult: {
        "_check_packet_is_eof": "self, packet",
        "_finish_unbuffered_query": "self",
        "_get_descriptions": "self",
        "_read_ok_packet": "self, packet",
        "_read_row_from_packet": "self, packet",
        "_read_rowdata_packet_unbuffered": "self",
        "init_unbuffered_query": "self",
        "read": "self",
    },
}


@pytest.mark.parametrize("owner", METHODS)
def test_private_methods_are_there(owner: type) -> None:
    for name, parameters in METHODS[owner].items():
        signature = inspect.signature(getattr(owner, name))
        assert str(signature).partition(" ->")[0] == f"({parameters})", name


def test_private_attributes_are_there(raw: t.Any) -> None:
    text = Path(inspect.getfile(protocol)).read_text()
    contract = text.partition("# The written contract with PyMySQL.")[2]
    names = re.findall(r"^    (\w+):", contract.partition("\n\n")[0], re.MULTILINE)
    assert len(names) > 10
    plain = PlainConnection(user="nobody", defer_connect=True)
    source = inspect.getsource(PlainConnection)
    assert set(names) <= {*dir(plain), *re.findall(r"self\.(\w+) = ", source)}
    assert isinstance(raw.db, bytes), "the reset sends it as it is"


def test_login_calls_what_we_override(
    proxy: TCPProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[WireConnection] = []
    method = WireConnection._request_authentication

    def record(self: WireConnection) -> None:
        called.append(self)
        method(self)

    monkeypatch.setattr(WireConnection, "_request_authentication", record)
    settings = settings_for(proxy.url, ssl_disabled=True, connect_timeout=7)
    Connector(settings).open(time.monotonic() + 5).abandon()
    assert called


def test_login_sends_what_the_session_needs_in_one_go(
    raw: t.Any, proxy: TCPProxy
) -> None:
    first, second = proxy.statements
    assert first.startswith("SET NAMES utf8mb4, autocommit = 0")
    assert second == "SELECT CURRENT_ROLE()"
    assert raw.tracked


def test_one_tls_context_serves_all_connections(proxy: TCPProxy) -> None:
    connector = Connector(settings_for(proxy.url))  # TLS where the server has it
    made = [connector.open(time.monotonic() + 10) for _ in range(2)]
    contexts = {id(connection.ctx) for connection in made}
    for connection in made:
        connection.abandon()
    assert len(contexts) == 1


def test_role_is_asked_once_for_many_connections(
    proxy: TCPProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def questions() -> int:
        connector = Connector(settings_for(proxy.url, ssl_disabled=True))
        proxy.commands.clear()
        for _ in range(3):
            connector.open(time.monotonic() + 5).abandon()
        return proxy.statements.count("SELECT CURRENT_ROLE()")

    assert questions() == 1
    monkeypatch.setattr("flask_mysqlpool.driver.connector.ROLE_CACHE_SECONDS", 0)
    assert questions() == 3


# Time limits


def test_timeouts_are_those_of_pymysql(raw: t.Any) -> None:
    sock = t.cast(socket.socket, raw._sock)
    raw._read_timeout, raw._write_timeout = 3.0, 4.0
    raw._execute_command(COM_QUERY, "DO 1")
    assert sock.gettimeout() == 4.0
    raw._read_query_result()
    assert sock.gettimeout() == 3.0


def test_limit_holds_and_is_lifted(raw: t.Any, proxy: TCPProxy) -> None:
    own = (raw._read_timeout, raw._write_timeout)
    raw.limit(time.monotonic() + 0.05)
    proxy.sessions[0].hold()
    with pytest.raises(pymysql.err.OperationalError):
        raw.query("SELECT 1")
    raw.limit(None)
    assert (raw._read_timeout, raw._write_timeout) == own


def test_limit_covers_the_login(proxy: TCPProxy) -> None:
    proxy.holds_new = True
    connector = Connector(settings_for(proxy.url, ssl_disabled=True))
    with pytest.raises(pymysql.err.OperationalError):
        connector.open(time.monotonic() + 0.05)
