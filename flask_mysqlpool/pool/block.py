"""A ``with`` block that decorates functions of every kind."""

from __future__ import annotations

import functools
import inspect
import typing as t
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Generator
from contextlib import AbstractContextManager
from types import TracebackType

_T = t.TypeVar("_T")
_P = t.ParamSpec("_P")
_R = t.TypeVar("_R")


class Block(t.Generic[_T]):
    """A block that is entered once, with ``with``; or a decorator, which opens one for
    each call of the function and ends it with the function's body.

    Coroutine functions, generator functions and asynchronous generator functions are
    decorated too. The block of a generator is open from its first step to its end.

    :param open_block: returns what is entered.
    """

    def __init__(self, open_block: Callable[[], AbstractContextManager[_T]]) -> None:
        self._open_block = open_block
        self._entered: AbstractContextManager[_T] | None = None

    def __enter__(self) -> _T:
        if self._entered is not None:
            raise RuntimeError("a transaction() block is entered once: make another")
        self._entered = self._open_block()
        try:
            return self._entered.__enter__()
        except BaseException as error:
            # After an interrupt the block may be open: nobody else would end it.
            self._entered.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._entered is not None  # no call in which an interrupt could strike
        return self._entered.__exit__(kind, error, traceback)

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Decorate a function.

        :raise TypeError: it is none, such as a class.
        """
        kind = kind_of_function(function)
        if kind == "coroutine":
            wrapper = self._around_coroutine(function)
        elif kind == "generator":
            wrapper = self._around_generator(function)
        elif kind:
            wrapper = self._around_async_generator(function)
        else:
            wrapper = self._around_call(function)
        functools.update_wrapper(wrapper, function)
        return t.cast("Callable[_P, _R]", wrapper)

    def _around_call(self, function: Callable[..., t.Any]) -> Callable[..., t.Any]:
        def call(*args: t.Any, **kwargs: t.Any) -> t.Any:
            with Block(self._open_block):
                return checked_result(function, function(*args, **kwargs))

        return call

    def _around_coroutine(self, function: Callable[..., t.Any]) -> Callable[..., t.Any]:
        async def coroutine(*args: t.Any, **kwargs: t.Any) -> t.Any:
            with Block(self._open_block):
                return await function(*args, **kwargs)

        return coroutine

    def _around_generator(self, function: Callable[..., t.Any]) -> Callable[..., t.Any]:
        def generator(*args: t.Any, **kwargs: t.Any) -> Generator[t.Any, t.Any, t.Any]:
            with Block(self._open_block):
                return (yield from function(*args, **kwargs))

        return generator

    def _around_async_generator(
        self, function: Callable[..., t.Any]
    ) -> Callable[..., t.Any]:
        # As ``yield from`` does for other generators.
        async def generator(*args: t.Any, **kwargs: t.Any) -> AsyncIterator[t.Any]:
            with Block(self._open_block):
                inner = function(*args, **kwargs)
                step = inner.asend(None)
                try:
                    while True:
                        try:
                            value = await step
                        except StopAsyncIteration:
                            return
                        try:
                            step = inner.asend((yield value))
                        except GeneratorExit:
                            raise
                        except BaseException as error:
                            step = inner.athrow(error)
                finally:
                    await inner.aclose()

        return generator


def kind_of_function(function: object) -> str:
    """Return ``"coroutine"``, ``"generator"`` or ``"asynchronous generator"`` where a
    call of ``function`` returns one before its body runs; else nothing.

    :raise TypeError: it is no function.
    """
    if isinstance(function, type) or not callable(function):
        raise TypeError(f"a function is wanted here, not {function!r}")
    body: t.Any = function
    if not (inspect.isroutine(function) or isinstance(function, functools.partial)):
        body = type(function).__call__  # that of an object
    if inspect.iscoroutinefunction(body):
        return "coroutine"
    if inspect.isasyncgenfunction(body):
        return "asynchronous generator"
    return "generator" if inspect.isgeneratorfunction(body) else ""


def checked_result(function: object, result: _T) -> _T:
    """Return the result of a function that is not known to be asynchronous.

    :raise TypeError: it is a coroutine or a generator, whose body has not run yet.
    """
    late = inspect.isgenerator(result) or inspect.isasyncgen(result)
    if late or inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(
            f"{function!r} returned a {type(result).__name__}, which would run after"
            " the transaction: decorate the function whose body that is"
        )
    return result
