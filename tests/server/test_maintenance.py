"""What the pool does for its connections over their life."""

from __future__ import annotations

import gc
import logging
import os
import ssl
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote
from urllib.parse import urlsplit

import pytest

from flask_mysqlpool import ConfigError
from flask_mysqlpool import Pool
from flask_mysqlpool import PoolClosed
from flask_mysqlpool import PoolFull
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool.pool.housekeeper import housekeeper

from ..support.pools import MakePool
from ..support.pools import settings_for
from ..support.queries import execute
from ..support.waiting import wait_until
from .test_outages import fill


def queued(pool: Pool, callers: int) -> t.Callable[[], bool]:
    return lambda: pool.stats().waiting == callers


def test_min_size_is_filled_and_kept(make_pool: MakePool) -> None:
    pool = make_pool(min_size=3)
    pool.connection().close()
    wait_until(lambda: pool.stats().idle == 3)
    pool.recycle()
    wait_until(lambda: pool.stats().idle == 3)
    assert pool.stats().opened >= 6


def test_idle_connections_above_min_size_are_closed(make_pool: MakePool) -> None:
    pool = make_pool(min_size=1, max_idle=0.02)
    fill(pool, 4)
    wait_until(lambda: pool.stats().size == 1)
    assert pool.stats().closed == {"idle": 3}


def test_old_connections_are_retired_at_rest(make_pool: MakePool) -> None:
    pool = make_pool(max_lifetime=0.05)
    fill(pool, 2)
    wait_until(lambda: pool.stats().size == 0)
    assert pool.stats().closed == {"lifetime": 2}


def test_old_connection_is_retired_at_a_checkout_without_housekeeper(
    make_pool: MakePool,
) -> None:
    pool = make_pool(max_lifetime=100)
    pool.on_first_use.clear()
    (first,) = fill(pool, 1)
    pool._slots.idle_entries()[0].expires_at = 0.0
    with pool.connection() as db:
        assert db.thread_id() != first
    assert pool.stats().closed == {"lifetime": 1}


def test_lifetimes_end_at_different_times(make_pool: MakePool) -> None:
    pool = make_pool(max_lifetime=1000)
    fill(pool, 5)
    ends = {entry.expires_at for entry in pool._slots.idle_entries()}
    assert len(ends) == 5
    assert max(ends) - min(ends) < 100 + 10  # a tenth, and the time to open them


def test_connection_is_retired_after_max_usage(make_pool: MakePool) -> None:
    pool = make_pool(max_usage=2)
    ids = [fill(pool, 1)[0] for _ in range(5)]
    assert len(set(ids)) == 3
    assert pool.stats().closed == {"usage": 2}


def test_full_queue_refuses(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, max_waiting=1)
    with pool.connection(), ThreadPoolExecutor(1) as other:
        waiting = other.submit(pool.connection)
        wait_until(queued(pool, 1))
        with pytest.raises(PoolFull, match="MAX_WAITING"):
            pool.connection()
        pool.resize(2)
        waiting.result(10).close()


