"""What the pool keeps refers to nothing that its callers drop."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from pymysql import err

from flask_mysqlpool import Pool
from flask_mysqlpool import PooledConnection
from flask_mysqlpool import PoolTimeout

from ...support.fake_session import connector_of
from ...support.fake_session import fake_pool


def check_nothing_is_held(pool: Pool) -> None:
    gc.collect()
    pool.maintain()
    assert pool.stats().in_use == 0
    with pool.connection(timeout=0):
        pass


def test_thread_that_ends_with_its_connection_frees_the_place() -> None:
    class Worker(threading.Thread):
        db: PooledConnection | None = None

        def run(self) -> None:
            self.db = pool.connection()

    pool = fake_pool(max_size=1)
    worker = Worker()
    worker.start()
    worker.join()
    del worker
    check_nothing_is_held(pool)


def test_failed_connect_keeps_nothing_of_its_caller() -> None:
    pool = fake_pool(max_size=2)

    def view() -> None:
        held = pool.connection()
        connector_of(pool).error = err.OperationalError(2003, "down")
        pool.connection()
        held.close()

    with pytest.raises(PoolTimeout):
        view()
    connector_of(pool).error = None  # it has its traceback, too
    gc.collect()
    pool.maintain()
    assert pool.stats().in_use == 0


def test_lost_connection_that_is_dropped_frees_its_place() -> None:
    pool = fake_pool(max_size=1)

    def view() -> None:
        def fail(*args: object) -> None:
            session.alive = False
            raise err.OperationalError(2013, "lost connection")

        db = pool.connection()
        session = connector_of(pool).opened[-1]
        session._execute_command = fail  # type: ignore[method-assign, assignment]
        db.query("SELECT 1")

    with pytest.raises(err.OperationalError):
        view()
    check_nothing_is_held(pool)


def test_finalizer_that_was_interrupted_blocks_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = fake_pool(max_size=1)
    db = pool.connection()
    with monkeypatch.context() as patched:
        patched.setattr(PooledConnection, "__del__", lambda self: None)
        del db
        gc.collect()
    with pool.connection(timeout=0):
        pass
    assert pool.stats().closed == {"lost": 1}


def test_handle_lent_after_a_full_server_goes_when_it_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server's error would keep the frames of the checkout in a cycle."""
    pool = fake_pool(max_size=1)
    connector = connector_of(pool)
    real_open = connector.open
    answers: list[Exception] = [err.OperationalError(1040, "Too many connections")]

    def open_at_second_try(deadline: float) -> object:
        if answers:
            raise answers.pop()
        return real_open(deadline)

    monkeypatch.setattr(connector, "open", open_at_second_try)
    db = pool.connection(timeout=20)
    gc.disable()
    try:
        dropped = weakref.ref(db)
        del db
        assert dropped() is None
    finally:
        gc.enable()
