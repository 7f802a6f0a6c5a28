"""What stock DBUtils and PyMySQL do wrong, the pool does right: nothing is lost,
nothing is executed twice, nobody reads another's rows, nobody starves.
"""

from __future__ import annotations

import signal
import threading
import typing as t
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import flask
import pymysql
import pytest
from pymysql.cursors import Cursor
from pymysql.cursors import DictCursor
from pymysql.cursors import SSCursor

from flask_mysqlpool import get_db
from flask_mysqlpool import Pool
from flask_mysqlpool import StaleConnectionError
from flask_mysqlpool.driver.results import TrackedResult
from flask_mysqlpool.driver.session import Session

from ..support.flask_apps import MakeApp
from ..support.ledger import change
from ..support.ledger import Ledger
from ..support.pools import MakePool
from ..support.queries import execute
from ..support.tcp_proxy import TCPProxy
from ..support.waiting import wait_until

# Half a transaction


def test_killed_in_mid_transaction(make_pool: MakePool, ledger: Ledger) -> None:
    with make_pool().connection() as db:
        change(db, 1, -100)
        ledger.kill(db.thread_id())
        with pytest.raises(pymysql.Error):
            change(db, 2, +100)
        with pytest.raises(pymysql.Error):
            db.commit()
    assert ledger.rows == {1: 0, 2: 0}


def test_deadlock(make_pool: MakePool, ledger: Ledger) -> None:
    def transfer(db: t.Any, amount: int, account: int) -> int:
        with db:
            try:
                change(db, account, amount)
                db.commit()
            except pymysql.err.OperationalError as error:
                assert error.args[0] == 1213
                return 0
        return amount

    pool = make_pool()
    one, other = pool.connection(), pool.connection()
    change(one, 1, 1)
    change(other, 2, 10)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(transfer, one, 1, 2)
        second = threads.submit(transfer, other, 10, 1)
    committed = first.result() + second.result()
    assert committed in (1, 10), "one of the two is the victim"
    assert ledger.rows == {1: committed, 2: committed}


def test_usage_limit_swaps_no_connection_in_mid_transaction(
    make_pool: MakePool, ledger: Ledger
) -> None:
    pool = make_pool(max_usage=1)
    with pool.connection() as db:
        session = db.thread_id()
        change(db, 1)
        change(db, 2)
        assert execute(db, "SELECT CONNECTION_ID()") == ((session,),)
        db.commit()
    assert ledger.rows == {1: 1, 2: 1}
    assert pool.stats().closed == {"usage": 1}


# A lost answer


def test_statement_whose_answer_is_lost_is_executed_once(
    make_pool: MakePool, ledger: Ledger, mysql_url: str
) -> None:
    with TCPProxy(mysql_url) as proxy:
        pool = make_pool(proxy.url, autocommit=True)
        with pool.connection() as db:
            proxy.sessions[0].cut_after(0)
            with pytest.raises(pymysql.err.OperationalError):
                change(db, 1)
        assert ledger.rows == {1: 1, 2: 0}
        with pool.connection() as db:
            assert execute(db, "SELECT v FROM ledger WHERE id = 1") == ((1,),)
        assert len(proxy.sessions) == 2, "the first is not used again"
        pool.close()


# After the return

USES: dict[str, Callable[[t.Any, t.Any], t.Any]] = {
    "execute": lambda db, cursor: cursor.execute("SELECT @secret"),
    "executemany": lambda db, cursor: cursor.executemany("SELECT %s", [(1,), (2,)]),
    "callproc": lambda db, cursor: cursor.callproc("p"),
    "mogrify": lambda db, cursor: cursor.mogrify("SELECT %s", ("a",)),
    "fetchone": lambda db, cursor: cursor.fetchone(),
    "fetchmany": lambda db, cursor: cursor.fetchmany(2),
    "fetchall": lambda db, cursor: list(cursor.fetchall()),
    "iteration": lambda db, cursor: list(cursor),
    "nextset": lambda db, cursor: cursor.nextset(),
    "scroll": lambda db, cursor: cursor.scroll(1),
    "connection of the cursor": lambda db, cursor: cursor.connection.query("DO 1"),
    "cursor": lambda db, cursor: db.cursor(),
    "query": lambda db, cursor: db.query("SELECT 1"),
    "commit": lambda db, cursor: db.commit(),
    "rollback": lambda db, cursor: db.rollback(),
    "begin": lambda db, cursor: db.begin(),
    "ping": lambda db, cursor: db.ping(),
    "escape": lambda db, cursor: db.escape("a"),
    "thread_id": lambda db, cursor: db.thread_id(),
    "select_db": lambda db, cursor: db.select_db("mysql"),
    "autocommit": lambda db, cursor: db.autocommit(True),
    "set_character_set": lambda db, cursor: db.set_character_set("latin1"),
    "kill": lambda db, cursor: db.kill(1),
    "transaction": lambda db, cursor: db.transaction().__enter__(),
}


@pytest.mark.parametrize("kind", [Cursor, DictCursor, SSCursor])
@pytest.mark.parametrize("use", USES)
def test_nothing_works_after_the_return(
    make_pool: MakePool, kind: type[Cursor], use: str
) -> None:
    pool = make_pool(max_size=1)
    with pool.connection() as db:
        cursor = db.cursor(kind)
        cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
        cursor.fetchone()
    with pool.connection() as next_one:
        execute(next_one, "SET @secret = 'theirs'")
        with pytest.raises(StaleConnectionError):
            USES[use](db, cursor)
        cursor.close()
        db.close()
        assert execute(next_one, "SELECT @secret") == (("theirs",),)
        assert pool.stats().in_use == 1


