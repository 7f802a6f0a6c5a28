"""A transaction() block is all or nothing, whatever the server or the network does."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Iterator

import flask
import pymysql
import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool import NotInitializedError
from flask_mysqlpool import transaction
from flask_mysqlpool.pool.transaction import TransactionEnded

from ..support.flask_apps import MakeApp
from ..support.ledger import change
from ..support.ledger import deadlock
from ..support.ledger import Ledger
from ..support.ledger import NOTHING
from ..support.ledger import swallow
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


class Stop(BaseException):
    """What SystemExit or a greenlet's timeout is."""


# All


@pytest.mark.usefixtures("context")
def test_block_is_committed_at_its_end(ledger: Ledger) -> None:
    with transaction() as db:
        assert db is get_db()
        change(db, 1, -5)
        change(get_db(), 2, +5)
        assert ledger.rows == NOTHING
    assert ledger.rows == {1: -5, 2: 5}


@pytest.mark.usefixtures("context")
def test_one_block_after_the_other(ledger: Ledger) -> None:
    for account in (1, 2):
        with transaction() as db:
            change(db, account)
    assert ledger.rows == {1: 1, 2: 1}


def test_transaction_on_another_bind(make_app: MakeApp, ledger: Ledger) -> None:
    with make_app(binds={"reports": {}}).app_context():
        with transaction("reports") as db:
            assert db is get_db("reports")
            change(db, 1)
            change(get_db(), 2)
        assert ledger.rows == {1: 1, 2: 0}


def test_transaction_without_flask(make_pool: MakePool, ledger: Ledger) -> None:
    with make_pool().connection() as db:
        with db.transaction():
            change(db, 1)
        with pytest.raises(Stop), db.transaction():
            change(db, 2)
            raise Stop
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.usefixtures("context")
def test_transaction_as_decorator(ledger: Ledger) -> None:
    @transaction()
    def transfer() -> None:
        change(get_db(), 1)

    transfer()
    transfer()
    assert ledger.rows == {1: 2, 2: 0}


def test_transaction_outside_an_app_context() -> None:
    with pytest.raises(NotInitializedError, match="app.app_context"):
        with transaction():
            raise AssertionError("the body runs")


