"""The pool lives through what happens to a server and to the way there."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
import time
import typing as t
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pymysql
import pytest

from flask_mysqlpool import Pool
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool.driver.connector import Connector
from flask_mysqlpool.testing import PrivateServer

from ..support.pools import MakePool
from ..support.queries import execute
from ..support.waiting import wait_until


def ask(pool: Pool, sql: str = "SELECT 1") -> t.Any:
    with pool.connection() as db, db.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


def fill(pool: Pool, count: int) -> list[int]:
    """Let a pool hold ``count`` idle connections; return their ids at the server."""
    lent = [pool.connection() for _ in range(count)]
    ids = [db.thread_id() for db in lent]
    for db in lent:
        db.close()
    return ids


def kill(server: t.Any, ids: list[int]) -> None:
    with server.connect(autocommit=True) as admin, admin.cursor() as cursor:
        for each in ids:
            cursor.execute(f"KILL {each}")


def wait_for_the_end(pool: Pool) -> None:
    """Wait until the end of all idle connections has come in."""
    wait_until(lambda: not any(idle.quiet() for idle in pool._idle_cache))


@pytest.fixture
def own_server() -> Iterator[PrivateServer]:
    with PrivateServer(options=["--max-connections=10"]) as server:
        yield server


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where somebody accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the attempts to connect."""
    counted: list[int] = []
    really_open = Connector.open

    def count(connector: Connector, deadline: float) -> t.Any:
        counted.append(1)
        return really_open(connector, deadline)

    monkeypatch.setattr(Connector, "open", count)
    return counted


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_restarted_server_is_not_noticed(
    make_pool: MakePool, own_server: PrivateServer, how: str
) -> None:
    pool = make_pool(own_server.url("restarted"), autocommit=True)
    fill(pool, 3)
    if how == "kill":
        own_server.kill()
        own_server.start()
    else:
        own_server.restart()
    assert [ask(pool) for _ in range(6)] == [(1,)] * 6
    assert pool.stats().timeouts == 0


def test_killed_connections_are_replaced(
    make_pool: MakePool, mysql_server: t.Any
) -> None:
    pool = make_pool(autocommit=True)
    kill(mysql_server, fill(pool, 3))
    wait_for_the_end(pool)
    fill(pool, 3)
    assert pool.stats().closed == {"dead": 3}


def test_wait_timeout_is_not_noticed(make_pool: MakePool) -> None:
    pool = make_pool(setsession=["SET wait_timeout = 1"], autocommit=True)
    fill(pool, 2)
    wait_for_the_end(pool)
    assert ask(pool) == (1,)


def test_ping_after_zero_asks_the_server_each_time(make_pool: MakePool) -> None:
    pool = make_pool(ping_after=0, autocommit=True)
    with pool.connection() as db:
        before = pings(db)
    with pool.connection() as db:
        assert pings(db) > before


def pings(db: t.Any) -> int:
    with db.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Com_admin_commands'")
        return int(cursor.fetchone()[1])


def test_silent_server_costs_no_more_than_the_timeout(
    make_pool: MakePool, silent_port: int
) -> None:
    pool = make_pool(f"mysql://app@127.0.0.1:{silent_port}/t", timeout=0.3)
    with pytest.raises(PoolTimeout) as raised:
        pool.connection()  # would hang for ever in the handshake
    assert isinstance(raised.value.__cause__, pymysql.err.OperationalError)
    assert pool.stats().size == 0


