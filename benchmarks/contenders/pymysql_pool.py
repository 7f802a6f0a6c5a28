"""pymysql-pool as it comes."""

from __future__ import annotations

from pymysqlpool import ConnectionPool
from pymysqlpool import GetConnectionFromPoolError

from . import Arguments
from . import Contender


class Entrant(Contender):
    label = "pymysql-pool"
    refusals = (GetConnectionFromPoolError,)

    def __init__(self, arguments: Arguments, size: int) -> None:
        self._pool = ConnectionPool(size=size, maxsize=size, **arguments)
        self.lend = self._pool.get_connection

    def close(self) -> None:
        for _ in range(self._pool.available_num):
            connection = self._pool.get_connection()
            connection._pool = None  # else close() returns it: the pool has no end
            connection.close()
