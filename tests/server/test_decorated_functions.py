"""transaction() as a decorator: the body of any kind of function is the block."""

from __future__ import annotations

import asyncio
import functools
import typing as t
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Iterator

import flask
import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool import transaction
from flask_mysqlpool import transactional

from ..support.flask_apps import MakeApp
from ..support.ledger import change
from ..support.ledger import Ledger
from ..support.ledger import NOTHING


@pytest.fixture(params=[False, True], ids=["autocommit off", "autocommit on"])
def context(request: pytest.FixtureRequest, make_app: MakeApp) -> Iterator[flask.Flask]:
    app = make_app(autocommit=request.param, max_size=2)
    with app.app_context():
        yield app


class Refused(Exception):
    pass


def plain(fails: bool) -> list[int]:
    change(get_db(), 1)
    if fails:
        raise Refused
    return [1]


async def coroutine(fails: bool) -> list[int]:
    await asyncio.sleep(0)
    return plain(fails)


def generator(fails: bool) -> Iterator[int]:
    yield 1
    plain(fails)


async def async_generator(fails: bool) -> AsyncIterator[int]:
    yield 1
    plain(fails)


class CallableObject:
    async def __call__(self, fails: bool) -> list[int]:
        return await coroutine(fails)


def finished(result: t.Any) -> list[int]:
    async def collected() -> list[int]:
        return [value async for value in result]

    if hasattr(result, "__aiter__"):
        return asyncio.run(collected())
    return list(asyncio.run(result) if hasattr(result, "__await__") else result)


def by_function() -> t.Any:
    return transaction()


def by_connection() -> t.Any:
    return get_db().transaction()


def by_transactional() -> t.Any:
    return transactional(tries=2)


def by_connection_again() -> t.Any:
    return get_db().transactional()


FUNCTIONS = [plain, coroutine, generator, async_generator, CallableObject()]
FUNCTIONS += [functools.partial(coroutine), functools.partial(generator)]
REPEATING = [by_transactional, by_connection_again]
DECORATORS = [by_function, by_connection, *REPEATING]


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_body_is_the_block(
    ledger: Ledger, function: t.Any, decorator: Callable[[], t.Any]
) -> None:
    if decorator in REPEATING and "generator" in repr(function):
        with pytest.raises(TypeError, match="cannot be repeated"):
            decorator()(function)
        return
    decorated = decorator()(function)
    for _ in range(2):
        assert finished(decorated(False)) == [1]
    assert ledger.rows == {1: 2, 2: 0}
    with pytest.raises(Refused):
        finished(decorated(True))
    get_db().commit()
    assert ledger.rows == {1: 2, 2: 0}


@pytest.mark.usefixtures("context")
def test_block_of_a_generator_takes_what_is_sent(ledger: Ledger) -> None:
    @transaction()
    def echo() -> t.Generator[int, int, str]:
        change(get_db(), (yield 1))
        return "done"

    steps = echo()
    assert ledger.rows == NOTHING
    assert next(steps) == 1
    with pytest.raises(StopIteration, match="done"):
        steps.send(2)
    assert ledger.rows == {1: 0, 2: 1}


@pytest.mark.usefixtures("context")
def test_block_of_an_async_generator_takes_what_is_sent_and_thrown(
    ledger: Ledger,
) -> None:
    @transaction()
    async def echo() -> t.AsyncGenerator[int, int]:
        change(get_db(), (yield 1))
        try:
            yield 2
        except KeyError:
            change(get_db(), 1)
            yield 3

    async def run() -> list[int]:
        steps = echo()
        assert ledger.rows == NOTHING
        seen = [await steps.__anext__(), await steps.asend(2)]
        seen.append(await steps.athrow(KeyError("of the caller")))
        assert ledger.rows == NOTHING
        return [*seen, *[value async for value in steps]]

    assert asyncio.run(run()) == [1, 2, 3]
    assert ledger.rows == {1: 1, 2: 1}


@pytest.mark.usefixtures("context")
def test_what_is_thrown_into_an_async_generator_rolls_back(ledger: Ledger) -> None:
    @transaction()
    async def steps() -> t.AsyncGenerator[int, None]:
        change(get_db(), 1)
        yield 1

    async def run() -> None:
        made = steps()
        await made.__anext__()
        await made.athrow(Refused())

    with pytest.raises(Refused):
        asyncio.run(run())
    get_db().commit()
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("function", [generator, async_generator])
def test_generator_that_is_left_is_rolled_back(ledger: Ledger, function: t.Any) -> None:
    def steps() -> t.Any:
        change(get_db(), 1)
        yield 1
        change(get_db(), 2)

    async def async_steps() -> t.Any:
        for value in steps():
            yield value

    async def left(made: t.Any) -> None:
        await made.__anext__()
        await made.aclose()

    if function is generator:
        made = transaction()(steps)()
        next(made)
        made.close()
    else:
        asyncio.run(left(transaction()(async_steps)()))
    get_db().commit()
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize(
    "hidden",
    [
        lambda: coroutine(False),
        lambda: generator(False),
        lambda: (plain(False) for _ in "x"),
        lambda: async_generator(False),
    ],
)
def test_what_a_plain_function_returns_to_be_run_later_is_refused(
    ledger: Ledger, decorator: Callable[[], t.Any], hidden: t.Any
) -> None:
    with pytest.raises(TypeError, match="returned an? (coroutine|.*generator)"):
        decorator()(hidden)()
    assert ledger.rows == NOTHING


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize("wrong", [CallableObject, 5, None])
def test_what_is_no_function_is_refused_at_once(
    decorator: Callable[[], t.Any], wrong: t.Any
) -> None:
    with pytest.raises(TypeError, match="a function is wanted"):
        decorator()(wrong)


@pytest.mark.usefixtures("context")
def test_forgotten_parentheses_are_refused_at_once() -> None:
    decorators: list[t.Any] = [transaction, transactional, get_db().transaction]
    for decorator in [*decorators, get_db().transactional]:
        with pytest.raises(TypeError):
            decorator(plain)


@pytest.mark.usefixtures("context")
def test_block_is_entered_once(ledger: Ledger) -> None:
    block = transaction()
    with block:
        with pytest.raises(RuntimeError, match="entered once"):
            block.__enter__()
        change(get_db(), 1)
    with pytest.raises(RuntimeError, match="entered once"):
        block.__enter__()
    assert ledger.rows == {1: 1, 2: 0}


def test_decorated_views(
    make_app: MakeApp, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(autocommit=True)

    @app.get("/<int:fails>")
    @transaction()
    async def view(fails: int) -> str:
        await coroutine(bool(fails))
        return "done"

    client = app.test_client()
    assert client.get("/0").text == "done"
    assert client.get("/1").status_code == 500
    caplog.clear()  # its traceback keeps the thread of the view
    assert ledger.rows == {1: 1, 2: 0}