# Nothing


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize(
    "error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, Stop]
)
def test_block_is_rolled_back_on_any_exception(
    ledger: Ledger, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        with transaction() as db:
            change(db, 1)
            raise error
    with transaction() as db:  # at once, not at the return
        assert execute(db, "SELECT v FROM ledger WHERE id = 1") == ((0,),)
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
def test_block_is_rolled_back_when_the_view_is_left(ledger: Ledger) -> None:
    def leave() -> str:
        with transaction() as db:
            change(db, 1)
            return "committed"

    assert leave() == "committed"
    assert ledger.rows == {1: 1, 2: 0}


# Blocks within blocks


@pytest.mark.usefixtures("context")
def test_inner_block_is_undone_alone(ledger: Ledger) -> None:
    with transaction() as db:
        change(db, 1)
        with pytest.raises(Stop):
            with transaction() as inner:
                assert inner is db
                change(db, 2)
                raise Stop
        change(db, 1, 10)
    assert ledger.rows == {1: 11, 2: 0}


@pytest.mark.usefixtures("context")
def test_inner_block_is_committed_by_the_outermost_only(ledger: Ledger) -> None:
    with transaction() as db:
        with transaction():
            with transaction():
                change(db, 1)
            assert ledger.rows == NOTHING
        assert ledger.rows == NOTHING
        with transaction():
            change(db, 2)
    assert ledger.rows == {1: 1, 2: 1}


@pytest.mark.usefixtures("context")
def test_inner_block_goes_with_the_outer_one(ledger: Ledger) -> None:
    with pytest.raises(ValueError):
        with transaction() as db:
            with transaction():
                change(db, 1)
            raise ValueError
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
def test_innermost_of_three_is_undone_alone(ledger: Ledger) -> None:
    with transaction() as db:
        change(db, 1, 1)
        with transaction():
            change(db, 1, 10)
            with contextlib.suppress(ValueError), transaction():
                change(db, 1, 100)
                raise ValueError
            change(db, 1, 1000)
    assert ledger.rows == {1: 1011, 2: 0}


# The server rolls back


@pytest.mark.usefixtures("context")
def test_deadlock_fails_the_block(ledger: Ledger) -> None:
    with pytest.raises(pymysql.err.OperationalError) as caught:
        with transaction() as db:
            change(db, 1)
            deadlock(ledger, db)
    assert caught.value.args[0] == 1213
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_swallowed_deadlock_fails_the_block(ledger: Ledger, blocks: int) -> None:
    with pytest.raises(pymysql.err.OperationalError, match="ended the whole") as caught:
        with contextlib.ExitStack() as stack:
            db = [stack.enter_context(transaction()) for _ in range(blocks)][0]
            change(db, 1)
            with contextlib.suppress(pymysql.err.OperationalError):
                deadlock(ledger, db)
    assert caught.value.args[0] == 1213
    assert caught.value.__cause__ is not None
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("blocks", [1, 2])
def test_nothing_is_executed_after_a_swallowed_deadlock(
    ledger: Ledger, blocks: int
) -> None:
    uses: list[t.Callable[[t.Any], t.Any]] = [
        lambda db: change(db, 1),
        lambda db: execute(db, "SELECT 1"),
        lambda db: db.query("UPDATE ledger SET v = 7"),
        lambda db: db.ping(),
        lambda db: db.select_db("mysql"),
        lambda db: transaction().__enter__(),
    ]
    with pytest.raises(pymysql.err.OperationalError, match="ended the whole"):
        with contextlib.ExitStack() as stack:
            db = [stack.enter_context(transaction()) for _ in range(blocks)][0]
            change(db, 1)
            with contextlib.suppress(pymysql.err.OperationalError):
                deadlock(ledger, db)
            for use in uses * 2:
                with pytest.raises(
                    pymysql.err.OperationalError, match="ended the whole"
                ):
                    use(db)
    assert ledger.rows == NOTHING
    with transaction():  # that was the block's end, not the connection's
        change(db, 1)
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("swallowed", ["within", "outside"])
def test_deadlock_in_an_inner_block_fails_the_outer_one(
    ledger: Ledger, swallowed: str
) -> None:
    with pytest.raises(pymysql.err.OperationalError, match="ended the whole"):
        with transaction() as db:
            change(db, 1)
            with contextlib.suppress(pymysql.err.OperationalError), transaction():
                with contextlib.ExitStack() as stack:
                    if swallowed == "within":
                        stack.enter_context(
                            contextlib.suppress(pymysql.err.OperationalError)
                        )
                    deadlock(ledger, db)
            with pytest.raises(pymysql.err.OperationalError, match="ended the whole"):
                change(db, 2)
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
def test_other_exception_after_a_swallowed_deadlock_is_kept(ledger: Ledger) -> None:
    with pytest.raises(ValueError):
        with transaction() as db:
            change(db, 1)
            with contextlib.suppress(pymysql.err.OperationalError):
                deadlock(ledger, db)
            raise ValueError
    with transaction():
        change(db, 2)
    assert ledger.rows == {1: 0, 2: 1}


@pytest.mark.usefixtures("context")
def test_swallowed_error_of_a_statement_that_committed(ledger: Ledger) -> None:
    with pytest.raises(TransactionEnded):
        with transaction() as db:
            change(db, 1)
            with pytest.raises(pymysql.Error):
                execute(db, "DROP TRIGGER there_is_none")
            with pytest.raises(TransactionEnded):
                change(db, 2)
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.usefixtures("context")
def test_error_that_undoes_one_statement_may_be_swallowed(ledger: Ledger) -> None:
    with transaction() as db:
        change(db, 1)
        with pytest.raises(pymysql.err.IntegrityError):
            execute(db, "INSERT INTO ledger VALUES (1, 0)")
        with pytest.raises(pymysql.err.ProgrammingError):
            execute(db, "SELEKT")
        with contextlib.suppress(pymysql.err.IntegrityError), transaction():
            change(db, 1, 50)
            execute(db, "INSERT INTO ledger VALUES (1, 0)")
        change(db, 2)
    assert ledger.rows == {1: 1, 2: 1}


# The connection is lost


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("trouble_before", [False, True])
def test_swallowed_loss_of_the_connection_fails_the_block(
    site: flask.Flask, ledger: Ledger, blocks: int, trouble_before: bool
) -> None:
    with pytest.raises(pymysql.err.InterfaceError, match="connection was lost"):
        with contextlib.ExitStack() as stack:
            db = [stack.enter_context(transaction()) for _ in range(blocks)][0]
            change(db, 1)
            if trouble_before:
                with pytest.raises(pymysql.err.IntegrityError):
                    execute(db, "INSERT INTO ledger VALUES (1, 0)")
            ledger.kill(db.thread_id())
            first, *others = swallow(db, 2, 3)
            assert isinstance(first, pymysql.err.OperationalError)
            assert len(others) == 2
            for error in others:
                assert isinstance(error, pymysql.err.InterfaceError)
                assert "connection was lost" in str(error)
                assert "Duplicate" not in str(error), "that was not what lost it"
    assert ledger.rows == NOTHING
    db.close()
    with transaction() as db:
        change(db, 1)
    assert ledger.rows == {1: 1, 2: 0}


@pytest.mark.usefixtures("context")
def test_loss_of_the_connection_in_an_inner_block_fails_the_outer_one(
    ledger: Ledger,
) -> None:
    with pytest.raises(pymysql.err.InterfaceError, match="connection was lost"):
        with transaction() as db:
            change(db, 1)
            with contextlib.suppress(pymysql.Error), transaction():
                ledger.kill(db.thread_id())
                change(db, 2)
            assert len(swallow(db, 2, 3)) == 3
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
def test_commit_that_the_server_refuses(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: t.Any) -> t.NoReturn:
        raise pymysql.err.OperationalError(1213, "as a cluster does")

    with monkeypatch.context() as patch:
        patch.setattr(pymysql.connections.Connection, "commit", refuse)
        with pytest.raises(pymysql.err.OperationalError, match="as a cluster does"):
            with transaction() as db:
                change(db, 1)
    assert ledger.rows == NOTHING
    with transaction() as db:  # the connection stands
        change(db, 2)
    assert ledger.rows == {1: 0, 2: 1}


def test_commit_whose_answer_is_lost_is_not_repeated(
    make_app: MakeApp, ledger: Ledger, mysql_url: str
) -> None:
    with TCPProxy(mysql_url) as proxy, make_app(url=proxy.url).app_context():
        with pytest.raises(pymysql.err.OperationalError):
            with transaction() as db:
                change(db, 1)
                proxy.sessions[0].cut_after(0)
        assert ledger.rows == {1: 1, 2: 0}, "the server has done it, once"
        assert len(proxy.sessions) == 1
        db.close()
