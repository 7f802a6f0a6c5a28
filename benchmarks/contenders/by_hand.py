"""The floor, with a ROLLBACK at each return, whose answer the next checkout reads: what
to leave no transaction open costs at least.
"""

from __future__ import annotations

import threading
from typing import Any

import pymysql
from pymysql.connections import Connection

from . import Arguments
from . import Contender

ROLLBACK = b"\x09\x00\x00\x00\x03ROLLBACK"  # COM_QUERY, as a packet


class Entrant(Contender):
    label = "the floor, ROLLBACK by hand"

    def __init__(self, arguments: Arguments, size: int) -> None:
        self._arguments = arguments
        self._opened: list[_Lease] = []
        self._own = threading.local()

    def lend(self) -> Any:
        try:
            return self._own.lease
        except AttributeError:
            self._own.lease = _Lease(pymysql.connect(**self._arguments))
            self._opened.append(self._own.lease)
            return self._own.lease

    def close(self) -> None:
        for lease in self._opened:
            lease.connection.close()


class _Lease:
    def __init__(self, connection: Connection) -> None:
        self.connection: Any = connection
        self._unanswered = False

    def __enter__(self) -> Any:
        if self._unanswered:
            size = self.connection._rfile.read(4)[0]
            self.connection._rfile.read(size)
        return self.connection

    def __exit__(self, *exc_info: object) -> None:
        self.connection._sock.sendall(ROLLBACK)
        self._unanswered = True
