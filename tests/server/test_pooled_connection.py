"""A handle is good for one checkout, one process and one exchange at a time."""

from __future__ import annotations

import gc
import threading
import typing as t
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor

import pymysql
import pytest
from pymysql.constants import CLIENT
from pymysql.constants import CR
from pymysql.constants import FIELD_TYPE
from pymysql.cursors import Cursor
from pymysql.cursors import DictCursor
from pymysql.cursors import SSCursor
from pymysql.cursors import SSDictCursor

from flask_mysqlpool import ConnectionBusyError
from flask_mysqlpool import Pool
from flask_mysqlpool import StaleConnectionError

from ..support.forked_child import in_child
from ..support.interrupted_sockets import check_sound
from ..support.ledger import Ledger
from ..support.pools import MakePool
from ..support.queries import execute
from ..support.tcp_proxy import TCPProxy
from ..support.waiting import wait_until

CURSORS = [Cursor, DictCursor, SSCursor, SSDictCursor]
THREE = "SELECT 1 AS n UNION SELECT 2 UNION SELECT 3"

# Everything that talks to the server, or tells of the session.
USES: dict[str, Callable[[t.Any], t.Any]] = {
    "query": lambda db: db.query("SELECT 1"),
    "commit": lambda db: db.commit(),
    "rollback": lambda db: db.rollback(),
    "begin": lambda db: db.begin(),
    "ping": lambda db: db.ping(),
    "select_db": lambda db: db.select_db("mysql"),
    "show_warnings": lambda db: db.show_warnings(),
    "set_character_set": lambda db: db.set_character_set("latin1"),
    "autocommit": lambda db: db.autocommit(True),
    "kill": lambda db: db.kill(1),
    "next_result": lambda db: db.next_result(),
    "transaction": lambda db: db.transaction().__enter__(),
}
TELLS: dict[str, Callable[[t.Any], t.Any]] = {
    "cursor": lambda db: db.cursor(),
    "escape": lambda db: db.escape("'"),
    "escape_string": lambda db: db.escape_string("'"),
    "thread_id": lambda db: db.thread_id(),
    "server_status": lambda db: db.server_status,
    "get_autocommit": lambda db: db.get_autocommit(),
    "insert_id": lambda db: db.insert_id(),
}
CURSOR_USES: dict[str, Callable[[t.Any], t.Any]] = {
    "execute": lambda cursor: cursor.execute("SELECT 1"),
    "execute with parameters": lambda cursor: cursor.execute("SELECT %s", (1,)),
    "executemany": lambda cursor: cursor.executemany("SELECT %s", [(1,)]),
    "callproc": lambda cursor: cursor.callproc("p", (1,)),
    "mogrify": lambda cursor: cursor.mogrify("SELECT %s", (1,)),
    "fetchone": lambda cursor: cursor.fetchone(),
    "fetchmany": lambda cursor: cursor.fetchmany(2),
    "fetchall": lambda cursor: cursor.fetchall(),
    "scroll": lambda cursor: cursor.scroll(1),
    "nextset": lambda cursor: cursor.nextset(),
    "iteration": lambda cursor: next(cursor),
}


@pytest.fixture
def pool(make_pool: MakePool, proxy: TCPProxy) -> Pool:
    return make_pool(proxy.url, max_size=1, autocommit=True, read_timeout=20)


# After the return


def test_returned_connection_is_dead(pool: Pool, proxy: TCPProxy) -> None:
    with pool.connection() as old:
        execute(old, "SELECT 1")
    with pool.connection() as new:
        proxy.commands.clear()
        for name, use in (USES | TELLS).items():
            with pytest.raises(StaleConnectionError):
                use(old)
                pytest.fail(name)
        assert not old.open
        assert old.returned
        old.close()
        assert execute(new, "SELECT 2") == ((2,),)
        assert proxy.statements == ["SELECT 2"]


