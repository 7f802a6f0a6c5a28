"""What a caller's own short deadline cuts off says nothing about the server."""

from __future__ import annotations

import pytest
from pymysql import err

from flask_mysqlpool import PoolTimeout

from ...support.fake_session import connector_of
from ...support.fake_session import fake_pool


def test_impatient_caller_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = fake_pool(max_size=2, timeout=5)
    now = 100.0
    for module in ("pool", "checkout"):
        monkeypatch.setattr(f"flask_mysqlpool.pool.{module}.monotonic", lambda: now)

    def late(deadline: float) -> None:
        nonlocal now
        now = deadline
        raise err.OperationalError(2013, "timed out")

    with monkeypatch.context() as patched:
        patched.setattr(connector_of(pool), "open", late)
        with pytest.raises(PoolTimeout):
            pool.connection(timeout=0.1)
    assert pool.outage is None
    pool.connection().close()


def test_attempt_with_time_enough_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = fake_pool(max_size=2, timeout=5)
    connector_of(pool).error = err.OperationalError(2003, "refused")
    with pytest.raises(PoolTimeout):
        pool.connection(timeout=0.1)  # refused before that
    assert isinstance(pool.outage, err.OperationalError)
