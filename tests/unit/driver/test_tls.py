"""Under TLS no byte of a statement leaves the process in clear, however it ends."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from flask_mysqlpool.driver.session import Session

from ...support.certificates import make_certificate
from ...support.pools import settings_for

RECORD_TYPES = {20, 21, 22, 23}  # RFC 8446, TLSPlaintext.type


class TLSLine:
    """A connection whose socket speaks TLS, and the raw bytes at its other end."""

    def __init__(self, folder: Path) -> None:
        certificate = make_certificate(folder)
        near, far = socket.socketpair()
        server = threading.Thread(target=self._greet, args=(certificate, far))
        server.start()
        context = certificate.client_context()
        self.client = context.wrap_socket(near, server_hostname="127.0.0.1")
        server.join()
        settings = settings_for("mysql://app@127.0.0.1/bank")
        context = self.client.context
        self.connection = Session(settings, {}, lambda options, create: context, {})
        self.connection._sock, self.connection._current_timeout = self.client, None
        self.received = b""
        self._reader = threading.Thread(target=self._receive)
        self._reader.start()

    def _greet(self, certificate: t.Any, far: socket.socket) -> None:
        with certificate.server_context().wrap_socket(far, server_side=True) as server:
            self._raw = socket.socket(fileno=server.detach())

    def _receive(self) -> None:
        with self._raw, contextlib.suppress(OSError):
            while data := self._raw.recv(1 << 20):
                self.received += data

    def end(self) -> None:
        self.connection.abandon()
        self.client.close()
        self._reader.join()

    def records(self) -> list[int]:
        """Return the types of the TLS records that arrived whole."""
        self._reader.join()
        data, found = self.received, []
        while len(data) >= 5:
            found.append(data[0])
            data = data[5 + int.from_bytes(data[3:5], "big") :]
        return found


@pytest.fixture
def tls_line(tmp_path: Path) -> Iterator[TLSLine]:
    line = TLSLine(tmp_path)
    yield line
    line.end()


def test_statement_under_way_stays_encrypted_when_its_connection_is_closed(
    tls_line: TLSLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread still sends while another closes: the moment between "TLS is forgotten"
    and "the socket is shut down" is made as long as it takes to send once more.
    """
    sent, shutting, sent_more = (threading.Event() for _ in range(3))
    send, shutdown = ssl.SSLSocket.send, socket.socket.shutdown

    def send_slowly(sock: ssl.SSLSocket, data: t.Any, flags: int = 0) -> int:
        if sent.is_set():
            assert shutting.wait(10)
        try:
            return send(sock, data[:1000], flags)
        finally:
            if sent.is_set():
                sent_more.set()
            sent.set()

    def shut_down_slowly(sock: socket.socket, how: int) -> None:
        shutting.set()
        assert sent_more.wait(10)
        shutdown(sock, how)

    monkeypatch.setattr(ssl.SSLSocket, "send", send_slowly)
    monkeypatch.setattr(socket.socket, "shutdown", shut_down_slowly)
    errors: list[BaseException] = []

    def execute() -> None:
        try:
            tls_line.connection._write_bytes(b"SELECT 'secret'; " * 10_000)
        except pymysql.MySQLError as error:
            errors.append(error)

    sender = threading.Thread(target=execute)
    sender.start()
    assert sent.wait(10)
    tls_line.connection.abandon()
    sender.join()
    assert errors, "the statement was not cut off"
    assert b"secret" not in tls_line.received
    assert set(tls_line.records()) <= RECORD_TYPES
