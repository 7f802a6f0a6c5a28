"""One thread calls on each pool when it is due or asks for it, and ends with them."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
import typing as t
import weakref
from collections.abc import Iterator

import pytest

from flask_mysqlpool.pool.housekeeper import Housekeeper
from flask_mysqlpool.pool.housekeeper import MIN_PAUSE

from ...support.waiting import wait_until

THREAD = "mysqlpool-housekeeper"


class FakePool:
    """What the housekeeper needs of a pool; it notes when it was called on."""

    def __init__(self, pause: float = 3600.0) -> None:
        self.pause = pause
        self.closed = False
        self.on_need: t.Callable[[], None] = lambda: None
        self.visits: list[float] = []
        self.error: Exception | None = None

    def maintain(self) -> float:
        self.visits.append(time.monotonic())
        if self.error is not None:
            raise self.error
        return self.pause

    def close(self) -> None:
        self.closed = True
        self.on_need()


@pytest.fixture
def pools() -> Iterator[list[FakePool]]:
    """Pools that are closed after the test, so that no thread is left."""
    pools: list[FakePool] = []
    yield pools
    for pool in pools:
        pool.close()


def new_pool(pools: list[FakePool], pause: float = 3600.0) -> FakePool:
    pools.append(FakePool(pause))
    return pools[-1]


def running(keeper: Housekeeper) -> bool:
    thread = keeper.thread
    return thread is not None and thread.is_alive()


def test_watched_pool_is_called_on_at_once(pools: list[FakePool]) -> None:
    keeper, pool = Housekeeper(), new_pool(pools)
    assert not running(keeper)
    keeper.watch(pool)
    wait_until(lambda: pool.visits)
    assert running(keeper)
    for _ in range(20):  # the thread sleeps until the others are due
        another = new_pool(pools)
        keeper.watch(another)
        wait_until(lambda another=another: another.visits)  # type: ignore[misc]


def test_new_pool_is_no_work_for_the_others(pools: list[FakePool]) -> None:
    keeper, first = Housekeeper(), new_pool(pools)
    keeper.watch(first)
    wait_until(lambda: first.visits)
    for _ in range(20):
        another = new_pool(pools)
        keeper.watch(another)
        wait_until(lambda another=another: another.visits)  # type: ignore[misc]
    assert len(first.visits) == 1


def test_pool_is_called_on_when_it_is_due(pools: list[FakePool]) -> None:
    keeper, often, seldom = Housekeeper(), new_pool(pools, 0.05), new_pool(pools)
    keeper.watch(often)
    keeper.watch(seldom)
    wait_until(lambda: len(seldom.visits) >= 1)
    visits = len(seldom.visits)
    wait_until(lambda: len(often.visits) >= 5)
    assert len(seldom.visits) == visits
    gaps = [b - a for a, b in zip(often.visits[1:], often.visits[2:], strict=False)]
    assert min(gaps) >= 0.04  # the first visits were asked for


def test_pool_that_wants_no_pause_keeps_no_processor_busy(
    pools: list[FakePool],
) -> None:
    keeper, pool = Housekeeper(), new_pool(pools, 0.0)
    keeper.watch(pool)
    wait_until(lambda: len(pool.visits) >= 10)
    gaps = [b - a for a, b in zip(pool.visits[1:], pool.visits[2:], strict=False)]
    assert min(gaps) >= MIN_PAUSE / 2


def test_pool_in_need_is_called_on_at_once(pools: list[FakePool]) -> None:
    keeper, pool = Housekeeper(), new_pool(pools)
    keeper.watch(pool)
    wait_until(lambda: pool.visits)
    for _ in range(3):
        before = len(pool.visits)
        pool.on_need()
        wait_until(lambda before=before: len(pool.visits) > before)  # type: ignore[misc]


def test_many_calls_are_answered_by_few_visits(pools: list[FakePool]) -> None:
    keeper, pool = Housekeeper(), new_pool(pools)
    inside, go_on = threading.Event(), threading.Event()
    maintain = pool.maintain

    def slow_maintain() -> float:
        inside.set()
        go_on.wait(10)
        return maintain()

    pool.maintain = slow_maintain  # type: ignore[method-assign]
    keeper.watch(pool)
    assert inside.wait(10)
    for _ in range(1000):
        pool.on_need()
    go_on.set()
    wait_until(lambda: len(pool.visits) >= 2)
    assert len(pool.visits) <= 3


def test_error_of_one_pool_is_logged_and_stops_no_other(
    pools: list[FakePool], caplog: pytest.LogCaptureFixture
) -> None:
    keeper, broken, well = Housekeeper(), new_pool(pools), new_pool(pools)
    broken.error = ValueError("broken")
    with caplog.at_level(logging.ERROR, "flask_mysqlpool.pool.housekeeper"):
        keeper.watch(broken)
        wait_until(lambda: broken.visits)
        keeper.watch(well)
        wait_until(lambda: well.visits)
    assert "the maintenance of" in caplog.text
    broken.on_need()
    wait_until(lambda: len(broken.visits) > 1)


def test_thread_ends_with_the_last_pool_and_starts_again(
    pools: list[FakePool],
) -> None:
    keeper, one, two = Housekeeper(), new_pool(pools), new_pool(pools)
    keeper.watch(one)
    keeper.watch(two)
    wait_until(lambda: one.visits and two.visits)
    thread = keeper.thread
    assert thread is not None and thread.daemon and thread.name == THREAD
    one.close()
    visits = len(two.visits)
    two.on_need()
    wait_until(lambda: len(two.visits) > visits)
    assert running(keeper)
    two.close()
    wait_until(lambda: not thread.is_alive())
    assert not running(keeper)
    three = new_pool(pools)
    keeper.watch(three)
    wait_until(lambda: three.visits)
    assert keeper.thread is not thread


def test_closed_pool_is_called_on_no_more(pools: list[FakePool]) -> None:
    keeper, closed, other = Housekeeper(), new_pool(pools, 0.01), new_pool(pools)
    keeper.watch(other)
    keeper.watch(closed)
    wait_until(lambda: closed.visits)
    closed.close()
    wait_until(lambda: closed not in keeper.watched())
    visits = len(closed.visits), len(other.visits)
    other.on_need()
    wait_until(lambda: len(other.visits) > visits[1])
    assert len(closed.visits) == visits[0]


def test_pool_is_not_kept_alive(pools: list[FakePool]) -> None:
    keeper, other = Housekeeper(), new_pool(pools)
    keeper.watch(other)
    dropped = FakePool(0.01)
    gone, visits = weakref.ref(dropped), dropped.visits
    keeper.watch(dropped)
    wait_until(lambda: len(visits) > 2)
    del dropped
    wait_until(lambda: gc.collect() is not None and gone() is None)
    assert running(keeper)


def test_thread_ends_when_no_pool_is_left() -> None:
    keeper = Housekeeper()
    pool = FakePool(0.01)
    visits = pool.visits
    keeper.watch(pool)
    wait_until(lambda: visits)
    del pool
    wait_until(lambda: not running(keeper))


def test_where_no_thread_can_run_is_logged(
    pools: list[FakePool],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    keeper, pool = Housekeeper(), new_pool(pools)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    keeper.watch(pool)
    assert "no housekeeper thread: can't start new thread" in caplog.text
    monkeypatch.undo()
    keeper.watch(new_pool(pools))
    wait_until(lambda: pool.visits)


def test_child_starts_a_thread_when_one_is_needed(pools: list[FakePool]) -> None:
    keeper, pool = Housekeeper(), new_pool(pools)
    keeper.watch(pool)
    wait_until(lambda: pool.visits)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        os._exit(_report_from_child(keeper, pool, write))
    os.close(write)
    with os.fdopen(read) as report:
        assert report.read().split() == ["none", "before", "one", "after", "ended"]
    assert os.waitpid(child, 0)[1] == 0
    assert running(keeper)
    visits = len(pool.visits)
    pool.on_need()
    wait_until(lambda: len(pool.visits) > visits)


def _report_from_child(keeper: Housekeeper, inherited: FakePool, write: int) -> int:
    """Say what the child sees; return its exit status."""

    def say(word: str) -> None:
        os.write(write, f"{word}\n".encode())

    try:
        if THREAD not in {thread.name for thread in threading.enumerate()}:
            say("none")
        visits = len(inherited.visits)
        inherited.on_need()  # a checkout of the parent's pool may call
        say("before" if not running(keeper) else "a thread already")
        own = FakePool()
        keeper.watch(own)
        wait_until(lambda: own.visits)
        say("one" if running(keeper) else "no thread")
        say("after" if len(inherited.visits) == visits else "inherited pool visited")
        own.close()
        wait_until(lambda: not running(keeper))
        say("ended")
        return 0
    except BaseException as error:
        say(repr(error))
        return 1
