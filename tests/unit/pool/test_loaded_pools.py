"""Pools that are loaded on demand: one for each name, bounded in number, and nothing is
kept of a name that the loader does not know.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import traceback
import typing as t
import weakref
from collections import Counter
from collections.abc import Callable

import pytest

from flask_mysqlpool import NotInitializedError
from flask_mysqlpool import Pool
from flask_mysqlpool import PoolFull
from flask_mysqlpool import UnknownBindError
from flask_mysqlpool.pool.loaded import LoadedPools
from flask_mysqlpool.pool.pools import Pools
from flask_mysqlpool.stats.readings import LOADED
from flask_mysqlpool.stats.readings import MAX_ENDPOINTS
from flask_mysqlpool.stats.readings import PoolStats

from ...support.fake_session import connector_of
from ...support.fake_session import fake_pool
from ...support.forked_child import ForkedChild
from ...support.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Tenants:
    """A loader that knows each name which begins with ``t``."""

    loads = True

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.before: Callable[[str], object] = lambda name: None

    def load(self, name: str) -> Pool | None:
        self.asked[name] += 1
        self.before(name)
        return fake_pool(max_size=1) if name.startswith("t") else None


@pytest.fixture
def tenants() -> Tenants:
    return Tenants()


@pytest.fixture
def pools(tenants: Tenants) -> Pools:
    return Pools({"default": fake_pool()}, tenants, 3)


def in_threads(number: int, call: Callable[[], object]) -> list[t.Any]:
    """Return what the calls return or raise, all begun at the same time."""
    outcomes: list[t.Any] = []
    barrier = threading.Barrier(number)

    def run() -> None:
        barrier.wait(10)
        try:
            outcomes.append(call())
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return outcomes


# Loading


def test_name_is_loaded_once(pools: Pools, tenants: Tenants) -> None:
    assert pools["t1"] is pools.load("t1") is pools["t1"]
    assert tenants.asked == {"t1": 1}
    assert list(pools) == ["default", "t1"]
    assert pools["default"] is pools.configured["default"]


def test_concurrent_first_uses_share_one_call(pools: Pools, tenants: Tenants) -> None:
    loading, go_on = threading.Event(), threading.Event()

    def wait(name: str) -> None:
        loading.set()
        go_on.wait(10)

    tenants.before = wait
    first = threading.Thread(target=pools.load, args=("t1",))
    first.start()
    assert loading.wait(10)
    other = threading.Thread(target=pools.load, args=("t2",))  # is not kept waiting
    other.start()
    wait_until(lambda: tenants.asked["t2"] == 1)
    releaser = threading.Timer(0.1, go_on.set)
    releaser.start()
    found = in_threads(8, lambda: pools.load("t1"))
    for thread in (first, other, releaser):
        thread.join(10)
    assert {id(pool) for pool in found} == {id(pools["t1"])}
    assert tenants.asked == {"t1": 1, "t2": 1}


def test_error_of_the_loader_reaches_all_who_wait_and_nobody_later(
    pools: Pools, tenants: Tenants
) -> None:
    class Down(Exception):
        pass

    loading, go_on = threading.Event(), threading.Event()

    def fail(name: str) -> None:
        loading.set()
        go_on.wait(10)
        raise Down

    tenants.before = fail
    outcomes: list[t.Any] = []

    def ask() -> None:
        try:
            pools.load("t1")
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    threads[0].start()
    assert loading.wait(10)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(callers_of("load")) == 4)
    go_on.set()
    for thread in threads:
        thread.join(10)
    # Each has an error of its own: one of all would have the frames of all.
    assert len({id(error) for error in outcomes}) == 4
    for error in outcomes:
        asked = [
            f
            for f, _ in traceback.walk_tb(error.__traceback__)
            if f.f_code is ask.__code__
        ]
        assert len(asked) == 1
    assert [type(each) for each in outcomes] == [Down] * 4
    assert tenants.asked["t1"] == 1
    tenants.before = lambda name: None
    assert pools.load("t1") is pools["t1"]
    assert tenants.asked["t1"] == 2


def callers_of(function: str) -> list[str]:
    """Return for each thread that is within this method of the pools its innermost
    function.
    """
    found = []
    for frame in sys._current_frames().values():
        innermost, each = frame.f_code.co_name, t.cast(t.Any, frame)
        while each is not None:
            if each.f_code is getattr(Pools, function).__code__:
                found.append(innermost)
                break
            each = each.f_back
    return found


def test_interrupt_in_the_loader_is_one_callers_own(
    pools: Pools, tenants: Tenants
) -> None:
    def interrupt(name: str) -> None:
        if tenants.asked[name] == 1:
            raise KeyboardInterrupt

    tenants.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        pools.load("t1")
    assert pools.load("t1") is pools["t1"]


@pytest.mark.parametrize(
    "name", ["", LOADED, "t\n", "t\x1b[2J", "t\u202e", "t\ud800", "\0", None, 5]
)
def test_name_that_cannot_be_shown_is_not_asked_for(
    pools: Pools, tenants: Tenants, name: t.Any
) -> None:
    with pytest.raises(UnknownBindError):
        pools.load(name)
    assert not tenants.asked


def test_unknown_names_leave_nothing(pools: Pools, tenants: Tenants) -> None:
    pools.load("t1")
    for number in range(1000):
        with pytest.raises(UnknownBindError, match=f"there is no bind 'x{number}'"):
            pools.load(f"x{number}")
    assert list(pools) == ["default", "t1"]
    assert pools.loaded.stats().max_size == 1
    (calls,) = pools._calls.values()
    assert not calls._by_name
    assert tenants.asked["x7"] == 1


class Thing:
    """What a caller has in a variable."""


def test_errors_keep_nothing_of_their_callers(pools: Pools, tenants: Tenants) -> None:
    def ask() -> None:
        thing = Thing()
        things.append(weakref.ref(thing))
        both.wait(10)
        pools.load("x")

    def fail() -> None:
        with contextlib.suppress(UnknownBindError):
            ask()

    things: list[weakref.ref[Thing]] = []
    both = threading.Barrier(2)
    tenants.before = lambda name: wait_until(lambda: len(callers_of("load")) == 2)
    gc.disable()
    try:
        threads = [threading.Thread(target=fail) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert tenants.asked["x"] == 1
        assert [thing() for thing in things] == [None, None]
    finally:
        gc.enable()


def test_unknown_names_close_nothing(pools: Pools) -> None:
    for name in ("t1", "t2", "t3"):
        pools.load(name)
    with pytest.raises(UnknownBindError):
        pools.load("x")
    assert not any(pool.closed for pool in pools.values())


def test_without_a_loader_there_are_only_those_of_the_settings() -> None:
    pools = Pools({"default": fake_pool(), "reports": fake_pool()})
    with pytest.raises(KeyError):
        pools["t1"]
    with pytest.raises(
        NotInitializedError, match="only 'default', 'reports'"
    ) as caught:
        pools.load("t1")
    assert type(caught.value) is NotInitializedError


# A loader that uses pools


def test_loader_may_use_another_bind(pools: Pools, tenants: Tenants) -> None:
    tenants.before = lambda name: pools["default"].connection().close()
    assert pools.load("t1") is pools["t1"]
    tenants.before = lambda name: pools.load("t1") if name == "t2" else None
    assert pools.load("t2") is pools["t2"]
    tenants.before = lambda name: pools.load("t4") if name == "t3" else None
    assert pools.load("t3") is pools["t3"]
    assert "t4" in pools


def test_loader_that_uses_its_own_bind_is_told_so(
    pools: Pools, tenants: Tenants
) -> None:
    tenants.before = pools.load
    with pytest.raises(NotInitializedError, match="itself uses bind 't1'"):
        pools.load("t1")
    tenants.before = lambda name: pools.load("t2" if name == "t1" else "t1")
    with pytest.raises(NotInitializedError, match="itself uses bind 't1'"):
        pools.load("t1")
    tenants.before = lambda name: None
    assert pools.load("t1") is pools["t1"]


def test_two_loads_that_use_each_other_do_not_wait_for_ever(
    pools: Pools, tenants: Tenants
) -> None:
    both = threading.Barrier(2)

    def use_the_other(name: str) -> None:
        if tenants.asked[name] == 1:
            both.wait(10)
        pools.load("t2" if name == "t1" else "t1")

    tenants.before = use_the_other
    names = iter(["t1", "t2"])
    outcomes = in_threads(2, lambda: pools.load(next(names)))
    assert [type(each) for each in outcomes] == [NotInitializedError] * 2


# Making room


def test_least_recently_asked_for_is_closed(pools: Pools, tenants: Tenants) -> None:
    first, second, third = (pools.load(name) for name in ("t1", "t2", "t3"))
    with second.connection():
        pass
    pools.load("t1")
    fourth = pools.load("t4")
    assert second.closed
    (session,) = connector_of(second).opened
    assert "quit" in session.calls
    assert not any(pool.closed for pool in (first, third, fourth))
    assert list(pools) == ["default", "t1", "t3", "t4"]
    assert pools.load("t2") is not second
    assert tenants.asked["t2"] == 2


def test_pool_in_use_is_not_closed(pools: Pools) -> None:
    first, second = pools.load("t1"), pools.load("t2")
    held = first.connection()
    pools.load("t3")
    pools.load("t4")
    assert not first.closed
    assert second.closed
    held.close()
    pools.load("t5")
    assert first.closed


def test_pool_that_opens_or_has_a_queue_is_not_closed(pools: Pools) -> None:
    first, second, third = (pools.load(name) for name in ("t1", "t2", "t3"))
    reservation = first._slots.reserve_for_minimum() or first._take(0.0, "", None, ())
    held = second.connection()
    waiter = second._take(0.0, "", None, ())
    pools.load("t4")
    assert [pool.closed for pool in (first, second, third)] == [False, False, True]
    del reservation, waiter
    held.close()
    pools.load("t5")
    pools.load("t6")
    assert first.closed
    assert second.closed


def test_dropped_connection_does_not_keep_its_pool(pools: Pools) -> None:
    first = pools.load("t1")
    first.connection()
    for name in ("t2", "t3", "t4"):
        pools.load(name)
    assert first.closed
    (session,) = connector_of(first).opened
    assert not session.alive


def test_error_says_that_all_are_in_use(pools: Pools) -> None:
    held = [pools.load(name).connection() for name in ("t1", "t2", "t3")]
    with pytest.raises(PoolFull, match="bind 't4' cannot be loaded") as caught:
        pools.load("t4")
    assert "MYSQLPOOL_MAX_BINDS" in str(caught.value)
    assert caught.value.retry_after == 0.3
    assert "t4" not in pools
    held[1].close()
    assert pools.load("t4") is pools["t4"]
    assert list(pools) == ["default", "t1", "t3", "t4"]
    for db in held:
        db.close()


def test_closed_pool_is_loaded_anew(pools: Pools, tenants: Tenants) -> None:
    first = pools.load("t1")
    first.close()
    second = pools["t1"]
    assert second is not first
    assert not second.closed
    assert tenants.asked["t1"] == 2
    assert list(pools) == ["default", "t1"]


def test_number_holds_whatever_threads_do(pools: Pools) -> None:
    names = [f"t{number}" for number in range(12)]
    most = []

    def use_all() -> None:
        for name in names:
            try:
                db = pools.load(name).connection()
            except PoolFull:
                continue
            except Exception as error:
                assert "is closed" in str(error)  # closed for another's
                continue
            most.append(len(dict(pools)) - 1)
            db.close()

    assert in_threads(6, use_all) == [None] * 6
    assert max(most) <= 3
    assert sorted(pools.loaded._pools) == sorted(pools.keys() - {"default"})


# Counting


def test_sum_of_the_loaded_never_goes_down(pools: Pools) -> None:
    before = PoolStats()
    for number in range(10):
        pool = pools.load(f"t{number}")
        pool.connection(holder=f"GET view{number % 2}").close()
        now = pools.loaded.stats()
        assert now.checkouts == before.checkouts + 1 == number + 1
        assert now.opened == now.checkouts
        assert now.opened - sum(now.closed.values()) == now.idle <= 3
        assert now.use_seconds.count == now.checkouts
        assert now.max_size == min(3, number + 1)
        before = now
    assert {name: each.checkouts for name, each in before.endpoints.items()} == {
        "GET view0": 5,
        "GET view1": 5,
    }


def test_sum_has_a_bounded_number_of_endpoints() -> None:
    loaded, index = LoadedPools(1), dict[str, Pool]()
    for name in ("t1", "t2", "t3"):
        pool = loaded.add(name, fake_pool(), index)
        for number in range(MAX_ENDPOINTS - 20):
            pool.connection(holder=f"{name} {number}").close()
        total = loaded.stats()
    assert len(total.endpoints) == MAX_ENDPOINTS + 1
    assert total.endpoints["(others)"].checkouts == 2 * MAX_ENDPOINTS - 60
    PoolStats.unpack(total.pack())
    (state,) = loaded._states.values()
    assert len(state.closed.endpoints) == MAX_ENDPOINTS + 1


# Forks


def test_child_counts_from_0_and_waits_for_no_lock(
    pools: Pools, tenants: Tenants
) -> None:
    def child() -> list[t.Any]:
        counted = pools.loaded.stats().checkouts
        with pools.load("t9").connection():
            pass
        return [counted, pools.loaded.stats().checkouts, sorted(pools)]

    for name in ("t1", "t2", "t3", "t4"):
        with pools.load(name).connection():
            pass
    assert pools.loaded.stats().checkouts == 4
    loading, go_on = threading.Event(), threading.Event()

    def wait(name: str) -> None:
        loading.set()
        go_on.wait(10)

    tenants.before = wait
    thread = threading.Thread(target=pools.load, args=("t9",))
    thread.start()
    assert loading.wait(10)
    tenants.before = lambda name: None
    with next(iter(pools.loaded._states.values())).lock:
        forked = ForkedChild(child)
    assert forked.join() == [0, 1, ["default", "t3", "t4", "t9"]]
    go_on.set()
    thread.join(10)
