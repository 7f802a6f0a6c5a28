"""The errors are what old ``except`` clauses expect, arguments included."""

from __future__ import annotations

import copy
import pickle
import typing as t
from collections.abc import Callable

import pymysql
import pytest
from pymysql import err

from flask_mysqlpool import ConnectionBusyError
from flask_mysqlpool import Pool
from flask_mysqlpool import PoolClosed
from flask_mysqlpool import PoolError
from flask_mysqlpool import PoolFull
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool import StaleConnectionError
from flask_mysqlpool.driver.wire import refused_by_server

from ..support.fake_session import connector_of
from ..support.fake_session import fake_pool


def exhausted() -> PoolError:
    pool = fake_pool(max_size=1, timeout=0.01)
    with pool.connection():
        return raised(PoolTimeout, pool.connection)


def full() -> PoolError:
    pool = fake_pool(max_size=1, timeout=0.01, max_waiting=1)
    with pool.connection():
        waiter: t.Any = pool._slots.take(0.0, "", None, ())
        error = raised(PoolFull, pool.connection)
        pool._slots.leave(waiter, 0.0)
    return error


def closed() -> PoolError:
    pool = fake_pool()
    pool.close()
    return raised(PoolClosed, pool.connection)


def failing(error: Exception) -> Callable[[], PoolError]:
    def fail() -> PoolError:
        pool: Pool = fake_pool(timeout=0.01)
        connector_of(pool).error = error
        return raised(PoolTimeout, pool.connection)

    return fail


def raised(kind: type[PoolError], call: Callable[[], t.Any]) -> PoolError:
    with pytest.raises(kind) as caught:
        call()
    return caught.value


CODES = {
    "all are in use": (exhausted, 2000),
    "too many wait": (full, 2000),
    "closed": (closed, 2000),
    "unreachable": (failing(err.OperationalError(2003, "no route")), 2003),
    "lost while connecting": (failing(err.OperationalError(2013, "lost")), 2003),
    "server full": (failing(err.OperationalError(1040, "Too many connections")), 1040),
    "user full": (failing(err.OperationalError(1226, "max_user")), 1226),
}


@pytest.mark.parametrize(("fail", "code"), CODES.values(), ids=CODES)
def test_arguments_are_code_and_text(fail: Callable[[], PoolError], code: int) -> None:
    error = fail()
    assert isinstance(error, pymysql.err.OperationalError)
    number, text = error.args
    assert number == code
    assert str(error) == text
    assert text.startswith("pool 'default'")
    assert not refused_by_server(error), "no server has sent it"
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error)
        assert (other.args, str(other)) == (error.args, text)
        assert other.retry_after == error.retry_after


@pytest.mark.parametrize("kind", [StaleConnectionError, ConnectionBusyError])
def test_misuse_has_the_arguments_of_an_interface_error(
    kind: type[pymysql.err.InterfaceError],
) -> None:
    error = kind("in words")
    assert error.args == (0, "in words")
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == "in words"


def test_error_that_a_test_makes() -> None:
    assert PoolTimeout("no connection").args == (2000, "no connection")
    assert PoolTimeout(2003, "no route").args == (2003, "no route")
    assert str(PoolTimeout()) == ""