def test_silent_server_stops_nobody_else(make_pool: MakePool) -> None:
    """While one caller waits for a handshake, others lend, return and read stats."""
    pool = make_pool(autocommit=True, max_size=2)
    fill(pool, 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = pool.connection()
        connector: t.Any = pool._checkout.connector
        connector._arguments["port"] = listener.getsockname()[1]
        connector._arguments.pop("host")
        connector._arguments["host"] = "127.0.0.1"
        with ThreadPoolExecutor(1) as other:
            waiting = other.submit(pool.connection)
            connected, _ = listener.accept()
            with connected:  # the other is in its handshake
                taken.ping()
                taken.close()
                assert ask(pool) == (1,)
                assert pool.stats().size == 2
            with pytest.raises(PoolTimeout):
                waiting.result(10)


def test_server_down_fails_fast_with_the_cause(
    make_pool: MakePool, own_server: PrivateServer, tries: list[int]
) -> None:
    pool = make_pool(own_server.url("down"), timeout=30)
    own_server.stop()

    def fails() -> str:
        with pytest.raises(PoolTimeout, match="cannot be reached") as raised:
            pool.connection()
        return type(raised.value.__cause__).__name__

    assert fails() == "OperationalError"
    tries.clear()
    pool._breaker._next_probe = float("inf")  # until the next probe is due …
    with ThreadPoolExecutor(8) as callers:
        causes = set(callers.map(lambda _: fails(), range(40)))
    assert causes == {"OperationalError"}
    assert not tries  # … nobody else tries
    pool._breaker._next_probe = 0.0
    own_server.start()
    assert ask(pool) == (1,)
    assert len(tries) == 1


def test_only_one_caller_tries_a_server_that_was_down(
    make_pool: MakePool, silent_port: int, tries: list[int]
) -> None:
    pool = make_pool(f"mysql://app@127.0.0.1:{silent_port}/t", timeout=1)
    pool._breaker.note_unreachable(pymysql.err.OperationalError(2003, "down"), 0.0)
    errors = []

    def call() -> None:
        with pytest.raises(PoolTimeout) as raised:
            pool.connection()
        errors.append(raised.value)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(errors) == 8
    assert len(tries) == 1


def test_too_many_connections_waits_for_its_turn(
    make_pool: MakePool, own_server: PrivateServer
) -> None:
    url = own_server.url("full")
    pool = make_pool(url, autocommit=True, max_size=20, timeout=30)

    def some(_: int) -> int:
        with pool.connection() as db, db.cursor() as cursor:
            cursor.execute("SELECT SLEEP(0.01)")  # real time: hold the place a little
            return 1

    with ThreadPoolExecutor(20) as callers:
        assert sum(callers.map(some, range(300))) == 300
    assert pool.stats().size <= 11  # what the server allows, with its spare one


def test_too_many_connections_fails_at_the_deadline(
    make_pool: MakePool, own_server: PrivateServer
) -> None:
    url = own_server.url("full")
    pool = make_pool(url, timeout=0.2)
    taken = []
    with pytest.raises(pymysql.err.OperationalError):
        while True:
            taken.append(own_server.connect())
    with pytest.raises(PoolTimeout) as raised:
        pool.connection()
    cause = raised.value.__cause__
    assert isinstance(cause, pymysql.err.OperationalError) and cause.args[0] == 1040
    for connection in taken:
        connection.close()
    wait_until(lambda: ask_or_none(pool) == (1,))


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Let this process open so many more files, and no more."""
    earlier, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + count, most))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (earlier, most))
        for descriptor in taken:
            os.close(descriptor)


def test_shortage_of_descriptors_waits_for_a_return(make_pool: MakePool) -> None:
    pool = make_pool(autocommit=True, max_size=20, timeout=30)

    def some(_: int) -> t.Any:
        return ask(pool, "SELECT SLEEP(0.01)")  # real time: hold the place a little

    with ThreadPoolExecutor(20) as callers:
        list(callers.map(str, range(20)))  # all threads have started
        with descriptors_left(3):
            assert list(callers.map(some, range(300))) == [(0,)] * 300
        assert pool.stats().size <= 3
        assert pool.outage is None
        assert sum(map(len, callers.map(some, range(20)))) == 20
    assert pool.stats().timeouts == 0


def test_shortage_of_descriptors_is_named(make_pool: MakePool) -> None:
    pool = make_pool(timeout=0.2)
    with descriptors_left(0), pytest.raises(PoolTimeout, match="ulimit -n"):
        pool.connection()
    assert ask(pool) == (1,)


def ask_or_none(pool: Pool) -> t.Any:
    try:
        return ask(pool)
    except PoolTimeout:
        return None


def test_wrong_password_is_raised_as_it_is(make_pool: MakePool, mysql_url: str) -> None:
    pool = make_pool(password="not this one")
    with pytest.raises(pymysql.err.OperationalError) as raised:
        pool.connection()
    assert raised.value.args[0] == 1045
    assert not isinstance(raised.value, PoolTimeout)
    assert pool.stats().size == 0


def test_read_only_server_retires_the_older_connections(
    make_pool: MakePool, own_server: PrivateServer
) -> None:
    url = own_server.url("failover")
    with own_server.connect(autocommit=True) as admin, admin.cursor() as cursor:
        cursor.execute("CREATE TABLE failover.t (i INT)")
        cursor.execute("CREATE USER plain@'%' IDENTIFIED BY 'plain'")
        cursor.execute("GRANT SELECT, INSERT ON failover.* TO plain@'%'")
        pool = make_pool(url, user="plain", password="plain", autocommit=True)
        old = fill(pool, 3)
        cursor.execute("SET GLOBAL read_only = 1")
        with pytest.raises(pymysql.err.OperationalError) as raised:
            ask(pool, "INSERT INTO t VALUES (1)")
        assert raised.value.args[0] == 1290
        cursor.execute("SET GLOBAL read_only = 0")
    new = fill(pool, 3)
    # Newer ones than the one that was refused may have stayed.
    assert old[0] not in new
    with pool.connection() as db:
        assert db.thread_id() > old[0]
    assert pool.stats().closed["recycled"] >= 1


def test_refused_writes_at_a_read_only_server_open_few_connections(
    make_pool: MakePool, own_server: PrivateServer
) -> None:
    url = own_server.url("readonly")
    with own_server.connect(autocommit=True) as admin, admin.cursor() as cursor:
        cursor.execute("CREATE TABLE readonly.t (i INT)")
        cursor.execute("CREATE USER writer@'%' IDENTIFIED BY 'writer'")
        cursor.execute("GRANT SELECT, INSERT ON readonly.* TO writer@'%'")
        pool = make_pool(
            url, user="writer", password="writer", autocommit=True, max_size=3
        )
        old = set(fill(pool, 3))
        started = time.monotonic()
        cursor.execute("SET GLOBAL read_only = 1")
        try:
            for _ in range(300):
                with pytest.raises(pymysql.err.OperationalError, match="read-only"):
                    ask(pool, "INSERT INTO t VALUES (1)")
        finally:
            cursor.execute("SET GLOBAL read_only = 0")
        seconds = int(time.monotonic() - started) + 1
        assert old.isdisjoint(fill(pool, 3)), "what was opened before is retired"
    assert pool.stats().opened <= 3 + 3 * (seconds + 1)


def test_refusal_of_a_read_only_transaction_retires_nothing(
    make_pool: MakePool,
) -> None:
    pool = make_pool(autocommit=True, max_size=3)
    ask(pool, "CREATE TABLE kept (i INT)")
    old = set(fill(pool, 3))
    with pool.connection() as db:
        execute(db, "START TRANSACTION READ ONLY")
        with pytest.raises(pymysql.err.MySQLError) as raised:
            execute(db, "INSERT INTO kept VALUES (1)")
        assert raised.value.args[0] == 1792
    assert set(fill(pool, 3)) == old
    assert pool.stats().opened == 3
