"""The log of checkouts, waits and returns."""

from __future__ import annotations

import logging
import re
import threading

import pytest

from flask_mysqlpool import Pool

from ...support.fake_session import fake_pool
from ...support.waiting import wait_until


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged, without the durations."""
    return [
        re.sub(r"\d\.\d{6} s", "… s", record.getMessage())
        for record in caplog.records
        if record.name == "flask_mysqlpool.checkouts"
    ]


def make_somebody_wait(pool: Pool) -> None:
    """Let one caller wait for the connection of another."""
    waiter = threading.Thread(
        target=lambda: pool.connection(timeout=20, holder="GET b").close()
    )
    with pool.connection(holder="GET a"):
        waiter.start()
        wait_until(lambda: pool.stats().waiting == 1)
    waiter.join()


def test_each_step_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "flask_mysqlpool.checkouts")
    pool = fake_pool(max_size=1)
    make_somebody_wait(pool)
    pool.connection().close()
    assert sorted(lines(caplog)[:5]) == [
        "pool 'default': GET b waits",
        "pool 'default': connection 1 lent to GET a after … s",
        "pool 'default': connection 1 lent to GET b after … s",
        "pool 'default': connection 1 returned by GET a after … s",
        "pool 'default': connection 1 returned by GET b after … s",
    ]
    assert lines(caplog)[5:] == [
        "pool 'default': connection 1 lent to a caller after … s",
        "pool 'default': connection 1 returned by a caller after … s",
    ]


def test_nothing_is_logged_where_all_others_log_everything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "flask_mysqlpool")
    make_somebody_wait(fake_pool(max_size=1))
    assert not lines(caplog)


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("the disk is full")


def test_handler_that_raises_costs_no_place() -> None:
    logger, handler = logging.getLogger("flask_mysqlpool.checkouts"), Broken()
    pool = fake_pool(max_size=1)
    db = pool.connection()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        db.close()
        with pytest.raises(RuntimeError):
            pool.connection()
        with pytest.raises(RuntimeError):
            pool.connection()
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)
    assert pool.stats().in_use == 0
    pool.connection().close()
