"""A pytest plugin for suites of others: with ``--pooled`` they get pools of ours.

``scripts/foreign`` loads it in both of its runs.
"""

from __future__ import annotations

import os
import sys
import time
import typing as t

import dbutils.pooled_db
import pymysql
import pytest
from pymysql.cursors import Cursor

from flask_mysqlpool import Pool
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool import StaleConnectionError
from flask_mysqlpool.config.settings import Settings

OLD_NAMES = {"db": "database", "passwd": "password"}
_pools: dict[str, Pool] = {}


def connect(**parameters: t.Any) -> t.Any:
    """Stand for ``pymysql.connect()``: one pool for each set of parameters."""
    parameters.pop("binary_prefix", None)  # without effect in PyMySQL, too
    config = {
        f"MYSQLPOOL_{OLD_NAMES.get(name, name).upper()}": value
        for name, value in {"max_size": 100, **parameters}.items()
    }
    key = repr(config)
    if key not in _pools:
        _pools[key] = Pool(Settings.from_config(config)["default"])
    return _pools[key].connection()


def translated(query: str) -> str:
    """Return the SQL for a statement of DBUtils' mock database."""
    verb, _, word = query.partition(" ")
    sent = {"select": f"SELECT '{word}'", "set": f"SET @`{word}` = 1"}
    return sent.get(verb, query)


class Words(Cursor):
    """Speaks what DBUtils' mock database does: ``select word``, ``set word``."""

    def execute(self, query: str, args: t.Any = None) -> int:
        return super().execute(translated(query), args)

    def callproc(self, procname: str, args: t.Any = ()) -> t.Any:
        super().execute("DO 0")

    def fetchone(self) -> t.Any:
        row = super().fetchone()
        return row and row[0]


class PooledDB(Pool):
    """Takes DBUtils' arguments, as the migration page translates them."""

    def __init__(
        self,
        creator: t.Any,
        mincached: int | None = 0,
        maxcached: int | None = 0,
        maxshared: int | None = 0,
        maxconnections: int | None = 0,
        blocking: bool = False,
        maxusage: int | None = None,
        setsession: t.Any = None,
        reset: bool = True,
        failures: t.Any = None,
        ping: int = 1,
        *args: t.Any,
        **parameters: t.Any,
    ) -> None:
        least = mincached or 0
        config = {
            "MYSQLPOOL_URL": os.environ["FOREIGN_URL"],
            "MYSQLPOOL_MIN_SIZE": least,
            "MYSQLPOOL_MAX_SIZE": max(maxconnections or 50, least, maxcached or 0),
            "MYSQLPOOL_TIMEOUT": 10 if blocking else 0,
            "MYSQLPOOL_MAX_USAGE": maxusage or 0,
            "MYSQLPOOL_SETSESSION": [translated(s) for s in setsession or ()],
            "MYSQLPOOL_PING_AFTER": 0 if ping else 1,
            "MYSQLPOOL_CURSORCLASS": Words,
        }
        super().__init__(Settings.from_config(config)["default"])
        if least:  # filled behind the first use, where DBUtils does it in __init__()
            super().connection(10).close()
            while self.stats().idle < least:
                time.sleep(0.01)

    def connection(  # type: ignore[override]  # as there
        self, shareable: bool = True, **others: t.Any
    ) -> t.Any:
        return super().connection(**others)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pooled", action="store_true")


def pytest_configure(config: pytest.Config) -> None:
    # PyMySQL's suite is a part of its package, which the installed one is not.
    pymysql.__path__.append(str(config.rootpath / "pymysql"))
    if config.getoption("--pooled"):
        pymysql.connect = pymysql.Connect = connect  # type: ignore[assignment]
        dbutils.pooled_db.PooledDB = PooledDB
        dbutils.pooled_db.TooManyConnectionsError = PoolTimeout
        dbutils.pooled_db.InvalidConnectionError = StaleConnectionError


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    # Not before: SQLAlchemy's suite wants to import it itself.
    dialects = sys.modules.get("sqlalchemy.engine.default")
    if dialects is not None and session.config.getoption("--pooled"):
        dialects.DefaultDialect.poolclass = sys.modules["sqlalchemy.pool"].NullPool


def pytest_terminal_summary(terminalreporter: t.Any) -> None:
    checkouts = sum(pool.stats().checkouts for pool in _pools.values())
    terminalreporter.line(f"{checkouts} checkouts from {len(_pools)} pools")
