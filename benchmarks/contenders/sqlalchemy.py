"""SQLAlchemy's QueuePool without the rest of SQLAlchemy."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Any

import pymysql
from sqlalchemy.exc import TimeoutError as RefusedError
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.pool import QueuePool

from . import Arguments
from . import Contender


class Entrant(Contender):
    label = "SQLAlchemy"
    refusals = (RefusedError,)

    def __init__(self, arguments: Arguments, size: int) -> None:
        connect: Any = partial(pymysql.connect, **arguments)  # not as the stubs say
        self._pool = QueuePool(connect, pool_size=size, max_overflow=0)

    def lend(self) -> closing[PoolProxiedConnection]:
        return closing(self._pool.connect())

    def close(self) -> None:
        self._pool.dispose()
