"""What DBUtils' pool and its connections have is there, or the page for those who come
from it says what to do.
"""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import dbutils.pooled_db
import pytest
from dbutils.pooled_db import PooledDB
from dbutils.steady_db import SteadyDBConnection

from flask_mysqlpool import PoolClosed
from flask_mysqlpool import StaleConnectionError

from ...support.fake_session import fake_pool

PAGE = (Path(__file__).parents[3] / "docs" / "migration.rst").read_text()
SECTION = PAGE.partition("DBUtils ``PooledDB``")[2].partition("\nSQLAlchemy")[0]
REFUSED = {"cancel", "dbapi", "dbapi_connection", "threadsafety"}


def named(section: str) -> set[str]:
    """Return the names in literals of the first column."""
    first = re.findall(r"\* - (.*)", section)
    return {name for row in first for name in re.findall(r"``(\w+)(?:\(\))?``", row)}


def test_each_name_of_the_pool_is_there() -> None:
    pool = fake_pool()
    for name in vars(PooledDB):
        assert hasattr(pool, name), name
    differs = {"connection", "close", "steady_connection", "cache", "unshare"}
    assert differs <= named(SECTION)


def test_each_name_of_a_connection_is_there_or_refused() -> None:
    with fake_pool().connection() as db:
        for name in vars(SteadyDBConnection):
            if name in REFUSED:
                with pytest.raises(AttributeError, match=f"has no {name}: .{{10}}"):
                    getattr(db, name)
                assert name in named(SECTION)
            elif not name.startswith("_") and name != "version":  # of DBUtils itself
                assert hasattr(db, name), name


def test_refused_name_costs_nothing() -> None:
    """``cancel()`` took the connection from its holder, and its place from the pool."""
    pool = fake_pool(max_size=1)
    with pool.connection() as db:
        cancel: t.Any = getattr(db, "cancel", lambda: None)
        cancel()
        assert db.open and not db.returned
    assert (pool.stats().size, pool.stats().idle) == (1, 1)


def test_each_error_is_named() -> None:
    errors = {name for name in dbutils.pooled_db.__all__ if name.endswith("Error")}
    assert errors <= named(SECTION)


@pytest.mark.parametrize("shareable", [True, False])
def test_shareable(shareable: bool) -> None:
    pool = fake_pool()
    with pytest.raises(TypeError, match="shareable is a keyword"):
        pool.connection(shareable)
    with pool.connection(shareable=shareable) as db:
        assert db.open


def test_close_is_for_good() -> None:
    pool = fake_pool()
    db = pool.connection()
    pool.close()
    with pytest.raises(PoolClosed):
        pool.connection()
    db.close()
    with pytest.raises(StaleConnectionError):
        db.cursor()
