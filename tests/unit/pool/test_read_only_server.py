"""Which refusals of changes retire connections, as after a failover, and how often."""

from __future__ import annotations

import typing as t

import pytest
from pymysql import err

from flask_mysqlpool import Pool

from ...support.fake_session import connector_of
from ...support.fake_session import fake_pool
from ...support.fake_session import FakeSession
from ...support.fake_session import session_of

SIZE = 5
OPTION = (
    "The {} server is running with the --{} option so it cannot execute this statement"
)
IN_TRANS_READONLY = 0x2000

Refusal = tuple[int, str]

OF_THE_SERVER: list[Refusal] = [
    (1290, OPTION.format("MariaDB", "read-only")),
    (1290, OPTION.format("MySQL", "read-only")),
    (1290, OPTION.format("MySQL", "super-read-only")),
    (1836, "Running in read-only mode"),
]
OF_SOMETHING_ELSE: list[Refusal] = [
    (1290, OPTION.format("MariaDB", "secure-file-priv")),
    (1290, OPTION.format("MySQL", "secure-file-priv")),
    (1290, OPTION.format("MariaDB", "skip-grant-tables")),
    (1064, "You have an error in your SQL syntax near 'read-only'"),
]


class Clock:
    """The clock of a checkout and a return."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in ("pool", "checkout"):
            monkeypatch.setattr(
                f"flask_mysqlpool.pool.{module}.monotonic", lambda: self.now
            )


def write(pool: Pool, refusal: Refusal, status: int = 0, changed: bool = False) -> None:
    """Let the server refuse a write."""
    with pool.connection() as db:
        session = session_of(db)
        refuse(session, refusal, status, changed)
    session.pending_replies = 0


def refuse(
    session: FakeSession, refusal: Refusal, status: int = 0, changed: bool = False
) -> None:
    """Refuse a write. At its return the session is reset, as after any error."""
    session.server_status, session.state.changed = status, changed
    session.state.note_error(err.OperationalError(*refusal), session.server_status)
    session.server_status, session.state.changed = 0, False
    session.pending_replies = 1


def full_pool(**settings: t.Any) -> Pool:
    """A pool with all its connections open."""
    pool = fake_pool(max_size=SIZE, ping_after=1e6, **settings)
    for db in [pool.connection() for _ in range(SIZE)]:
        db.close()
    assert pool.stats().opened == SIZE
    return pool


def check_retired(pool: Pool, count: int) -> None:
    pool.maintain()
    held = [pool.connection() for _ in range(SIZE)]
    for db in held:
        db.close()
    assert pool.stats().opened == SIZE + count
    assert sum(pool.stats().closed.values()) == count


@pytest.mark.parametrize(("code", "text"), OF_THE_SERVER)
def test_refusal_of_a_read_only_server_retires_what_was_opened_before(
    code: int, text: str
) -> None:
    pool = full_pool()
    write(pool, (code, text))
    check_retired(pool, SIZE)


@pytest.mark.parametrize(("code", "text"), OF_SOMETHING_ELSE)
def test_refusal_for_another_reason_retires_nothing(code: int, text: str) -> None:
    pool = full_pool()
    write(pool, (code, text))
    check_retired(pool, 0)


@pytest.mark.parametrize(("status", "changed"), [(IN_TRANS_READONLY, False), (0, True)])
def test_refusal_in_the_sessions_own_read_only_transaction_retires_nothing(
    status: int, changed: bool
) -> None:
    pool = full_pool()
    refusal = (1792, "Cannot execute statement in a READ ONLY transaction")
    write(pool, refusal, status, changed)
    check_retired(pool, 0)


def test_refusal_as_in_a_read_only_transaction_that_nobody_began_retires() -> None:
    pool = full_pool()
    write(pool, (1792, "Cannot execute statement in a READ ONLY transaction"))
    check_retired(pool, SIZE)


def test_refused_writes_open_no_more_than_the_pools_size_each_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    pool = full_pool()
    opened = connector_of(pool).opened
    for second in range(10):
        before = len(opened)
        for _ in range(100):
            write(pool, OF_THE_SERVER[0])
            clock.now += 0.0099
        assert 1 <= len(opened) - before <= SIZE, f"in second {second}"
        clock.now += 0.02


def test_concurrent_refused_writes_open_no_more_than_the_pools_size_each_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    pool = full_pool()
    opened = connector_of(pool).opened
    for second in range(10):
        before = len(opened)
        for _ in range(20):
            held = [pool.connection() for _ in range(SIZE)]
            for db in held:
                session = session_of(db)
                refuse(session, OF_THE_SERVER[0])
                db.close()
                session.pending_replies = 0
            clock.now += 0.0495
        assert 1 <= len(opened) - before <= SIZE, f"in second {second}"
        clock.now += 0.02
