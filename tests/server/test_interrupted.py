"""An exchange that was interrupted: its connection is never lent again, and its place
is free again.
"""

from __future__ import annotations

import socket
import struct
import threading
import typing as t
from collections.abc import Callable

import pymysql
import pytest
from pymysql.cursors import SSCursor

from flask_mysqlpool import Pool
from flask_mysqlpool.driver.packets import PacketConnection
from flask_mysqlpool.driver.session import Session
from flask_mysqlpool.pool.waiter import Waiter

from ..support.interrupted_sockets import check_sound
from ..support.interrupted_sockets import GreenTimeout
from ..support.interrupted_sockets import Plan
from ..support.interrupted_sockets import plan as plan
from ..support.ledger import Ledger
from ..support.pools import MakePool
from ..support.queries import execute
from ..support.tcp_proxy import TCPProxy
from ..support.waiting import wait_until

ERRORS = [KeyboardInterrupt, SystemExit, GreenTimeout]


# At each use of the socket


def change(pool: Pool) -> None:
    with pool.connection() as db:
        execute(db, "UPDATE ledger SET v = v + 1")
        execute(db, "SELECT * FROM ledger")


def change_session(pool: Pool) -> None:
    with pool.connection() as db:
        execute(db, "SET @a = 1")
        db.commit()


def fetch_unbuffered(pool: Pool) -> None:
    with pool.connection() as db, db.cursor(SSCursor) as cursor:
        cursor.execute("SELECT id FROM ledger")
        assert cursor.fetchone() == (1,)
        assert cursor.fetchall() == [(2,)]


def call_methods(pool: Pool) -> None:
    with pool.connection() as db:
        db.ping()
        db.begin()
        db.rollback()
        db.set_character_set("latin1")
        db.autocommit(True)
        db.show_warnings()


def open_transaction(pool: Pool) -> None:
    with pool.connection() as db:
        with db.transaction():
            execute(db, "UPDATE ledger SET v = v + 1")
            with db.transaction():
                execute(db, "UPDATE ledger SET v = v + 1")
            raise pymysql.err.DataError  # so that it is rolled back


WORK = [change, change_session, fetch_unbuffered, call_methods, open_transaction]


