"""The way to the real server, watched and cut, and a connection of no pool."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Iterator

import pytest
from pymysql.constants import CLIENT

from flask_mysqlpool.driver.connector import Connector

from ..support.pools import settings_for
from ..support.tcp_proxy import TCPProxy


@pytest.fixture
def proxy(mysql_url: str) -> Iterator[TCPProxy]:
    with TCPProxy(mysql_url) as proxy:
        yield proxy


@pytest.fixture
def raw(proxy: TCPProxy) -> Iterator[t.Any]:
    """A connection of no pool, with autocommit off."""
    settings = settings_for(
        proxy.url,
        ssl_disabled=True,
        client_flag=CLIENT.MULTI_STATEMENTS,
        read_timeout=9,
    )
    raw = Connector(settings).open(time.monotonic() + 10)
    yield raw
    raw.abandon()
