"""Arguments are checked before anything is reserved, and DBUtils' other ways to lend
and return are refused.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from decimal import Decimal

import pytest
from dbutils.pooled_db import NotSupportedError

from flask_mysqlpool import ConfigError
from flask_mysqlpool import Pool
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool.config.converters import A_YEAR
from flask_mysqlpool.pool.timeout import checked_timeout

from ...support.fake_session import fake_pool


class UnhashableName(str):
    """A name that cannot be counted by: the counts are kept by holder."""

    def __hash__(self) -> int:
        raise RuntimeError("not hashable")


def condition(pool: Pool) -> tuple[int, int, int, int]:
    reading = pool.stats()
    return reading.size, reading.in_use, reading.idle, reading.waiting


@pytest.fixture(params=["empty", "idle", "exhausted"])
def pool(request: pytest.FixtureRequest) -> t.Iterator[Pool]:
    """A pool of one place: nothing opened yet, or idle, or lent."""
    pool = fake_pool(max_size=1)
    held = None if request.param == "empty" else pool.connection()
    if held is not None and request.param == "idle":
        held.close()
    yield pool
    if held is not None:
        held.close()


@pytest.mark.parametrize("timeout", ["5", True, Decimal("5"), object(), [5]])
def test_timeout_of_another_type_is_refused(pool: Pool, timeout: t.Any) -> None:
    before = condition(pool)
    with pytest.raises(TypeError, match="timeout must be a number"):
        pool.connection(timeout=timeout)
    assert condition(pool) == before


@pytest.mark.parametrize(
    "timeout",
    [
        *(float("nan"), float("inf"), -float("inf"), -1, -0.001, 1e12),
        pytest.param(10**400, id="no float"),
    ],
)
def test_timeout_that_no_clock_takes_is_refused(pool: Pool, timeout: float) -> None:
    before = condition(pool)
    with pytest.raises(ValueError, match="timeout must be a number") as raised:
        pool.connection(timeout=timeout)
    assert repr(timeout) in str(raised.value)
    assert condition(pool) == before


@pytest.mark.parametrize("timeout", [None, 0, 0.5, 3])
def test_timeout_of_seconds_is_taken(timeout: float | None) -> None:
    pool = fake_pool(max_size=1)
    for _ in range(2):  # opened, and idle
        pool.connection(timeout=timeout).close()
    assert condition(pool) == (1, 0, 1, 0)


@pytest.mark.parametrize(
    ("timeout", "text"), [(0, "none is free"), (0.02, "no connection within 0.02 s")]
)
def test_timeout_of_seconds_ends_the_wait(timeout: float, text: str) -> None:
    pool = fake_pool(max_size=1)
    with pool.connection():
        with pytest.raises(PoolTimeout, match=f"pool 'default': {text} "):
            pool.connection(timeout=timeout)
        assert condition(pool) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    "holder", [["GET", "view"], 5, b"GET view", UnhashableName("GET view")]
)
def test_holder_of_another_type_is_refused(pool: Pool, holder: t.Any) -> None:
    before = condition(pool)
    with pytest.raises(TypeError, match="holder must be a str"):
        pool.connection(holder=holder)
    assert condition(pool) == before


@pytest.mark.parametrize("holder", [None, "", UnhashableName("")])
def test_empty_holder_is_none(holder: t.Any) -> None:
    pool = fake_pool(max_size=1)
    with pool.connection(holder=holder) as db:
        assert type(db.holder) is str and not db.holder
    pool.name_holder = lambda: "GET view"
    with pool.connection(holder=holder) as db:
        assert db.holder == "GET view"
    assert condition(pool) == (1, 0, 1, 0)


def test_lent_connection_returns_whatever_its_reset_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(session: object, mode: str) -> bool:
        raise RuntimeError("a reset that cannot be")

    pool = fake_pool(max_size=1)
    db = pool.connection(holder="GET view")
    monkeypatch.setattr("tests.support.fake_session.FakeSession.start_reset", fail)
    db.close()
    assert condition(pool) == (0, 0, 0, 0)
    monkeypatch.undo()
    pool.connection(timeout=0).close()
    assert condition(pool) == (1, 0, 1, 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda pool, db: pool.cache(db.session),
        lambda pool, db: pool.unshare(db),
        lambda pool, db: pool.steady_connection(),
    ],
    ids=["cache", "unshare", "steady_connection"],
)
def test_what_cannot_be_kept_of_dbutils_is_refused(
    call: Callable[[Pool, t.Any], t.Any],
) -> None:
    pool = fake_pool(max_size=2)
    idle, db = pool.connection(), pool.connection()
    idle.close()
    with pytest.raises(NotSupportedError):
        call(pool, db)
    assert condition(pool) == (2, 1, 1, 0)
    db.commit()
    db.close()
    assert condition(pool) == (2, 0, 2, 0)


@pytest.mark.parametrize("shareable", [True, False])
def test_shareable_of_dbutils_is_taken(shareable: bool) -> None:
    pool = fake_pool(max_size=2)
    with pool.connection(shareable=shareable), pool.connection(shareable=shareable):
        assert condition(pool) == (2, 2, 0, 0), "no connection is shared"


@pytest.mark.parametrize("key", ["binds", "max_binds", "runtime_dir", "BINDS"])
def test_setting_that_needs_an_app_is_refused_without_one(key: str) -> None:
    given: dict[str, t.Any] = {key: {"reports": {"host": "replica"}}}
    with pytest.raises(ConfigError, match=f"^{key.lower()} has no effect without an a"):
        Pool.from_url("mysql://db", **given)


def test_timeout_is_limited_as_the_setting() -> None:
    checked_timeout(A_YEAR)
    with pytest.raises(ValueError, match=f"from 0 to {A_YEAR}, not {A_YEAR + 1}$"):
        checked_timeout(A_YEAR + 1)