@pytest.mark.parametrize("when", ["before", "half", "after"])
@pytest.mark.parametrize(
    ("error", "work", "settings"),
    [
        *((error, change, {}) for error in ERRORS),  # they differ in nothing else
        *((GreenTimeout, work, {}) for work in WORK[1:]),
        *((GreenTimeout, work, {"ping_after": 0}) for work in WORK),
        *((GreenTimeout, work, {"max_usage": 1}) for work in WORK),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_interrupt_at_each_use_of_the_socket(
    make_pool: MakePool,
    ledger: Ledger,
    plan: Plan,
    error: type[BaseException],
    when: str,
    work: Callable[[Pool], None],
    settings: dict[str, t.Any],
) -> None:
    for number in range(1, 100):
        pool = make_pool(max_size=2, **settings)
        for start in (0, number):  # the first round leaves answers to be read
            plan.arm(start, when, error)
            try:
                work(pool)
            except (error, pymysql.err.DataError):
                pass
        fired = plan.fired
        plan.arm(0, "", error)
        check_sound(pool)
        assert ledger.rows == {1: 0, 2: 0}
        pool.close()
        if not fired:
            break
    assert 4 < number < 99


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("when", ["before", "half", "after"])
def test_interrupt_at_each_step_of_the_login(
    make_pool: MakePool, plan: Plan, error: type[BaseException], when: str
) -> None:
    for number in range(1, 100):
        pool = make_pool(max_size=2)
        plan.arm(number, when, error)
        try:
            pool.connection().close()
        except error:
            assert pool.stats().size == 0
        fired = plan.fired
        plan.arm(0, "", error)
        check_sound(pool)
        pool.close()
        if not fired:
            break
    assert 10 < number < 99


def test_interrupted_statement_is_not_executed_twice(
    make_pool: MakePool, ledger: Ledger, plan: Plan
) -> None:
    pool = make_pool(autocommit=True)
    with pool.connection() as db:
        plan.arm(2, "before", KeyboardInterrupt)  # it is sent, the answer not read
        with pytest.raises(KeyboardInterrupt):
            execute(db, "UPDATE ledger SET v = v + 1")
        with pytest.raises(pymysql.Error):
            execute(db, "UPDATE ledger SET v = v + 1")
        assert not db.open
    check_sound(pool)
    wait_until(lambda: ledger.rows == {1: 1, 2: 1})


def test_second_interrupt_while_the_first_is_dealt_with(
    make_pool: MakePool, mysql_url: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with TCPProxy(mysql_url) as proxy:
        pool = make_pool(proxy.url, max_size=1, autocommit=True, read_timeout=5)
        with pool.connection() as db:
            execute(db, "SELECT 1")
            proxy.sessions[0].hold()  # so that the answer comes after the return
            monkeypatch.setattr(Session, "note_error", interrupted)
            plan.arm(2, "before", KeyboardInterrupt)
            with pytest.raises(KeyboardInterrupt):
                execute(db, "SELECT 'of another'")
        with pool.connection() as db:
            proxy.sessions[0].release()
            assert execute(db, "SELECT 2") == ((2,),)


# Time limits and lost answers


def test_read_timeout(make_pool: MakePool, mysql_url: str) -> None:
    with TCPProxy(mysql_url) as proxy:
        pool = make_pool(proxy.url, max_size=1, read_timeout=1)
        with pool.connection() as db:
            execute(db, "SELECT 1")
            proxy.sessions[0].hold()
            with pytest.raises(pymysql.err.OperationalError):
                execute(db, "SELECT 'too late'")
            proxy.sessions[0].release()
            with pytest.raises(pymysql.Error):
                execute(db, "SELECT 2")
        check_sound(pool)
        assert pool.stats().closed == {"broken": 1}


def test_read_timeout_between_rows(make_pool: MakePool, mysql_url: str) -> None:
    with TCPProxy(mysql_url) as proxy:
        pool = make_pool(proxy.url, max_size=1, read_timeout=1)
        with pool.connection() as db:
            cursor = db.cursor(SSCursor)
            cursor.execute("SELECT REPEAT('x', 1000) FROM information_schema.columns")
            proxy.sessions[0].hold()
            with pytest.raises(pymysql.err.OperationalError):
                cursor.fetchall()
        check_sound(pool)


def test_answer_cut_off_at_each_byte(make_pool: MakePool, mysql_url: str) -> None:
    with TCPProxy(mysql_url) as proxy:
        pool = make_pool(proxy.url, max_size=1)
        for size in range(0, 60, 3):
            with pool.connection() as db:
                execute(db, "SELECT 1")
                proxy.sessions[-1].cut_after(size)
                with pytest.raises(pymysql.Error):
                    execute(db, "SELECT 'twelve bytes'")
            check_sound(pool)


OK_PACKET = b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"


@pytest.mark.parametrize("sent", [OK_PACKET, b"x"])
def test_unasked_bytes_are_nobodys_answer(
    make_pool: MakePool, mysql_url: str, sent: bytes
) -> None:
    with TCPProxy(mysql_url) as proxy:
        pool = make_pool(proxy.url, max_size=1, autocommit=True, read_timeout=5)
        with pool.connection() as db:
            execute(db, "SELECT 1")
        proxy.sessions[0].inject(sent)
        wait_until(lambda: not pool._idle_cache[0].quiet())
        check_sound(pool)
        assert pool.stats().closed == {"dead": 1}


FAREWELL = b"\x0d\x00\x00\x00\xff\xbf\x0f#HY000idle"


@pytest.mark.parametrize("sent", [OK_PACKET, b"x", FAREWELL])
@pytest.mark.parametrize("ended", [False, True])
def test_unasked_bytes_between_two_statements_are_nobodys_answer(
    make_pool: MakePool, mysql_url: str, sent: bytes, ended: bool
) -> None:
    """They come after an answer was read, and lie at the socket."""
    with TCPProxy(mysql_url) as proxy:
        pool = make_pool(proxy.url, max_size=1, read_timeout=5, autocommit=True)
        with pool.connection() as db:
            execute(db, "SELECT 1")
            proxy.sessions[0].inject(sent)
            if ended:
                proxy.sessions[0].end()
            session = db.session
            wait_until(lambda: not session.quiet())
            before = len(proxy.statements)
            with pytest.raises(pymysql.err.OperationalError) as raised:
                execute(db, "DO 1")
            assert len(proxy.statements) == before, "nothing was sent"
            why = "idle" if sent is FAREWELL else "more than it was asked"
            assert raised.value.args[0] == 2013 and why in str(raised.value)
        check_sound(pool)


def test_unasked_bytes_before_a_return_cost_the_connection(
    make_pool: MakePool, mysql_url: str
) -> None:
    with TCPProxy(mysql_url) as proxy:
        pool = make_pool(proxy.url, max_size=1, read_timeout=5)
        with pool.connection() as db:
            execute(db, "SELECT 1")
            proxy.sessions[0].inject(OK_PACKET)
            session = db.session
            wait_until(lambda: not session.quiet())
        assert pool.stats().closed == {"broken": 1}
        check_sound(pool)


def test_end_between_two_statements_is_a_lost_connection(
    make_pool: MakePool, mysql_url: str
) -> None:
    with TCPProxy(mysql_url) as proxy:
        pool = make_pool(proxy.url, max_size=1, read_timeout=5)
        with pool.connection() as db:
            execute(db, "SELECT 1")
            proxy.sessions[0].end()
            session = db.session
            wait_until(lambda: not session.quiet())
            lost = r"\(the server closed the connection\)"
            with pytest.raises(pymysql.err.OperationalError, match=lost) as raised:
                execute(db, "DO 1")
            assert raised.value.args[0] == 2013
        check_sound(pool)


# The answer to a ROLLBACK that was sent at the return


def pool_with_rollback(make_pool: MakePool, proxy: TCPProxy) -> Pool:
    """Return a pool of one whose connection awaits the answer to a ROLLBACK."""
    pool = make_pool(proxy.url, max_size=1)
    with pool.connection() as db:
        execute(db, "SELECT 1 FROM dual")
        proxy.sessions[0].hold()
    wait_until(lambda: proxy.statements[-1:] == ["ROLLBACK"])
    return pool


def test_answer_that_is_here_takes_no_limit(
    make_pool: MakePool, mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TCPProxy(mysql_url) as proxy:
        pool = pool_with_rollback(make_pool, proxy)
        proxy.sessions[0].release()
        wait_until(lambda: not pool._idle_cache[0].quiet())
        with monkeypatch.context() as patched:
            patched.delattr(PacketConnection, "limit")
            db = pool.connection()
        assert execute(db, "SELECT 2") == ((2,),)
        db.close()
        assert pool.stats().opened == 1


ERROR_PACKET = b"\x09\x00\x00\x01\xff\x15\x04#28000"


@pytest.mark.parametrize("sent", [ERROR_PACKET, OK_PACKET * 2, OK_PACKET[:5], b"x"])
@pytest.mark.parametrize("ended", [False, True])
def test_wrong_answer_costs_the_connection(
    make_pool: MakePool, mysql_url: str, sent: bytes, ended: bool
) -> None:
    with TCPProxy(mysql_url) as proxy:
        pool = pool_with_rollback(make_pool, proxy)
        proxy.sessions[0].inject(sent)
        wait_until(lambda: not pool._idle_cache[0].quiet())
        if ended:
            proxy.sessions[0].end()
        with pool.connection(timeout=1) as db:
            assert execute(db, "SELECT 2") == ((2,),)
        assert pool.stats().closed == {"dead": 1}
        check_sound(pool)


def test_connection_that_was_reset_is_dead(make_pool: MakePool, mysql_url: str) -> None:
    with TCPProxy(mysql_url) as proxy:
        pool = pool_with_rollback(make_pool, proxy)
        client = proxy.sessions[0].client
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        proxy.sessions[0].end()
        wait_until(lambda: not pool._idle_cache[0].quiet())
        check_sound(pool)
        assert pool.stats().closed == {"dead": 1}


# In the queue


def test_interrupt_while_waiting(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Waiter, seconds: float) -> None:
        raise KeyboardInterrupt

    pool = make_pool(max_size=1)
    with pool.connection():
        with monkeypatch.context() as patched:
            patched.setattr(Waiter, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                pool.connection()
        assert pool.stats().waiting == 0
    check_sound(pool)


@pytest.mark.parametrize("broken", [False, True])
def test_interrupt_when_the_turn_has_come(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    """What was handed over goes to the next in line, a connection or a place."""
    pool = make_pool(max_size=1)
    held = pool.connection()

    def interrupted(self: Waiter, seconds: float) -> None:
        if broken:
            held.session.abandon()
        held.close()
        assert self.grant is not None
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Waiter, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.connection()
    check_sound(pool)


def test_interrupted_checkout_serves_the_next_in_line(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(max_size=1)
    held = pool.connection()
    got: list[t.Any] = []

    def borrow() -> None:
        with pool.connection() as db:
            got.append(execute(db, "SELECT 5"))

    def interrupted(self: Waiter, seconds: float) -> None:
        monkeypatch.undo()
        other.start()
        wait_until(lambda: pool.stats().waiting == 2)
        held.close()
        raise KeyboardInterrupt

    other = threading.Thread(target=borrow)
    monkeypatch.setattr(Waiter, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.connection()
    other.join(10)
    assert got == [((5,),)]
    check_sound(pool)
