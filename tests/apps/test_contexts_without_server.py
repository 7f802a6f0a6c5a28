"""App contexts on pools of fake sessions: what threads and interrupts do to them."""

from __future__ import annotations

import threading
import typing as t
from collections.abc import Callable

import flask
import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool import MySQLPool
from flask_mysqlpool import PoolClosed
from flask_mysqlpool import PoolError
from flask_mysqlpool import PoolFull
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool.pool.pools import Pools

from ..support.fake_session import FakeConnector
from ..support.fake_session import FakeSession
from ..support.fake_session import session_of
from ..support.fake_session import URL
from ..support.flask_apps import in_copy_of_context
from ..support.flask_apps import raises_at_teardown
from ..support.waiting import wait_until

Binds = dict[str, dict[str, t.Any]]


def app_with(binds: Binds) -> flask.Flask:
    """An app whose connections are fake sessions, one for each bind."""
    app = flask.Flask("an_app", root_path="/")
    app.config["MYSQLPOOL_URL"] = URL
    app.config["MYSQLPOOL_MAX_SIZE"] = 1
    app.config["MYSQLPOOL_TIMEOUT"] = 2
    app.config["MYSQLPOOL_BINDS"] = binds
    MySQLPool(app)
    for pool in pools_of(app).values():
        pool._checkout.connector = FakeConnector()
        pool.on_first_use.clear()
    return app


def pools_of(app: flask.Flask) -> Pools:
    pools: Pools = app.extensions["mysqlpool"]
    return pools


def test_bind_in_hand_does_not_wait_for_another_bind() -> None:
    app = app_with({"other": {"timeout": 30}})
    other = pools_of(app)["other"]
    held = other.connection()
    with app.app_context():
        db = get_db()
        thread = in_copy_of_context(get_db, "other")
        wait_until(lambda: other.stats().waiting == 1)
        assert get_db() is db
        assert other.stats().waiting == 1, "it went on only when the other had ended"
        held.close()
        thread.join(10)
        assert not thread.is_alive()


def test_first_use_of_a_bind_does_not_wait_for_another_bind() -> None:
    app = app_with({"other": {"timeout": 30}})
    other = pools_of(app)["other"]
    held = other.connection()
    with app.app_context():
        thread = in_copy_of_context(get_db, "other")
        wait_until(lambda: other.stats().waiting == 1)
        assert get_db().open
        assert other.stats().waiting == 1, "it went on only when the other had ended"
        held.close()
        thread.join(10)
        assert not thread.is_alive()


def time_out(app: flask.Flask) -> None:
    with pools_of(app)["slow"].connection():
        pools_of(app)["slow"].connection(timeout=0)


def find_the_queue_full(app: flask.Flask) -> None:
    pool = pools_of(app)["slow"]
    with pool.connection():
        thread = threading.Thread(target=lambda: pool.connection().close())
        thread.start()
        wait_until(lambda: pool.stats().waiting == 1)
        try:
            get_db("slow")
        finally:
            pool.recycle()
    thread.join(10)


def find_it_closed(app: flask.Flask) -> None:
    pools_of(app)["slow"].close()
    get_db("slow")


@pytest.mark.parametrize(
    ("fail", "kind"),
    [
        (time_out, PoolTimeout),
        (find_the_queue_full, PoolFull),
        (find_it_closed, PoolClosed),
    ],
)
def test_retry_after_is_the_timeout_of_the_bind(
    fail: Callable[[flask.Flask], None], kind: type[PoolError]
) -> None:
    app = app_with({"slow": {"timeout": 60, "max_waiting": 1}})
    raised: list[Exception] = []

    @app.get("/")
    def view() -> str:
        try:
            fail(app)
        except PoolError as error:
            raised.append(error)
            raise
        return "no error"

    response = app.test_client().get("/")
    assert response.status_code == 503
    assert [type(each) for each in raised] == [kind]
    assert response.headers["Retry-After"] == "60"


@pytest.mark.parametrize(
    ("binds", "interrupted"),
    [(count, number) for count in (2, 3) for number in range(count)],
)
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupt_in_one_return_returns_the_other_binds(
    monkeypatch: pytest.MonkeyPatch,
    binds: int,
    interrupted: int,
    interrupt: type[BaseException],
) -> None:
    names = ["default", "first", "second"][:binds]
    app = app_with({name: {} for name in names[1:]})
    real = FakeSession.start_reset
    returned: list[FakeSession] = []

    def start_reset(session: FakeSession, mode: str) -> bool:
        returned.append(session)
        if len(returned) - 1 == interrupted:
            raise interrupt
        return real(session, mode)

    with raises_at_teardown(interrupt):
        with app.app_context():
            taken = [session_of(get_db(name)) for name in names]
            monkeypatch.setattr(FakeSession, "start_reset", start_reset)
    assert set(returned) == set(taken), "each was returned"
    monkeypatch.undo()
    for pool in pools_of(app).values():
        assert pool.stats().in_use == 0
        pool.connection(timeout=0).close()
    not_reset = returned[interrupted]
    assert not not_reset.alive, "how far its reset came is not known"


def test_interrupts_in_two_returns_return_the_third_bind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = app_with({"first": {}, "second": {}})
    real = FakeSession.start_reset
    errors: list[BaseException | None] = [KeyboardInterrupt(), SystemExit(), None]
    expected = errors[0]

    def start_reset(session: FakeSession, mode: str) -> bool:
        error = errors.pop(0)
        if error is not None:
            raise error
        return real(session, mode)

    with raises_at_teardown(KeyboardInterrupt) as raised:
        with app.app_context():
            for name in pools_of(app):
                get_db(name)
            monkeypatch.setattr(FakeSession, "start_reset", start_reset)
    assert raised == [expected] and errors == []
    monkeypatch.undo()
    for pool in pools_of(app).values():
        assert pool.stats().in_use == 0
        pool.connection(timeout=0).close()