@pytest.mark.parametrize("kind", CURSORS)
def test_cursor_of_a_returned_connection_is_dead(
    pool: Pool, proxy: TCPProxy, kind: type[Cursor]
) -> None:
    with pool.connection() as old:
        cursor = old.cursor(kind)
        cursor.execute(THREE)
        assert cursor.fetchone() is not None
        iterator = iter(cursor)
        unbuffered = issubclass(kind, SSCursor)
        every = t.cast(t.Any, cursor).fetchall_unbuffered() if unbuffered else iterator
    with pool.connection() as new:
        execute(new, "SELECT 'mine'")
        proxy.commands.clear()
        for name, use in CURSOR_USES.items():
            with pytest.raises(StaleConnectionError):
                use(cursor)
                pytest.fail(name)
        for left in (iterator, every):
            with pytest.raises(StaleConnectionError):
                next(left)
        cursor.close()
        assert execute(new, "SELECT 2") == ((2,),)
        assert proxy.statements == ["SELECT 2"]


@pytest.mark.parametrize("kind", CURSORS)
def test_cursor_closed_after_the_return_is_quiet(
    pool: Pool, proxy: TCPProxy, kind: type[Cursor]
) -> None:
    with pool.connection() as old:
        cursor = old.cursor(kind)
        cursor.execute(THREE)
        proxy.sessions[0].hold()
    with cursor:
        pass  # leaving it would wait for the rest of the rows
    proxy.sessions[0].release()
    check_sound(pool)


def test_what_a_holder_changes_on_the_handle_stays_there(pool: Pool) -> None:
    with pool.connection() as db:
        for name in ("charset", "decoders", "cursorclass", "anything", "server_status"):
            with pytest.raises(AttributeError):
                setattr(db, name, None)


def test_converters_are_not_the_holders_to_change(pool: Pool) -> None:
    with pool.connection() as db:
        assert FIELD_TYPE.LONG in db.decoders
        for mapping in (db.decoders, db.encoders):
            with pytest.raises(TypeError):
                mapping[FIELD_TYPE.LONG] = str  # type: ignore[index]  # on purpose


