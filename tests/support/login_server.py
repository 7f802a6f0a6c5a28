"""A server that asks for any login plugin, and keeps what the client answered."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pymysql.constants import CLIENT

PASSWORD = "hunter2-correct-horse"
SALT = b"abcdefghijklmnopqrst"  # of both parts


def switch(plugin: str, data: bytes = SALT + b"\0") -> bytes:
    """Return an AuthSwitchRequest."""
    return b"\xfe" + plugin.encode() + b"\0" + data


def extra(data: bytes) -> bytes:
    """Return an AuthMoreData packet."""
    return b"\x01" + data


def clear(plugin: str) -> bytes:
    """Return the request of a plugin that wants the password in clear."""
    return switch(plugin, b"\x04Password: " if plugin == "dialog" else b"")


class LoginServer:
    """Greets each client and sends the packets of ``asks``, one after each packet of
    the client's; then it closes the connection.

    :param plugin: named in the greeting.
    :param tls: offers TLS with this context.
    :param unix_socket: where to listen, instead of a port of the loopback interface.
    """

    def __init__(
        self,
        *asks: bytes,
        plugin: str = "mysql_native_password",
        tls: ssl.SSLContext | None = None,
        unix_socket: str = "",
    ) -> None:
        self.asks = asks
        self.received = b""  # decrypted
        self.packets: list[bytes] = []
        self.plugin = plugin
        self.tls = tls
        self._unix_socket = unix_socket
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> LoginServer:
        where = self._unix_socket
        self._listener = socket.socket(socket.AF_UNIX if where else socket.AF_INET)
        self._listener.bind(where or ("127.0.0.1", 0))
        self._listener.listen()
        host = "" if where else f"127.0.0.1:{self._listener.getsockname()[1]}"
        query = f"?unix_socket={where}" if where else ""
        self.url = f"mysql://app:{PASSWORD}@{host}/{query}"
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.settimeout(10)
            with contextlib.suppress(OSError):
                self._talk(client)
            client.close()

    def _talk(self, client: socket.socket) -> None:
        send(client, 0, self._greeting())
        if self.tls is not None:
            read(client)  # SSLRequest
            client = self.tls.wrap_socket(client, server_side=True)
        with client:
            for ask in (*self.asks, b""):
                number, packet = read(client)
                self.received += packet
                self.packets.append(packet)
                if ask:
                    send(client, number + 1, ask)

    def _greeting(self) -> bytes:
        flags = CLIENT.CAPABILITIES | (CLIENT.SSL if self.tls is not None else 0)
        return (
            b"\x0a8.4.0\0"
            + struct.pack("<I8sx", 7, SALT[:8])
            + struct.pack("<HBHHB10x", flags & 0xFFFF, 45, 2, flags >> 16, 21)
            + SALT[8:]
            + b"\0"
            + self.plugin.encode()
            + b"\0"
        )


def send(client: socket.socket, number: int, packet: bytes) -> None:
    client.sendall(len(packet).to_bytes(3, "little") + bytes([number]) + packet)


def read(client: socket.socket) -> tuple[int, bytes]:
    header = exactly(client, 4)
    return header[3], exactly(client, int.from_bytes(header[:3], "little"))


def exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = client.recv(size - len(data))
        if not part:
            raise ConnectionError("the client is gone")
        data += part
    return data


def rsa_keys() -> tuple[rsa.RSAPrivateKey, bytes]:
    """Return a private key and its public key in PEM form."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public
