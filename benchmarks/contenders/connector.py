"""mysql-connector's pool as it comes, on its own driver in Python."""

from __future__ import annotations

from typing import ClassVar

from mysql.connector.pooling import CNX_POOL_MAXSIZE
from mysql.connector.pooling import MySQLConnectionPool

from . import Arguments
from . import Contender


class Entrant(Contender):
    label = "mysql-connector, Python"
    use_pure: ClassVar = True

    def __init__(self, arguments: Arguments, size: int) -> None:
        self._pool = MySQLConnectionPool(
            pool_size=min(size, CNX_POOL_MAXSIZE),
            pool_name=type(self).__module__.rpartition(".")[2],
            use_pure=self.use_pure,
            **arguments,
        )
        self.lend = self._pool.get_connection

    def close(self) -> None:
        self._pool._remove_connections()
