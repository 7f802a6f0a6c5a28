"""Pools on a fresh database of the real server."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterator

import pytest

from flask_mysqlpool import Pool
from flask_mysqlpool.config.settings import Settings

MakePool = Callable[..., Pool]


def settings_for(url: str, **settings: t.Any) -> Settings:
    keys = {f"MYSQLPOOL_{name.upper()}": value for name, value in settings.items()}
    return Settings.from_config({"MYSQLPOOL_URL": url, **keys})["default"]


@pytest.fixture
def make_pool(mysql_url: str) -> Iterator[MakePool]:
    """Make pools on a fresh database: ``make_pool(max_size=2)``."""
    pools = []

    def make(url: str = mysql_url, /, **settings: t.Any) -> Pool:
        pool = Pool(settings_for(url, **{"ssl_disabled": True, **settings}))
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.close()
        assert pool.stats().in_use == 0, f"{pool!r} still lends"
