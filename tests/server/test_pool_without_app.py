"""A pool of a script, a worker or a notebook: no app, no extension."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from flask_mysqlpool import ConfigError
from flask_mysqlpool import Pool
from flask_mysqlpool import PoolClosed

from ..support.tcp_proxy import QUIT
from ..support.tcp_proxy import TCPProxy
from ..support.waiting import wait_until
from .test_outages import fill


def test_it_keeps_its_minimum_and_its_idle_limit(mysql_url: str) -> None:
    with Pool.from_url(mysql_url, ssl_disabled=True, min_size=2, max_idle=0.02) as pool:
        fill(pool, 4)
        wait_until(lambda: pool.stats().size == 2)
        assert pool.stats().closed == {"idle": 2}
    assert pool.stats().size == 0
    with pytest.raises(PoolClosed):
        pool.connection()


def test_it_reports_leaks(mysql_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with Pool.from_url(mysql_url, ssl_disabled=True, leak_after=0.01) as pool:
        with pool.connection():
            wait_until(lambda: pool.stats().leaks == 1)


def test_wrong_setting_is_named(mysql_url: str) -> None:
    with pytest.raises(ConfigError, match="did you mean MYSQLPOOL_MAX_SIZE"):
        Pool.from_url(mysql_url, max_siz=4)


SCRIPT = """
import sys
from flask_mysqlpool import Pool
pool = Pool.from_url(sys.argv[1], ssl_disabled=True)
with pool.connection() as db, db.cursor() as cursor:
    cursor.execute("SELECT 1")
    print(cursor.fetchone()[0])
"""


def test_script_closes_in_order_when_it_ends(mysql_url: str) -> None:
    """Else the server counts an aborted client."""
    with TCPProxy(mysql_url) as proxy:
        script = [sys.executable, "-W", "error", "-c", SCRIPT, proxy.url]
        run = subprocess.run(script, capture_output=True, text=True, timeout=60)
        assert (run.returncode, run.stdout, run.stderr) == (0, "1\n", "")
        wait_until(lambda: all(session.ended for session in proxy.sessions))
        for session in proxy.sessions:
            assert session.commands[-1] == (QUIT, b"")