def test_dropped_handle_frees_its_place(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    db = pool.connection()
    execute(db, "SET @a = 1")
    del db
    gc.collect()
    wait_until(lambda: pool.stats().in_use == 0)  # the housekeeper takes it back
    check_sound(pool)
    assert "dropped, not returned" in caplog.text
    assert pool.stats().closed == {"lost": 1}


def test_cursor_closes_in_its_own_way(pool: Pool) -> None:
    called = []

    class OwnClose(DictCursor):
        def close(self) -> None:
            called.append("close")
            super().close()

    class OwnNextset(DictCursor):
        def nextset(self) -> t.Any:
            called.append("nextset")
            return super().nextset()

    for kind in (OwnClose, OwnNextset):
        with pool.connection() as db, db.cursor(kind) as cursor:
            cursor.execute("SELECT 1 AS n")
            called.clear()
        assert called == [kind.__name__.removeprefix("Own").lower()]


@pytest.mark.parametrize("kind", [Cursor, DictCursor])
def test_closed_cursor_leaves_nothing_unread(
    make_pool: MakePool, mysql_url: str, kind: type[Cursor]
) -> None:
    pool = make_pool(mysql_url, client_flag=CLIENT.MULTI_STATEMENTS)
    with pool.connection() as db:
        for sql in ("SELECT 1; SELECT 2; SELECT 3", "SELECT 4", "DO 0"):
            with db.cursor(kind) as cursor:
                cursor.execute(sql)
            assert not db.session.in_exchange
            assert execute(db, "SELECT 5") == ((5,),)
        cursor = db.cursor(kind)
        cursor.close()
        with pytest.raises(pymysql.ProgrammingError, match="[Cc]ursor closed"):
            cursor.execute("SELECT 6")


@pytest.mark.parametrize("kind", [SSCursor, SSDictCursor])
@pytest.mark.parametrize("use", ["query", "commit", "transaction", "same cursor"])
def test_stream_that_another_statement_ends_is_not_complete(
    pool: Pool, kind: type[SSCursor], use: str
) -> None:
    with pool.connection() as db:
        cursor = db.cursor(kind)
        cursor.execute(THREE)
        assert cursor.fetchone()
        if use == "same cursor":
            cursor.execute(THREE)
            assert len(list(cursor.fetchall())) == 3
            return
        if use == "query":
            assert execute(db, "SELECT 2") == ((2,),)
        elif use == "commit":
            db.commit()
        else:
            with db.transaction():
                assert execute(db, "SELECT 2") == ((2,),)
        for read in (cursor.fetchone, cursor.fetchmany, lambda: list(cursor)):
            with pytest.raises(ConnectionBusyError, match="rows left .* are gone"):
                read()
        assert execute(db, "SELECT 3") == ((3,),), "the connection is well"
        cursor.close()
    check_sound(pool)
    assert pool.stats().closed == {}


def test_stream_read_to_its_end_stays_so(pool: Pool) -> None:
    with pool.connection() as db, db.cursor(SSCursor) as cursor:
        cursor.execute(THREE)
        assert len(list(cursor.fetchall())) == 3
        execute(db, "SELECT 2")
        assert cursor.fetchone() is None


def test_dropped_cursor_reads_nothing(pool: Pool, proxy: TCPProxy) -> None:
    with pool.connection() as db:
        cursor = db.cursor(SSCursor)
        cursor.execute(THREE)
        proxy.sessions[0].hold()
        del cursor
        gc.collect()  # would wait for the rows
    check_sound(pool)


# Two at a time


class Busy:
    """A connection in mid-exchange: another thread waits for a lock."""

    def __init__(self, db: t.Any, query: str, ledger: Ledger) -> None:
        self._executor = ThreadPoolExecutor(1)
        self.result: Future[t.Any] = self._executor.submit(execute, db, query)
        ledger.await_execution(query)

    def end(self) -> None:
        self._executor.shutdown()


def test_second_thread_in_mid_exchange_raises_before_a_byte(
    pool: Pool, proxy: TCPProxy, ledger: Ledger
) -> None:
    with pool.connection() as db:
        cursor = db.cursor()
        cursor.execute(THREE)
        with ledger.lock() as query:
            busy = Busy(db, query, ledger)
            sent = proxy.sent
            for name, use in USES.items():
                with pytest.raises(ConnectionBusyError):
                    use(db)
                    pytest.fail(name)
            for name in ("execute", "executemany", "callproc"):
                with pytest.raises(ConnectionBusyError):
                    CURSOR_USES[name](cursor)
                    pytest.fail(name)
            assert proxy.sent == sent
        assert busy.result.result(10) == ((1,),)
        busy.end()
        assert execute(db, "SELECT 2") == ((2,),)


@pytest.mark.parametrize("kind", [SSCursor, SSDictCursor])
def test_second_thread_among_unread_rows_raises_before_a_byte(
    pool: Pool, proxy: TCPProxy, kind: type[SSCursor]
) -> None:
    with pool.connection() as db, ThreadPoolExecutor(1) as other:
        cursor = db.cursor(kind)
        cursor.execute(THREE)
        cursor.fetchone()
        sent = proxy.sent
        uses: list[tuple[t.Any, ...]] = [(use, db) for use in USES.values()]
        uses += [(cursor.fetchone,), (cursor.fetchall,), (cursor.close,)]
        for use in uses:
            with pytest.raises(ConnectionBusyError):
                other.submit(*use).result(10)
        assert proxy.sent == sent
        assert len(cursor.fetchall()) == 2
        assert other.submit(execute, db, "SELECT 2").result(10) == ((2,),)


def test_one_after_the_other_is_fine(pool: Pool) -> None:
    with pool.connection() as db:
        for number in range(4):
            with ThreadPoolExecutor(1) as thread:
                assert thread.submit(execute, db, f"SELECT {number}").result(10)


def test_return_by_another_thread_in_mid_exchange(pool: Pool, ledger: Ledger) -> None:
    db = pool.connection()
    with ledger.lock() as query:
        busy = Busy(db, query, ledger)
        db.close()
        check_sound(pool)  # the lock is still waited for
        with pytest.raises(pymysql.Error):
            busy.result.result(10)
        busy.end()
    assert pool.stats().closed == {"broken": 1}


def test_two_threads_return_it_once(pool: Pool) -> None:
    for _ in range(20):
        db = pool.connection()
        start = threading.Barrier(2)

        def give_back(db: t.Any = db, start: threading.Barrier = start) -> None:
            start.wait(10)
            db.close()

        with ThreadPoolExecutor(2) as threads:
            for done in [threads.submit(give_back) for _ in range(2)]:
                done.result(10)
        assert (pool.stats().size, pool.stats().idle) == (1, 1)


# In a forked child

FORK = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@FORK
@pytest.mark.parametrize("kind", CURSORS)
def test_child_says_nothing_on_what_is_lent(
    pool: Pool, proxy: TCPProxy, kind: type[Cursor]
) -> None:
    with pool.connection() as db:
        cursor = db.cursor(kind)
        cursor.execute(THREE)
        first = cursor.fetchone()

        def misuse() -> None:
            for use in USES.values():
                with pytest.raises(StaleConnectionError, match="opened in process"):
                    use(db)
            with pytest.raises(StaleConnectionError):
                cursor.execute("SELECT 2")
            cursor.close()
            db.close()
            assert pool.stats().size == 0

        sent = proxy.sent
        in_child(misuse)
        assert proxy.sent == sent
        assert not proxy.sessions[0].ended
        assert first is not None
        assert len(cursor.fetchall()) == 2
        assert execute(db, "SELECT 2") == ((2,),)


@FORK
@pytest.mark.parametrize("last", ["SELECT 1", "SET @a = 1"])
def test_child_has_sessions_of_its_own(pool: Pool, proxy: TCPProxy, last: str) -> None:
    with pool.connection() as db:
        session = db.thread_id()
        execute(db, last)
        proxy.sessions[0].hold()  # the answer to a reset, if any, is still to be read

    def use() -> None:
        with pool.connection() as db:
            assert db.thread_id() != session
            assert execute(db, "SELECT @a") == ((None,),)

    wait_until(lambda: last == "SELECT 1" or proxy.commands[-1][0] != 3)
    sent = proxy.sessions[0].sent
    in_child(use)
    assert proxy.sessions[0].sent == sent
    assert not proxy.sessions[0].ended
    proxy.sessions[0].release()
    with pool.connection() as db:
        assert db.thread_id() == session
        assert execute(db, "SELECT @a") == ((None,),)


@FORK
def test_child_forked_in_mid_exchange(
    pool: Pool, proxy: TCPProxy, ledger: Ledger
) -> None:
    db = pool.connection()
    with ledger.lock() as query:
        busy = Busy(db, query, ledger)
        sent = proxy.sessions[0].sent

        def use() -> None:
            with pytest.raises(StaleConnectionError):
                execute(db, "SELECT 2")
            db.close()
            with pool.connection() as own:
                assert execute(own, "SELECT 3") == ((3,),)

        in_child(use)
        assert proxy.sessions[0].sent == sent
    assert busy.result.result(10) == ((1,),)
    busy.end()
    db.close()
    check_sound(pool)


# Further results


@pytest.mark.parametrize("sql", ["", "SELECT 1", "DO 1", "unread"])
def test_next_result_where_there_is_none_does_not_wait(
    make_pool: MakePool, sql: str
) -> None:
    """Nothing would come: with a limit, that would end the connection."""
    with make_pool(read_timeout=1).connection() as db:
        if sql == "unread":
            db.query(THREE, unbuffered=True)
        elif sql:
            db.query(sql)
        with pytest.raises(pymysql.err.OperationalError, match="no further") as caught:
            db.next_result()
        assert caught.value.args[0] == CR.CR_COMMANDS_OUT_OF_SYNC
        assert execute(db, "SELECT 2") == ((2,),)
