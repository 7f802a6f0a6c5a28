"""What a user reads when the server closed the connection."""

from __future__ import annotations

import pymysql
import pytest

from flask_mysqlpool import Pool

from ..support.ledger import Ledger
from ..support.pools import MakePool
from ..support.queries import execute

TOO_LARGE = f"SELECT '{'x' * (17 << 20)}'"


@pytest.fixture
def pool(make_pool: MakePool, ledger: Ledger) -> Pool:
    """Of a server that takes 16 MB, its default."""
    return make_pool(max_size=1)


def test_statement_above_max_allowed_packet(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """The server may refuse it, or close while it is being sent."""
    with caplog.at_level("WARNING", "flask_mysqlpool"):
        with pool.connection() as db:
            with pytest.raises(pymysql.err.OperationalError) as raised:
                db.query(TOO_LARGE)
        assert "max_allowed_packet" in str(raised.value)
    assert caplog.messages == []
    with pool.connection() as db:
        assert execute(db, "SELECT 1") == ((1,),)


def test_statement_after_one_above_max_allowed_packet(pool: Pool) -> None:
    with pool.connection() as db:
        with pytest.raises(pymysql.err.OperationalError):
            db.query(TOO_LARGE)
        with pytest.raises(pymysql.Error, match="closed the connection: 1153 "):
            db.query("SELECT 1")


@pytest.mark.parametrize("tls", [False, True])
def test_killed_session(make_pool: MakePool, ledger: Ledger, tls: bool) -> None:
    pool = make_pool(ssl_disabled=not tls)
    with pool.connection() as db:
        ledger.kill(db.thread_id())
        with pytest.raises(pymysql.err.OperationalError) as raised:
            db.query("SELECT 1")
        assert raised.value.args[0] in (2006, 2013)
        assert "the server closed the connection" in raised.value.args[1]


def test_reset_that_cannot_be_sent_is_no_fault(
    pool: Pool, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "flask_mysqlpool"):
        for _ in range(5):
            with pool.connection() as db:
                execute(db, "SET @a = 1")
                ledger.kill(db.thread_id())
                # What a second send to a closed socket raises, without a race.
                db.session._sock.shutdown(2)  # type: ignore[union-attr]
    assert caplog.messages == []
    assert pool.stats().closed == {"broken": 5}
