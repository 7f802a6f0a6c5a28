"""A forked child starts with an empty pool; what it inherits stays the parent's."""

from __future__ import annotations

import gc
import os
import typing as t

import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool import Pool

from ..support.flask_apps import MakeApp
from ..support.forked_child import ForkedChild
from ..support.interrupted_process import InterruptedProcess
from ..support.ledger import change
from ..support.ledger import Ledger
from ..support.pools import MakePool
from ..support.queries import execute
from ..support.tcp_proxy import TCPProxy

# Python 3.12 and later warn of threads, which the parent here has.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def test_forked_children_read_no_foreign_rows(
    make_pool: MakePool, ledger: Ledger
) -> None:
    def ask_for_own_rows() -> int:
        with pool.connection() as db:
            rows = [execute(db, f"SELECT {os.getpid()}") for _ in range(200)]
        return sum(row != ((os.getpid(),),) for row in rows)

    pool = make_pool(max_size=2)
    with pool.connection() as one, pool.connection() as other:
        sessions = {one.thread_id(), other.thread_id()}
    children = [ForkedChild(ask_for_own_rows) for _ in range(3)]
    assert ask_for_own_rows() == 0
    assert [child.join() for child in children] == [0, 0, 0]
    assert sessions <= ledger.sessions.keys()
    with pool.connection() as one, pool.connection() as other:
        assert {one.thread_id(), other.thread_id()} == sessions
        assert execute(one, "SELECT 1") == execute(other, "SELECT 1")
    assert pool.stats().opened == 2


def test_transaction_of_the_parent_survives_its_children(
    make_pool: MakePool, ledger: Ledger
) -> None:
    def meddle() -> str:
        db.close()
        pool.close()
        return "done"

    pool = make_pool()
    db = pool.connection()
    change(db, 1)
    assert ForkedChild(meddle).join() == "done"
    change(db, 2)
    db.commit()
    db.close()
    assert ledger.rows == {1: 1, 2: 1}


def test_inherited_connection_is_stale_in_the_child(make_pool: MakePool) -> None:
    with make_pool().connection() as db, db.cursor() as cursor:
        stale = "StaleConnectionError: this connection was opened in process"
        said = ForkedChild(lambda: execute(db, "SELECT 1")).join()
        assert said.startswith(stale)
        assert "already closed" in said  # by which libraries know a connection's end
        assert ForkedChild(lambda: cursor.execute("DO 1")).join().startswith(stale)
        assert execute(db, "SELECT 1") == ((1,),)


@pytest.mark.parametrize("dropped", [False, True])
def test_return_of_an_inherited_connection_takes_nothing_from_the_child(
    make_pool: MakePool, dropped: bool
) -> None:
    def return_inherited() -> t.Any:
        with pool.connection() as mine:
            if dropped:
                lent.clear()
                gc.collect()
            else:
                lent[0].close()
            pool.maintain()
            return execute(mine, "SELECT 2"), pool.stats().in_use

    pool = make_pool()
    lent = [pool.connection()]
    assert ForkedChild(return_inherited).join() == [[[2]], 1]
    lent.pop().close()


def test_child_forked_in_an_app_context_gets_a_connection_of_its_own(
    make_app: MakeApp,
) -> None:
    def ask() -> t.Any:
        return execute(get_db(), "SELECT CONNECTION_ID()")[0][0]

    with make_app().app_context():
        session = ask()
        theirs = ForkedChild(ask).join()
        assert isinstance(theirs, int) and theirs != session
        assert ask() == session


def test_child_of_a_fork_without_hooks_is_not_seen_as_its_parent(
    make_pool: MakePool,
) -> None:
    for look in (Pool.stats, Pool.holders):
        pool = make_pool()
        with pool.connection():
            pool._pid = 0  # as uWSGI leaves it, whose fork runs no hooks
            look(pool)
            assert pool.stats().in_use == 0
            assert pool.holders() == []
            assert pool.stats().checkouts == 0


@pytest.mark.parametrize("end", ["exit", "garbage", "nothing"])
def test_child_that_ends_says_nothing(mysql_url: str, end: str) -> None:
    """Of a process that ends by itself, with its finalizers."""
    with (
        TCPProxy(mysql_url) as proxy,
        InterruptedProcess("fork", proxy.url, end) as child,
    ):
        child.await_line("used")
        sent = proxy.sent
        child.go_on()
        child.await_line("child ended")
        assert proxy.sent == sent
        assert not any(session.ended for session in proxy.sessions)
        child.go_on()
        assert child.report() == {"same": True, "row": 5}
