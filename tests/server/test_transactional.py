"""A function whose transaction is repeated, what follows a commit, and a block's own
isolation level.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import typing as t
from collections.abc import Iterator
from dataclasses import replace

import flask
import pymysql
import pytest
from pymysql.constants import ER

from flask_mysqlpool import get_db
from flask_mysqlpool import OnCommitError
from flask_mysqlpool import transaction
from flask_mysqlpool import transactional
from flask_mysqlpool.driver.session import Session

from ..support.flask_apps import MakeApp
from ..support.flask_apps import pool_of
from ..support.ledger import change
from ..support.ledger import deadlock
from ..support.ledger import Ledger
from ..support.ledger import NOTHING
from ..support.pools import MakePool
from ..support.queries import execute
from ..support.tcp_proxy import TCPProxy


@pytest.fixture(params=[False, True], ids=["autocommit off", "autocommit on"])
def site(request: pytest.FixtureRequest, make_app: MakeApp) -> flask.Flask:
    return make_app(autocommit=request.param, max_size=2)


@pytest.fixture
def context(site: flask.Flask) -> Iterator[None]:
    with site.app_context():
        yield


def refuse(db: t.Any, code: int, text: str = "as a server does") -> t.NoReturn:
    """Let a statement be refused."""
    raise pymysql.err.OperationalError(code, text)


class Work:
    """What a transaction does; its first tries are refused."""

    def __init__(self, *codes: int, text: str = "as a server does") -> None:
        self.codes = list(codes)
        self.text = text
        self.tries = 0

    def __call__(self) -> int:
        self.tries += 1
        change(get_db(), 1)
        if self.codes:
            refuse(get_db(), self.codes.pop(0), self.text)
        return self.tries


# What is repeated


def test_timeout_of_0_is_of_the_queue_alone(make_app: MakeApp, ledger: Ledger) -> None:
    work = Work(ER.LOCK_DEADLOCK, ER.LOCK_DEADLOCK)
    with make_app(timeout=0).app_context():
        assert transactional(tries=3)(work)() == 3
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.usefixtures("context")
def test_connection_that_is_lost_at_the_rollback_is_no_further_try(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "flask_mysqlpool")
    tries = []

    @transactional()
    def body() -> None:
        tries.append(1)
        change(get_db(), 1)
        ledger.ask(f"KILL {get_db().thread_id()}")
        refuse(get_db(), ER.LOCK_DEADLOCK)

    with pytest.raises(pymysql.err.OperationalError, match="as a server does"):
        body()
    assert tries == [1]
    assert "is repeated" not in caplog.text
    assert ledger.rows == NOTHING


def test_two_functions_in_each_others_way_both_succeed(
    site: flask.Flask, ledger: Ledger
) -> None:
    """A real deadlock: each has the row that the other wants."""
    meeting = threading.Barrier(2, timeout=20)
    tries: list[int] = []

    def move(first: int, second: int) -> None:
        met: list[int] = []

        @transactional()
        def body() -> None:
            tries.append(first)
            change(get_db(), first)
            if not met:
                met.append(meeting.wait())
            change(get_db(), second)

        with site.app_context():
            body()

    threads = [threading.Thread(target=move, args=each) for each in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.rows == {1: 2, 2: 2}
    assert len(tries) == 3, "one of the two was repeated"


@pytest.mark.usefixtures("context")
def test_wait_for_a_lock_that_took_too_long_is_repeated(ledger: Ledger) -> None:
    with contextlib.closing(ledger.connect()) as other:
        change(other, 2)
        execute(get_db(), "SET innodb_lock_wait_timeout = 1")
        get_db().rollback()
        seen = []

        @transactional(tries=2)
        def body() -> None:
            change(get_db(), 1)
            try:
                change(get_db(), 2)
            except pymysql.err.OperationalError as error:
                seen.append(error.args[0])
                other.rollback()
                raise

        body()
    assert seen == [ER.LOCK_WAIT_TIMEOUT]
    assert ledger.rows == {1: 1, 2: 1}


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize(
    ("code", "text"),
    [(code, "") for code in (1213, 1205, 1020, 3572, 3101)]
    + [(1180, "Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT")],
)
def test_errors_that_are_repeated(ledger: Ledger, code: int, text: str) -> None:
    work = Work(code, code, text=text)
    assert transactional()(work)() == 3
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize(
    ("code", "text"), [(1062, ""), (2013, ""), (1180, "Got error 28 during COMMIT")]
)
def test_errors_that_are_not_repeated(ledger: Ledger, code: int, text: str) -> None:
    work = Work(code, text=text)
    with pytest.raises(pymysql.err.OperationalError):
        transactional()(work)()
    assert work.tries == 1
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
def test_commit_that_a_cluster_refuses_is_repeated(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    commit = Session.commit

    def refuse_once(session: Session) -> None:
        if work.tries == 1:
            refuse(session, 1213)
        commit(session)

    monkeypatch.setattr(Session, "commit", refuse_once)
    assert transactional()(work)() == 2
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("tries", [1, 2, 4])
def test_last_error_is_raised(ledger: Ledger, tries: int) -> None:
    work = Work(*[1213] * 5)
    with pytest.raises(pymysql.err.OperationalError, match="1213"):
        transactional(tries)(work)()
    assert work.tries == tries
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
def test_swallowed_deadlock_is_repeated(ledger: Ledger) -> None:
    tries = []

    @transactional()
    def body() -> None:
        tries.append(1)
        change(get_db(), 1)
        if len(tries) == 1:
            with contextlib.suppress(pymysql.err.OperationalError):
                deadlock(ledger, get_db())

    body()
    assert len(tries) == 2
    assert ledger.rows == {1: 1, 2: 0}


def test_coroutine_is_repeated(make_app: MakeApp, ledger: Ledger) -> None:
    work = Work(1213)

    @transactional()
    async def body() -> int:
        await asyncio.sleep(0)
        return work()

    with make_app().app_context():
        assert asyncio.run(body()) == 2
    assert ledger.rows == {1: 1, 2: 0}


def test_connection_of_the_pool_may_repeat(make_pool: MakePool, ledger: Ledger) -> None:
    with make_pool().connection() as db:
        tries = []

        @db.transactional(tries=2)
        def body(amount: int) -> str:
            tries.append(1)
            change(db, 1, amount)
            if len(tries) == 1:
                refuse(db, 1213)
            return "done"

        assert body(5) == "done"
    assert ledger.rows == {1: 5, 2: 0}


@pytest.mark.usefixtures("context")
def test_only_the_outermost_is_repeated(ledger: Ledger) -> None:
    inner = Work(1213)
    outer = Work()
    decorated = transactional()(inner)

    @transactional()
    def body() -> None:
        outer()
        decorated()

    body()
    assert (inner.tries, outer.tries) == (2, 2)
    assert ledger.rows == {1: 2, 2: 0}


@pytest.mark.usefixtures("context")
def test_inner_function_is_a_savepoint(ledger: Ledger) -> None:
    work = Work(1213)
    with transaction() as db:
        change(db, 2)
        with pytest.raises(pymysql.err.OperationalError):
            transactional()(work)()
    assert work.tries == 1
    assert ledger.rows == {1: 0, 2: 1}


def test_no_try_begins_after_the_timeout(make_app: MakeApp, ledger: Ledger) -> None:
    work = Work(*[1213] * 50)
    app = make_app()
    with app.app_context():
        session = get_db().session
        session.settings = replace(session.settings, timeout=1e-9)
        with pytest.raises(pymysql.err.OperationalError):
            transactional(50)(work)()
    assert work.tries == 1


def test_pauses_grow_to_a_limit(
    make_app: MakeApp, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest: list[float] = []

    def no_pause(least: float, most: float) -> float:
        longest.append(most)
        return 0.0 if least == 0 else least  # lifetimes vary too

    monkeypatch.setattr(random, "uniform", no_pause)
    with make_app().app_context():
        assert transactional(9)(Work(*[1213] * 8))() == 9
    assert longest[-8:] == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]


def test_commit_whose_answer_is_lost_is_not_repeated(
    make_app: MakeApp, ledger: Ledger, mysql_url: str
) -> None:
    work = Work()
    with TCPProxy(mysql_url) as proxy, make_app(url=proxy.url).app_context():

        @transactional()
        def body() -> None:
            work()
            get_db().on_commit(lambda: pytest.fail("the commit is unknown"))
            proxy.sessions[0].cut_after(0)

        with pytest.raises(pymysql.err.OperationalError):
            body()
        get_db().close()
    assert work.tries == 1
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.parametrize("wrong", [0, -1])
def test_tries_out_of_range(wrong: int) -> None:
    with pytest.raises(ValueError, match="tries must be at least 1"):
        transactional(wrong)


# After the commit


@pytest.mark.usefixtures("context")
def test_functions_are_called_after_the_commit_in_their_order(ledger: Ledger) -> None:
    seen: list[t.Any] = []
    with transaction() as db:
        change(db, 1)
        db.on_commit(lambda: seen.append(("first", ledger.rows)))
        with transaction():
            db.on_commit(lambda: seen.append(("second", db.in_block)))
        assert seen == []
    assert seen == [("first", {1: 1, 2: 0}), ("second", False)]
    with transaction():
        pass
    assert len(seen) == 2, "each is called once"


@pytest.mark.usefixtures("context")
def test_functions_of_a_block_that_failed_are_not_called() -> None:
    seen: list[str] = []

    def add(name: str) -> None:
        get_db().on_commit(lambda: seen.append(name))

    with pytest.raises(ValueError), transaction():
        add("of a failed one")
        raise ValueError
    with transaction():
        add("outer")
        with contextlib.suppress(ValueError), transaction():
            add("inner")
            with transaction():
                add("innermost")
            raise ValueError
        with transaction():
            add("next")
    assert seen == ["outer", "next"]


@pytest.mark.usefixtures("context")
def test_functions_are_called_once_where_the_block_is_repeated(
    ledger: Ledger,
) -> None:
    seen: list[int] = []
    work = Work(1213, 1213)

    @transactional()
    def body() -> None:
        tries = work.tries + 1
        get_db().on_commit(lambda: seen.append(tries))
        work()

    body()
    assert seen == [3]


@pytest.mark.usefixtures("context")
def test_function_may_use_the_connection(ledger: Ledger) -> None:
    def again() -> None:
        with transaction() as db:
            change(db, 2)
            db.on_commit(lambda: seen.append(ledger.rows))

    seen: list[t.Any] = []
    with transaction() as db:
        change(db, 1)
        db.on_commit(again)
    assert seen == [{1: 1, 2: 1}]


@pytest.mark.usefixtures("context")
def test_function_may_add_another(ledger: Ledger) -> None:
    def first() -> None:
        with transaction() as db:
            change(db, 2)
            db.on_commit(lambda: seen.append("of its own block"))
        get_db().on_commit(lambda: seen.append("at once"))
        seen.append("first")

    seen: list[str] = []
    with transaction() as db:
        change(db, 1)
        db.on_commit(first)
        db.on_commit(lambda: seen.append("second"))
    assert seen == ["of its own block", "at once", "first", "second"]


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize(
    "error", [ValueError("no"), pymysql.err.OperationalError(1213, "")]
)
def test_function_that_raises_does_not_undo_the_commit(
    ledger: Ledger, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def fail() -> None:
        raise error

    @transactional()
    def body() -> None:
        change(get_db(), 1)
        for function in (fail, fail, lambda: seen.append("called all the same")):
            get_db().on_commit(function)

    with pytest.raises(OnCommitError, match="was committed, then") as caught:
        body()
    assert caught.value.__cause__ is error
    assert "was committed, then" in caplog.text
    assert seen == ["called all the same"]
    assert ledger.rows == {1: 1, 2: 0}
    with transaction() as db:
        change(db, 1)
    assert ledger.rows == {1: 2, 2: 0}


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupt_of_a_function_goes_on_once_the_others_were_called(
    ledger: Ledger, interrupt: type[BaseException]
) -> None:
    seen: list[str] = []

    def fail(error: BaseException) -> t.NoReturn:
        raise error

    with pytest.raises(interrupt, match="first") as caught:
        with transaction() as db:
            change(db, 1)
            for function in (
                lambda: fail(interrupt("first")),
                lambda: fail(ValueError("of its own")),
                lambda: fail(interrupt("second")),
                lambda: seen.append("called all the same"),
            ):
                db.on_commit(function)
    assert seen == ["called all the same"]
    assert isinstance(caught.value.__cause__, OnCommitError)
    assert ledger.rows == {1: 1, 2: 0}


def test_function_outside_a_block(make_app: MakeApp) -> None:
    seen: list[str] = []
    with make_app(autocommit=True).app_context():
        get_db().on_commit(lambda: seen.append("at once"))
        assert seen == ["at once"]
        get_db().begin()
        with pytest.raises(pymysql.err.ProgrammingError, match="wants a transaction"):
            get_db().on_commit(lambda: seen.append("never"))
    with make_app(autocommit=False).app_context():
        with pytest.raises(pymysql.err.ProgrammingError, match="wants a transaction"):
            get_db().on_commit(lambda: seen.append("never"))
    assert seen == ["at once"]


@pytest.mark.usefixtures("context")
def test_what_is_no_plain_function_is_refused() -> None:
    async def coroutine() -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    with transaction() as db:
        wrong: t.Any
        for wrong in (coroutine, generator, None):
            with pytest.raises(TypeError):
                db.on_commit(wrong)


# Characteristics

LEVELS = ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


def has_read_committed(ledger: Ledger, db: t.Any) -> bool:
    """Whether a transaction sees what others commit after it began to read."""
    before = execute(db, "SELECT v FROM ledger WHERE id = 1")
    ledger.ask("UPDATE ledger SET v = v + 1 WHERE id = 1")
    return bool(execute(db, "SELECT v FROM ledger WHERE id = 1") != before)


@pytest.mark.parametrize("read_before", [False, True])
def test_isolation_level_of_one_block(
    site: flask.Flask, ledger: Ledger, read_before: bool
) -> None:
    with site.app_context():
        session = get_db().thread_id()
        for level, sees in (("READ COMMITTED", True), ("REPEATABLE READ", False)):
            if read_before:
                execute(get_db(), "SELECT * FROM ledger")
            wanted = t.cast(t.Any, level)
            with transaction(isolation_level=wanted) as db:
                assert has_read_committed(ledger, db) is sees
        with transaction(isolation_level="READ COMMITTED") as db:
            execute(db, "SELECT 1")
        with transaction() as db:
            assert not has_read_committed(ledger, db), "it was for one block"
    with site.app_context(), transaction() as db:
        assert db.thread_id() == session
        assert not has_read_committed(ledger, db)
    assert pool_of(site).stats().opened == 1


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("read_only", [None, False, True])
def test_block_with_characteristics_needs_no_reset(
    level: t.Any, read_only: bool | None
) -> None:
    if "MariaDB" not in get_db().get_server_info():
        pytest.skip("MySQL reports SET TRANSACTION as a change of the session")
    with transaction(isolation_level=level, read_only=read_only) as db:
        execute(db, "SELECT 1")
    assert not db.session.state.changed


@pytest.mark.usefixtures("context")
def test_read_only_block(ledger: Ledger) -> None:
    with pytest.raises(pymysql.err.MySQLError) as caught:
        with transaction(read_only=True) as db:
            assert execute(db, "SELECT v FROM ledger WHERE id = 1") == ((0,),)
            change(db, 1)
    assert caught.value.args[0] == 1792
    with transaction() as db:
        change(db, 2)
    with transaction(read_only=False, isolation_level="SERIALIZABLE") as db:
        change(db, 2)
    assert ledger.rows == {1: 0, 2: 2}


@pytest.mark.usefixtures("context")
def test_characteristics_are_for_the_outermost_block(ledger: Ledger) -> None:
    with transaction() as db:
        change(db, 1)
        for wrong in ({"read_only": False}, {"isolation_level": "SERIALIZABLE"}):
            with pytest.raises(pymysql.err.ProgrammingError, match="outermost"):
                transaction(**t.cast(t.Any, wrong)).__enter__()
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.usefixtures("context")
def test_characteristics_of_a_repeated_function(ledger: Ledger) -> None:
    work = Work(1213)
    with pytest.raises(pymysql.err.MySQLError):
        transactional(read_only=True)(work)()
    assert transactional(isolation_level="SERIALIZABLE")(work)() == 3


def test_wrong_characteristics_are_refused_at_once() -> None:
    wrong: t.Any = "SNAPSHOT"
    for function in (transaction, transactional):
        make: t.Any = function
        with pytest.raises(ValueError, match="isolation_level must be one of"):
            make(isolation_level=wrong)
        with pytest.raises(TypeError, match="read_only must be"):
            make(read_only="yes")
