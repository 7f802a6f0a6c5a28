"""What is missing on this machine for one more socket says nothing of the server."""

from __future__ import annotations

import errno
import os
import threading
import typing as t

import pytest
from pymysql import err

from flask_mysqlpool import Pool
from flask_mysqlpool import PoolTimeout

from ...support.fake_session import connector_of
from ...support.fake_session import fake_pool
from ...support.waiting import wait_until

SHORTAGES = [
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EADDRINUSE,
]


def shortage(number: int, wrapped: bool = True) -> Exception:
    """Return what opening a connection raises: in a socket as the driver's error, in
    a file of TLS or of the password as it is.
    """
    cause = OSError(number, os.strerror(number))
    if not wrapped:
        return cause
    error = err.OperationalError(2003, f"Can't connect ({cause.strerror})")
    error.__cause__ = cause
    return error


@pytest.fixture(params=[True, False], ids=["socket", "file"])
def wrapped(request: pytest.FixtureRequest) -> bool:
    return t.cast(bool, request.param)


@pytest.mark.parametrize("number", SHORTAGES, ids=errno.errorcode.get)
def test_shortage_is_no_outage_and_is_named(number: int, wrapped: bool) -> None:
    pool = fake_pool(max_size=2)
    connector_of(pool).error = shortage(number, wrapped)
    for timeout in (0, 0.2):
        with pytest.raises(PoolTimeout, match="this (process|machine) has no") as full:
            pool.connection(timeout=timeout)
        assert os.strerror(number) in str(full.value)
        assert full.value.__cause__ is connector_of(pool).error
    assert pool.outage is None
    connector_of(pool).error = None
    pool.connection(timeout=0).close()
    assert pool.stats().size == 1


def test_limit_of_open_files_is_named_with_its_command() -> None:
    pool = fake_pool(timeout=0)
    connector_of(pool).error = shortage(errno.EMFILE)
    with pytest.raises(PoolTimeout, match="no file descriptor left \\(ulimit -n\\)"):
        pool.connection()


def test_caller_waits_for_a_connection_that_is_returned(wrapped: bool) -> None:
    pool = fake_pool(max_size=3, timeout=20)
    held = pool.connection()
    connector_of(pool).error = shortage(errno.EMFILE, wrapped)
    lent: list[t.Any] = []

    def wait() -> None:
        with pool.connection() as db:
            lent.append(db.session)

    waiting = [threading.Thread(target=wait) for _ in range(4)]
    for caller in waiting:
        caller.start()
    wait_until(lambda: pool.stats().waiting == len(waiting))
    session = held.session
    held.close()
    for caller in waiting:
        caller.join(20)
    assert lent == [session] * 4
    assert pool.stats().timeouts == 0


def test_caller_waits_for_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = fake_pool(timeout=20)
    really_open, tries = connector_of(pool).open, 0

    def open_at_last(deadline: float) -> t.Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise shortage(errno.EMFILE)
        return really_open(deadline)

    monkeypatch.setattr(connector_of(pool), "open", open_at_last)
    pool.connection().close()


def test_shortage_leaves_an_outage_as_it_is() -> None:
    """The caller that probes found out nothing; the next may try at once."""
    pool = fake_pool(timeout=5)
    connector_of(pool).error = gone = err.OperationalError(2003, "refused")
    with pytest.raises(PoolTimeout):
        pool.connection()
    connector_of(pool).error = shortage(errno.EMFILE)
    wait_until(lambda: probes(pool))
    assert str(pool.outage) == str(gone)
    connector_of(pool).error = None
    pool.connection().close()
    assert pool.outage is None


def probes(pool: Pool) -> bool:
    """Return whether a caller was let through to the connector."""
    with pytest.raises(PoolTimeout) as raised:
        pool.connection(timeout=0)
    return "ulimit" in str(raised.value)


@pytest.mark.parametrize(
    "number", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL]
)
def test_other_errors_are_outages(number: int) -> None:
    pool = fake_pool()
    connector_of(pool).error = shortage(number)
    with pytest.raises(PoolTimeout, match="cannot be reached"):
        pool.connection()
    assert pool.outage is not None


def test_minimum_is_filled_up_after_a_shortage() -> None:
    pool = fake_pool(min_size=1)
    connector_of(pool).error = shortage(errno.EMFILE)
    assert pool.maintain() == 1.0
    assert pool.outage is None
    connector_of(pool).error = None
    pool.maintain()
    assert pool.stats().idle == 1
