"""What a child process does while its parent interrupts it; it says on standard output
how the pool stands afterwards.
"""

from __future__ import annotations

import sys

if sys.argv[1] == "greenlets":
    from gevent import monkey

    monkey.patch_all()

import gc
import json
import os
import random
import threading
import time
import typing as t

import pymysql
from pymysql.cursors import SSCursor

from flask_mysqlpool import Pool

from . import signal_storm
from .fake_session import fake_pool
from .interrupted_sockets import check_sound
from .pools import settings_for
from .queries import execute
from .waiting import wait_until


def pool_of(url: str, **settings: t.Any) -> Pool:
    return Pool(settings_for(url, ssl_disabled=True, timeout=30, **settings))


def await_parent() -> None:
    """Let the parent prepare what comes next."""
    print("used", flush=True)
    sys.stdin.readline()


def query(url: str, sql: str) -> Pool:
    pool = pool_of(url, max_size=1)
    with pool.connection() as db:
        interrupted(lambda: execute(db, sql))
    return pool


def queue(url: str) -> Pool:
    pool = pool_of(url, max_size=1)
    done = threading.Event()
    held = pool.connection()

    def hold() -> None:
        wait_until(lambda: pool.stats().waiting == 1)
        print("waiting", flush=True)
        done.wait(30)
        held.close()

    holder = threading.Thread(target=hold)
    holder.start()
    interrupted(pool.connection)
    assert pool.stats().waiting == 0
    done.set()
    holder.join()
    return pool


def login(url: str) -> Pool:
    pool = pool_of(url, max_size=1)
    interrupted(pool.connection)
    return pool


def reset(url: str) -> Pool:
    pool = pool_of(url, max_size=1)
    with pool.connection() as db:
        execute(db, "SELECT 1")
        await_parent()
    interrupted(pool.connection)
    return pool


def ping(url: str) -> Pool:
    pool = pool_of(url, max_size=1, ping_after=0, autocommit=True)
    with pool.connection() as db:
        execute(db, "SELECT 1")
        await_parent()
    interrupted(pool.connection)
    return pool


def interrupted(action: t.Callable[[], t.Any]) -> None:
    try:
        action()
    except KeyboardInterrupt:
        return
    raise AssertionError("it was not interrupted")


def storm(url: str, signals: int) -> dict[str, t.Any]:
    """Use a pool of the real server, where no row may be that of another."""
    pool, number, wrong = pool_of(url, max_size=2), 0, 0

    def use() -> None:
        nonlocal number, wrong
        number += 10
        for row in range(number, number + 6):
            with pool.connection() as db:
                wrong += execute(db, f"SELECT {row}") != ((row,),)

    report = signal_storm.storm(pool, use, signals, 30, 6e-4)
    return {**report, "wrong": wrong}


def storm_without_server(max_size: int, pause: float, signals: int) -> dict[str, t.Any]:
    """Use a pool of fake sessions, for a moment each."""
    pool = fake_pool(max_size=max_size)

    def use() -> None:
        for _ in range(8):
            with pool.connection():
                if pause:
                    time.sleep(pause)

    return signal_storm.storm(pool, use, signals, 40, 6e-5 + 4 * pause)


def greenlets(url: str) -> dict[str, t.Any]:
    """Let many share four connections, each with a timeout of its own."""
    import gevent

    moments = random.Random(11)
    pool = pool_of(url, max_size=4)
    report: dict[str, t.Any] = {"timeouts": 0, "finished": 0, "wrong": 0}
    unexpected = []

    def work(number: int) -> None:
        for step in range(10):
            row = number * 100 + step
            try:
                with gevent.Timeout(moments.uniform(0.0001, 0.02)):
                    with pool.connection() as db:
                        # The other results are as large as the timeouts need it.
                        found = execute(db, f"SELECT {row}, REPEAT('x', 20000)")
                        report["wrong"] += found[0][0] != row
                        execute(db, f"SET @a = {row}")
                        report["wrong"] += execute(db, "SELECT @a") != ((row,),)
                report["finished"] += 1
            except gevent.Timeout:
                report["timeouts"] += 1
            except Exception as error:
                unexpected.append(repr(error))

    gevent.joinall([gevent.spawn(work, number) for number in range(40)])
    check_sound(pool)
    reading = pool.stats()
    pool.close()
    return {
        **report,
        "in_use": reading.in_use,
        "waiting": reading.waiting,
        "unexpected": unexpected[:5],
    }


def fork(url: str, end: str) -> dict[str, t.Any]:
    """Fork with connections of all conditions, and let the child end."""
    pool = pool_of(url, max_size=3, autocommit=True)
    held, idle, unread = (pool.connection() for _ in range(3))
    session = held.thread_id()
    execute(held, "SELECT 1")
    execute(idle, "SELECT 2")
    cursor = unread.cursor(SSCursor)
    cursor.execute("SELECT 3 UNION SELECT 4")
    idle.close()
    await_parent()
    if (pid := os.fork()) == 0:
        if end == "garbage":
            del held, idle, unread, cursor, pool
            gc.collect()
        sys.exit(0) if end != "nothing" else os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    print("child ended", flush=True)
    sys.stdin.readline()
    assert cursor.fetchall() == [(3,), (4,)]
    return {"same": held.thread_id() == session, "row": execute(held, "SELECT 5")[0][0]}


def main(case: str, *arguments: str) -> dict[str, t.Any]:
    if case == "storm":
        return storm(arguments[0], int(arguments[1]))
    if case == "storm_without_server":
        size, pause, signals = arguments
        return storm_without_server(int(size), float(pause), int(signals))
    if case == "greenlets":
        return greenlets(arguments[0])
    if case == "fork":
        return fork(*arguments)
    pool = globals()[case](*arguments)
    check_sound(pool)
    pool.close()
    return {"interrupted": 1}


if __name__ == "__main__":
    try:
        print(json.dumps(main(*sys.argv[1:])))
    except pymysql.Error as error:
        sys.exit(repr(error))
