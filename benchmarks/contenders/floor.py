"""A raw PyMySQL connection for each thread and no pool at all: the floor."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

import pymysql
from pymysql.connections import Connection

from . import Arguments
from . import Contender


class Entrant(Contender):
    label = "connection per thread"

    def __init__(self, arguments: Arguments, size: int) -> None:
        self._arguments = arguments
        self._opened: list[Connection] = []
        self._own = threading.local()

    def lend(self) -> Any:
        try:
            return self._own.lease
        except AttributeError:
            connection = pymysql.connect(**self._arguments)
            self._opened.append(connection)
            self._own.lease = nullcontext(connection)
            return self._own.lease

    def close(self) -> None:
        for connection in self._opened:
            connection.close()
