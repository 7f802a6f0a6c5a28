"""A handle that another thread returned hurts only itself: who has the session now is
not affected. Each test returns the handle, and lends its session to another borrower,
at one step of what its first thread does.
"""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable

import pytest

from flask_mysqlpool import Pool
from flask_mysqlpool import PooledConnection
from flask_mysqlpool import StaleConnectionError

from ...support.fake_session import fake_pool
from ...support.fake_session import session_of


class Takeover:
    """Returns :attr:`stale` and lends its session on, once."""

    def __init__(self, pool: Pool, takes_block: bool = False) -> None:
        self.pool = pool
        self.stale = pool.connection(holder="GET shared")
        self.session = session_of(self.stale)
        self.borrowers: list[PooledConnection] = []
        self.blocks = contextlib.ExitStack()
        self._takes_block = takes_block

    def happen(self) -> None:
        if self.borrowers:
            return
        self.stale.close()
        self.borrowers.append(self.pool.connection(holder="GET other", timeout=0))
        assert session_of(self.borrowers[0]) is self.session
        if self._takes_block:
            self.blocks.enter_context(self.borrowers[0].transaction())
        self.session.calls.clear()

    def check(self) -> None:
        """Check that the borrower has its session, and nothing was done to it."""
        (db,) = self.borrowers
        assert self.session.calls == []
        assert self.session.alive
        if self._takes_block:
            self.blocks.close()
            assert self.session.calls == ["COMMIT"]
        else:
            db.commit()
            db.ping()
            with db.transaction():
                pass
        db.close()
        assert self.pool.stats().in_use == 0


def at_exchange(
    monkeypatch: pytest.MonkeyPatch,
    takeover: Takeover,
    number: int,
    when: t.Literal["before", "after"],
) -> None:
    """Let it happen before or after the exchange of this number of the handle."""
    real, count = PooledConnection.exchange, 0

    def exchange(self: PooledConnection, *args: t.Any, **keywords: t.Any) -> t.Any:
        nonlocal count
        count += self is takeover.stale
        due = self is takeover.stale and count == number
        if due and when == "before":
            takeover.happen()
        result = real(self, *args, **keywords)
        if due and when == "after":
            takeover.happen()
        return result

    monkeypatch.setattr(PooledConnection, "exchange", exchange)


@pytest.mark.parametrize("takes_block", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
def test_return_as_a_block_begins_concerns_only_the_block(
    monkeypatch: pytest.MonkeyPatch,
    when: t.Literal["before", "after"],
    takes_block: bool,
) -> None:
    takeover = Takeover(fake_pool(max_size=1), takes_block)
    at_exchange(monkeypatch, takeover, 1, when)  # BEGIN
    with pytest.raises(StaleConnectionError):
        with takeover.stale.transaction():
            assert when == "after"
    takeover.check()


@pytest.mark.parametrize("takes_block", [False, True])
def test_return_within_a_block_concerns_only_the_block(takes_block: bool) -> None:
    takeover = Takeover(fake_pool(max_size=1), takes_block)
    with pytest.raises(StaleConnectionError):
        with takeover.stale.transaction():
            takeover.happen()
    takeover.check()


@pytest.mark.parametrize("takes_block", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
def test_return_as_a_block_ends_concerns_only_the_block(
    monkeypatch: pytest.MonkeyPatch,
    when: t.Literal["before", "after"],
    takes_block: bool,
) -> None:
    takeover = Takeover(fake_pool(max_size=1), takes_block)
    at_exchange(monkeypatch, takeover, 2, when)  # COMMIT
    raises: Callable[[], t.Any] = contextlib.nullcontext
    if when == "before":  # else it is committed
        raises = lambda: pytest.raises(StaleConnectionError)  # noqa: E731
    with raises(), takeover.stale.transaction():
        pass
    takeover.check()


@pytest.mark.parametrize("takes_block", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
def test_return_as_a_block_rolls_back_concerns_only_the_block(
    monkeypatch: pytest.MonkeyPatch,
    when: t.Literal["before", "after"],
    takes_block: bool,
) -> None:
    takeover = Takeover(fake_pool(max_size=1), takes_block)
    at_exchange(monkeypatch, takeover, 2, when)  # ROLLBACK
    with pytest.raises(ZeroDivisionError):
        with takeover.stale.transaction():
            raise ZeroDivisionError
    takeover.check()


@pytest.mark.parametrize("takes_block", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [2, 3])
def test_return_at_a_savepoint_concerns_only_the_blocks(
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    when: t.Literal["before", "after"],
    takes_block: bool,
) -> None:
    takeover = Takeover(fake_pool(max_size=1), takes_block)
    at_exchange(monkeypatch, takeover, number, when)  # SAVEPOINT, RELEASE SAVEPOINT
    with pytest.raises(StaleConnectionError):
        with takeover.stale.transaction(), takeover.stale.transaction():
            pass
    takeover.check()


class TakenOverLock:
    """The lock of a handle that is returned just before it is taken."""

    def __init__(self, lock: t.Any, takeover: Takeover) -> None:
        self._lock = lock
        self._takeover = takeover

    def acquire(self, blocking: bool) -> bool:
        self._takeover.stale._exchange_lock = self._lock
        self._takeover.happen()
        return t.cast(bool, self._lock.acquire(blocking))

    def release(self) -> None:
        self._lock.release()


USES: dict[str, Callable[[PooledConnection], t.Any]] = {
    "ping": lambda db: db.ping(),
    "query": lambda db: db.query("SELECT 1"),
    "commit": lambda db: db.commit(),
    "begin": lambda db: db.begin(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_return_just_before_an_exchange_makes_it_stale_not_busy(
    use: Callable[[PooledConnection], t.Any],
) -> None:
    takeover = Takeover(fake_pool(max_size=1))
    lock = takeover.stale._exchange_lock
    takeover.stale._exchange_lock = TakenOverLock(lock, takeover)  # type: ignore[assignment]
    with pytest.raises(StaleConnectionError):
        use(takeover.stale)
    takeover.check()


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_returned_handle_is_stale_not_busy_while_its_lock_is_taken(
    use: Callable[[PooledConnection], t.Any],
) -> None:
    takeover = Takeover(fake_pool(max_size=1))
    takeover.happen()
    assert takeover.stale._exchange_lock.locked()
    with pytest.raises(StaleConnectionError):
        use(takeover.stale)
    takeover.check()


def test_block_of_a_returned_handle_does_not_begin() -> None:
    db = fake_pool(max_size=1).connection()
    db.close()
    with pytest.raises(StaleConnectionError):
        with db:
            pytest.fail("the block has begun")
