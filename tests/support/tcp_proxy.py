"""A forwarder between pool and server that records the commands, and can hold the
answers back, cut them off or add to them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import typing as t
from urllib.parse import urlsplit

from pymysql.constants import COMMAND

from flask_mysqlpool.driver.wire import COM_RESET_CONNECTION

QUERY = COMMAND.COM_QUERY
QUIT = COMMAND.COM_QUIT
PING = COMMAND.COM_PING
INIT_DB = COMMAND.COM_INIT_DB
RESET = COM_RESET_CONNECTION

Command = tuple[int, bytes]  # its number and what follows


class Commands:
    """Finds the commands in what a client sends: packets with the sequence number 0
    (MySQL client/server protocol, Packets); those of a login have others.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Command]:
        found = []
        self._rest += data
        while len(self._rest) >= 4:
            end = 4 + int.from_bytes(self._rest[:3], "little")
            if len(self._rest) < end:
                break
            packet, self._rest = self._rest[:end], self._rest[end:]
            if packet[3] == 0:
                found.append((packet[4], packet[5:]))
        return found


class Session:
    """One connection through the wire."""

    def __init__(
        self, client: socket.socket, server: socket.socket, held: bool
    ) -> None:
        self.client = client
        self.server = server
        self.commands: list[Command] = []
        self.sent = 0  # bytes from the client
        self.ended = False  # by the client
        self._passing = threading.Event()
        if not held:
            self._passing.set()
        self._left: int | None = None  # bytes that the client may still get

    def hold(self) -> None:
        """Let no answer through until :meth:`release`."""
        self._passing.clear()

    def release(self) -> None:
        self._passing.set()

    def cut_after(self, size: int) -> None:
        """End the connection when the client got ``size`` more bytes."""
        self._left = size

    def inject(self, data: bytes) -> None:
        """Send to the client what the server has not said."""
        self.client.sendall(data)

    def end(self) -> None:
        self._passing.set()
        for each in (self.client, self.server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def forward_commands(self, heard: list[Command]) -> None:
        found = Commands()
        with contextlib.suppress(OSError):
            while data := self.client.recv(65536):
                self.sent += len(data)
                for command in found.feed(data):
                    self.commands.append(command)
                    heard.append(command)
                self.server.sendall(data)
        self.ended = True
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)

    def forward_answers(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.server.recv(65536):
                self._passing.wait()
                left = self._left  # cut_after() counts from the next answer on
                if left is not None:
                    data, self._left = data[:left], left - len(data)
                self.client.sendall(data)
                if left is not None and left - len(data) <= 0:
                    break
        with contextlib.suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)


class TCPProxy:
    """A way to the server of ``url``; use its own :attr:`url` instead."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port or 3306)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.sessions: list[Session] = []
        self.holds_new = False  # whether new sessions are held from the start
        self.commands: list[Command] = []  # of all sessions, in the order of arrival
        user = parts.netloc.rpartition("@")[0]
        self.url = parts._replace(netloc=f"{user}@127.0.0.1:{self.port}").geturl()

    def __enter__(self) -> TCPProxy:
        self._start(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for session in self.sessions:
            session.end()
        for thread in self._threads:
            thread.join()
        for session in self.sessions:
            session.client.close()
            session.server.close()

    @property
    def statements(self) -> list[str]:
        """The commands in words: the text of queries, the number of others."""
        return [
            data.decode("utf-8", "replace") if command == QUERY else f"0x{command:02x}"
            for command, data in self.commands
        ]

    @property
    def sent(self) -> int:
        """Bytes from all clients."""
        return sum(session.sent for session in self.sessions)

    def _start(self, target: t.Callable[..., None], *args: t.Any) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            session = Session(client, server, self.holds_new)
            self.sessions.append(session)
            self._start(session.forward_commands, self.commands)
            self._start(session.forward_answers)