def test_timeout_tells_who_holds_the_pool(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    with pool.connection(holder="GET slow"):
        with pytest.raises(PoolTimeout) as raised:
            pool.connection(timeout=0.01)
    text = str(raised.value)
    assert "size 1 of 1, in use 1, idle 0, waiting 0" in text
    assert "by GET slow in thread MainThread" in text
    assert raised.value.__cause__ is None
    assert pool.stats().timeouts == 1


def test_timeout_zero_does_not_wait(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    with pool.connection(timeout=0):  # connecting is no wait for others
        with pytest.raises(PoolTimeout):
            pool.connection(timeout=0)


def test_recycle_spares_what_is_lent_until_its_return(make_pool: MakePool) -> None:
    pool = make_pool()
    with pool.connection() as db:
        first = db.thread_id()
        pool.recycle()
        db.ping()
    assert fill(pool, 1) != [first]
    assert pool.stats().closed == {"recycled": 1}


def test_resize_down_closes_the_surplus(make_pool: MakePool) -> None:
    pool = make_pool(max_size=4)
    lent = [pool.connection() for _ in range(3)]
    fill(pool, 1)
    pool.resize(2)
    assert pool.stats().size == 3
    for db in lent:
        db.close()
    assert pool.stats().size == 2
    with pytest.raises(ConfigError, match="from 1 "):
        pool.resize(0)
    with pytest.raises(ConfigError):
        pool.resize(2**31)


def test_resize_up_lets_waiters_in(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    with pool.connection(), ThreadPoolExecutor(2) as others:
        waiting = [others.submit(pool.connection) for _ in range(2)]
        wait_until(queued(pool, 2))
        pool.resize(3)
        for each in waiting:
            each.result(10).close()


def test_close_wakes_waiters_and_closes_at_return(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    with pool.connection() as db, ThreadPoolExecutor(1) as other:
        waiting = other.submit(pool.connection)
        wait_until(queued(pool, 1))
        pool.close()
        with pytest.raises(PoolClosed):
            waiting.result(10)
        db.ping()  # what is lent goes on
    assert pool.stats().size == 0
    with pytest.raises(PoolClosed):
        pool.connection()
    pool.close()


@pytest.mark.parametrize("autocommit", [True, False])
def test_closing_takes_leave_of_the_server(
    make_pool: MakePool, mysql_server: t.Any, autocommit: bool
) -> None:
    def aborted() -> int:
        with mysql_server.connect() as admin, admin.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Aborted_clients'")
            return int(cursor.fetchone()[1])

    before = aborted()
    pool = make_pool(autocommit=autocommit)
    lent = [pool.connection() for _ in range(5)]
    ids = []
    for db in lent:
        with db.cursor() as cursor:
            cursor.execute("SET @a = 1")  # a reset will be on its way
        ids.append(db.thread_id())
    last = lent.pop()
    for db in lent:
        db.close()
    pool.close()
    last.close()

    def gone() -> bool:
        with mysql_server.connect() as admin, admin.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist")
            return not {id for (id,) in cursor.fetchall()} & set(ids)

    wait_until(gone)
    assert aborted() == before


def test_one_tls_context_serves_the_pool(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    create = ssl.create_default_context

    def count(*args: t.Any, **kwargs: t.Any) -> ssl.SSLContext:
        made.append(1)
        return create(*args, **kwargs)

    monkeypatch.setattr(ssl, "create_default_context", count)
    fill(make_pool(ssl_disabled=False), 5)
    assert len(made) == 1


def test_dropped_connection_is_reported_and_its_place_freed(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(max_size=1, timeout=5)
    pool.on_first_use.clear()
    pool.connection(holder="somebody")
    gc.collect()
    with caplog.at_level(logging.WARNING, "flask_mysqlpool"):
        pool.connection().close()
    assert "dropped, not returned, by somebody" in caplog.text
    assert pool.stats().closed == {"lost": 1}


def test_leak_is_reported_once(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(leak_after=0.01)
    pool.on_first_use.clear()
    with pool.connection(holder="GET slow"):
        with caplog.at_level(logging.WARNING, "flask_mysqlpool"):
            wait_until(lambda: pool.maintain() and caplog.records)
            pool.maintain()
        assert len(caplog.records) == 1
        assert "by GET slow in thread MainThread" in caplog.text
        assert (
            "last statement: none\ncheckout stack:\n  tests/server/test_maintenance.py:"
            in caplog.text
        )
        assert "\ncurrent stack:\n  tests/server/test_maintenance.py:" in caplog.text
        assert "site-packages" not in caplog.text
        assert pool.stats().leaks == 1
    with caplog.at_level(logging.WARNING, "flask_mysqlpool"):
        pool.maintain()
        pool.maintain()
    assert len(caplog.records) == 2
    assert caplog.messages[1] == (
        "pool 'default': returned after all by GET slow in thread MainThread"
    )


def test_leak_shows_what_was_executed_without_the_values(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(leak_after=0.01)
    pool.on_first_use.clear()
    with pool.connection() as db, caplog.at_level(logging.WARNING, "flask_mysqlpool"):
        execute(db, "SELECT %s FROM dual WHERE 'inline' = %s", "secret", 17)
        wait_until(lambda: pool.maintain() and caplog.records)
        assert "last statement: SELECT %s FROM dual WHERE ? = %s\n" in caplog.text
        assert execute(db, "SELECT 1") == ((1,),), "nothing is taken from a holder"


def test_next_visit_is_when_a_leak_is_due(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(leak_after=20)
    pool.on_first_use.clear()
    assert pool.maintain() == 20
    with pool.connection() as db:
        now = "flask_mysqlpool.pool.maintenance.monotonic"
        monkeypatch.setattr(now, lambda: 1000.0)
        assert db.entry is not None
        db.entry.lent_at = 995.0
        assert pool.maintain() == 15
        db.entry.lent_at = 985.0
        assert pool.maintain() == 5
    pool = make_pool(leak_after=0, max_idle=0, max_lifetime=0)
    assert pool.maintain() == 30


def test_thousand_pools_leave_no_thread_and_no_descriptor(mysql_url: str) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    settings = settings_for(mysql_url, ssl_disabled=True)

    def once() -> None:
        pool = Pool(settings)
        pool.connection().close()
        pool.close()

    once()
    wait_until(lambda: housekeeper.thread is None)
    threads, descriptors = threading.active_count(), opened()
    for _ in range(1000):
        once()
    wait_until(lambda: threading.active_count() <= threads)
    assert opened() <= descriptors


def test_callable_password_is_asked_at_each_connect(
    make_pool: MakePool, mysql_url: str
) -> None:
    asked = []

    def password() -> str:
        asked.append(1)
        return unquote(urlsplit(mysql_url).password or "")

    fill(make_pool(password=password), 3)
    assert len(asked) == 3
