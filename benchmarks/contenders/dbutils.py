"""DBUtils' PooledDB as it comes, but that it waits where none is free."""

from __future__ import annotations

import pymysql
from dbutils.pooled_db import PooledDB

from . import Arguments
from . import Contender


class Entrant(Contender):
    label = "DBUtils"

    def __init__(self, arguments: Arguments, size: int) -> None:
        self._pool = PooledDB(pymysql, maxconnections=size, blocking=True, **arguments)
        self.lend = self._pool.connection

    def close(self) -> None:
        self._pool.close()
