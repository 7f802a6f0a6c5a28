"""What a child process does with a pool of the real server under eventlet or gevent,
which replace what the whole process uses: ``python -m tests.support.greenlets eventlet
CASE URL``.
"""

from __future__ import annotations

import sys

if sys.argv[1] == "gevent":
    from gevent import monkey

    monkey.patch_all(thread=not sys.argv[2].endswith("native_threads"))
if sys.argv[1] == "eventlet":
    import eventlet

    eventlet.monkey_patch()

import functools
import importlib
import socket
import threading
import typing as t
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import flask

from flask_mysqlpool import get_db
from flask_mysqlpool import MySQLPool
from flask_mysqlpool import Pool
from flask_mysqlpool import PoolTimeout

from .certificates import make_certificate
from .login_server import LoginServer
from .login_server import read
from .login_server import send
from .pools import settings_for
from .queries import execute
from .waiting import wait_until

LONG = 20.0  # seconds: what takes as long hangs
WAIT = "SELECT SLEEP(0.05)"  # real time: the answer has to be waited for


def pool_of(url: str, **settings: t.Any) -> Pool:
    settings = {"ssl_disabled": True, "autocommit": True, "timeout": LONG} | settings
    return Pool(settings_for(url, **settings))


def start(*calls: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    return threads


def app(url: str) -> None:
    """Let the requests of an app share three connections."""
    site = flask.Flask("greenlets", root_path="/")
    site.config.update(MYSQLPOOL_URL=url, MYSQLPOOL_MAX_SIZE=3)
    MySQLPool(site)
    held = most = 0

    @site.get("/<int:number>")
    def ask(number: int) -> str:
        nonlocal held, most
        db = get_db()
        held += 1
        most = max(most, held)
        ((_, found),) = execute(db, "SELECT SLEEP(0.02), %s", number)
        held -= 1
        execute(db, "SET @a = 1")  # for a reset at the return
        return str(found)

    found = []

    def request(number: int) -> None:
        found.append((number, site.test_client().get(f"/{number}").text))

    requests = [functools.partial(request, number) for number in range(40)]
    for thread in start(*requests):
        thread.join(LONG)
    assert sorted(found) == [(number, str(number)) for number in range(40)], found
    assert most == 3, "others run while one waits for the server"
    pool = site.extensions["mysqlpool"]["default"]
    assert (pool.stats().size, pool.stats().closed) == (3, {}), pool.stats()
    output = site.test_cli_runner().invoke(args=["pool", "stats", "--json"]).output
    assert '"checkouts": 40' in output, "the control socket answers"
    pool.close()


def timeouts(url: str) -> None:
    """Let a caller wait in vain, and others be interrupted."""
    pool = pool_of(url, max_size=1, timeout=0.1)
    with pool.connection():
        try:
            pool.connection()
        except PoolTimeout:
            pass
        else:
            raise AssertionError("there is no connection")
    library = importlib.import_module(sys.argv[1])
    for seconds in (0.001, 0.01, 0.02, 0.04):
        try:
            with library.Timeout(seconds), pool.connection() as db:
                execute(db, "SELECT SLEEP(9)")
        except library.Timeout:
            pass
        else:
            raise AssertionError("it must be interrupted")
        assert pool.stats().in_use == 0
        with pool.connection() as db:
            assert execute(db, "SELECT 1") == ((1,),)
    pool.close()


def ended(url: str) -> None:
    """Let a server end a connection that is idle, and one that is waited for."""
    pool = pool_of(url, max_size=2)
    with pool.connection() as db, pool.connection() as other:
        session = other.session
        execute(db, f"KILL {other.thread_id()}")
    wait_until(lambda: not session.quiet())
    for _ in range(3):
        with pool.connection() as db, pool.connection() as other:
            assert execute(db, WAIT) == execute(other, WAIT) == ((0,),)
    assert pool.stats().closed == {"dead": 1}
    pool.close()


def threads(url: str) -> None:
    """Use the pool in the hub's thread and in real ones by turns: a socket of gevent's
    can be waited for in the thread of its hub only.
    """
    from gevent import get_hub

    pool = pool_of(url, max_size=2)

    def ask() -> object:
        with pool.connection() as db:
            return execute(db, WAIT)

    for turn in range(1, 4):
        for _ in range(3):
            assert ask() == ((0,),)
        assert get_hub().threadpool.apply(ask) == ((0,),)
        reading = pool.stats()
        assert (reading.in_use, reading.size) == (0, 1)
        assert reading.closed == {"dead": 2 * turn - 1}, "once for each change"
    # All at once: what one returns goes to the first in line, of whatever thread.
    jobs = [get_hub().threadpool.spawn(ask) for _ in range(20)]
    callers = start(*[ask] * 20)
    assert [job.get(timeout=LONG) for job in jobs] == [((0,),)] * 20
    for caller in callers:
        caller.join(LONG)
    reading = pool.stats()
    assert (reading.in_use, reading.waiting, reading.timeouts) == (0, 0, 0)
    assert reading.checkouts == 52
    pool.close()


native_threads = threads


class TricklingServer(LoginServer):
    """Sends byte after byte of a record of TLS that never ends.

    :param stage: at the ``"handshake"``, or after the ``"login"`` or the ``"set-up"``
        of the session was asked for.
    """

    def __init__(self, folder: str, stage: str) -> None:
        super().__init__(tls=make_certificate(Path(folder)).server_context())
        self.enough = threading.Event()
        self._stage = stage

    def _talk(self, client: socket.socket) -> None:
        send(client, 0, self._greeting())
        read(client)  # SSLRequest
        with client.dup() as raw:
            if self._stage == "handshake":
                raw.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03")
            else:
                assert self.tls is not None
                client = self.tls.wrap_socket(client, server_side=True)
                number, _ = read(client)
                if self._stage == "set-up":
                    send(client, number + 1, b"\0\0\0\x02\0\0\0")
                    read(client)
                raw.sendall(b"\x17\x03\x03\x40\x00")
            with client:
                while not self.enough.wait(0.02):
                    raw.sendall(b"\0")


def trickle(url: str) -> None:
    """Let a server hold a checkout as long as it can."""
    for stage in ("handshake", "login", "set-up"):
        with TemporaryDirectory() as folder:
            server = TricklingServer(folder, stage)
        with server:
            pool = pool_of(
                server.url, ssl_disabled=None, ssl_mode="REQUIRED", timeout=0.5
            )
            try:
                pool.connection()
            except PoolTimeout as error:
                assert "timed out" in str(error), error
            else:
                raise AssertionError("there is no connection")
            assert pool.stats().size == 0
            pool.close()
            server.enough.set()  # eventlet leaves a socket open if its handshake fails


def lookup(url: str) -> None:
    """Look the server's name up, as eventlet does it."""
    pool = pool_of(url.replace("127.0.0.1", "localhost"))
    with pool.connection() as db:
        assert execute(db, "SELECT 1") == ((1,),)
    pool.close()


if __name__ == "__main__":
    globals()[sys.argv[2]](*sys.argv[3:])
