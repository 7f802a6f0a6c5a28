"""SQLAlchemy's QueuePool with ``pre_ping``, which needs an engine's dialect."""

from __future__ import annotations

from contextlib import closing
from functools import partial

import pymysql
from sqlalchemy import create_engine
from sqlalchemy.exc import TimeoutError as RefusedError
from sqlalchemy.pool import PoolProxiedConnection

from . import Arguments
from . import Contender


class Entrant(Contender):
    label = "SQLAlchemy, pre_ping"
    refusals = (RefusedError,)

    def __init__(self, arguments: Arguments, size: int) -> None:
        self._engine = create_engine(
            "mysql+pymysql://",
            creator=partial(pymysql.connect, **arguments),
            pool_size=size,
            max_overflow=0,
            pool_pre_ping=True,
        )

    def lend(self) -> closing[PoolProxiedConnection]:
        return closing(self._engine.raw_connection())

    def close(self) -> None:
        self._engine.dispose()