@pytest.mark.parametrize("waits", [False, True])
def test_connection_that_was_dropped_is_replaced(
    make_pool: MakePool, ledger: Ledger, waits: bool
) -> None:
    pool = make_pool(max_size=1)
    lent = [pool.connection()]
    session = lent[0].thread_id()
    change(lent[0], 1)

    def drop() -> None:
        if waits:
            wait_until(lambda: pool.stats().waiting == 1)
        lent.clear()

    thread = threading.Thread(target=drop)
    thread.start()
    if not waits:
        thread.join()
    with pool.connection(5) as db:
        assert db.thread_id() != session
    thread.join()
    assert ledger.rows == {1: 0, 2: 0}


# An exchange that is cut


class Interrupted(BaseException):
    """What a greenlet's timeout, SystemExit or KeyboardInterrupt is to the driver."""


def cut_before_reading(monkeypatch: pytest.MonkeyPatch, undo: t.Any) -> None:
    def interrupt(*_: t.Any) -> t.NoReturn:
        undo()
        raise Interrupted

    monkeypatch.setattr(Session, "_read_query_result", interrupt)


def cut_while_sending(monkeypatch: pytest.MonkeyPatch, undo: t.Any) -> None:
    def interrupt(self: Session, data: bytes) -> t.NoReturn:
        undo()
        self._write_bytes(data[: len(data) // 2])
        raise Interrupted

    monkeypatch.setattr(Session, "_write_bytes", interrupt)


def cut_while_reading(monkeypatch: pytest.MonkeyPatch, undo: t.Any) -> None:
    def interrupt(*_: t.Any) -> t.NoReturn:
        undo()
        raise Interrupted

    monkeypatch.setattr(TrackedResult, "_get_descriptions", interrupt)


@pytest.mark.parametrize(
    "cut", [cut_before_reading, cut_while_sending, cut_while_reading]
)
def test_connection_of_a_cut_exchange_is_not_lent_again(
    make_pool: MakePool, cut: t.Any
) -> None:
    pool = make_pool(max_size=1)
    with pytest.MonkeyPatch.context() as patch:
        with pool.connection() as db:
            session = db.thread_id()
            cut(patch, patch.undo)
            with pytest.raises(Interrupted):
                execute(db, "SELECT 0")
            with pytest.raises(pymysql.Error):
                execute(db, "SELECT 1")  # nor used again
    with pool.connection() as db:
        for number in (111, 222, 333):
            assert execute(db, f"SELECT {number}") == ((number,),)
        assert db.thread_id() != session
    assert pool.stats().closed == {"broken": 1}


def test_connection_of_an_interrupted_wait_is_not_lent_again(
    make_pool: MakePool, ledger: Ledger
) -> None:
    def interrupt(*_: object) -> t.NoReturn:
        raise Interrupted

    def signal_the_waiting(sql: str) -> None:
        ledger.await_execution(sql)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    pool = make_pool(max_size=1)
    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with ledger.lock() as wait, pool.connection() as db:
            sender = threading.Thread(target=signal_the_waiting, args=(wait,))
            sender.start()
            with pytest.raises(Interrupted):
                execute(db, wait)
            sender.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    with pool.connection() as db:
        assert execute(db, "SELECT 111") == ((111,),)
    assert pool.stats().closed == {"broken": 1}


# Fairness


def test_no_thread_starves(make_pool: MakePool) -> None:
    pool = make_pool(max_size=2)
    takes = [0] * 12

    def work(number: int) -> None:
        while sum(takes) < 600:
            with pool.connection() as db:
                execute(db, "DO SLEEP(0.001)")
                takes[number] += 1

    # All stand in the queue before the first is served.
    with pool.connection(), pool.connection():
        threads = [threading.Thread(target=work, args=(n,)) for n in range(len(takes))]
        for thread in threads:
            thread.start()
        wait_until(lambda: pool.stats().waiting == len(takes))
    for thread in threads:
        thread.join()
    assert max(takes) - min(takes) <= 6


def test_first_come_first_served(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    served: list[int] = []

    def work(number: int) -> None:
        with pool.connection():
            served.append(number)

    with pool.connection():
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            waiting = pool.stats().waiting
            thread.start()
            wait_until(lambda: pool.stats().waiting > waiting)  # noqa: B023  # at once
    for thread in threads:
        thread.join()
    assert served == list(range(8))


# Another extension's teardown


@pytest.mark.parametrize("registered", ["before", "after"])
def test_teardown_of_another_extension_that_raises(
    make_app: MakeApp, ledger: Ledger, registered: str
) -> None:
    app = make_app()
    pool: Pool = app.extensions["mysqlpool"]["default"]
    returned: list[int] = []

    @app.teardown_appcontext
    def theirs(error: BaseException | None) -> None:
        returned.append(pool.stats().in_use)
        raise RuntimeError("another extension's teardown failed")

    if registered == "before":  # Flask calls them last in, first out
        app.teardown_appcontext_funcs.insert(0, app.teardown_appcontext_funcs.pop())

    @app.get("/")
    def view() -> str:
        change(get_db(), 1)
        return ""

    app.testing = True
    with pytest.raises(RuntimeError, match="another extension"):
        app.test_client().get("/")
    assert returned == [1], "theirs may still use it"
    assert pool.stats().in_use == 0
    assert ledger.rows == {1: 0, 2: 0}
    assert not flask.has_app_context()
