"""Values that another process sent: each is checked before anybody reckons with it."""

from __future__ import annotations

import typing as t

from .text import printable

MAX_COUNT = 2**63 - 1


def count(value: t.Any) -> int:
    """Return a count.

    :raise ValueError: it is none.
    """
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise ValueError(f"not a count: {type(value).__name__}")
    return value


def seconds(value: t.Any) -> float:
    """Return a duration.

    :raise ValueError: it is none.
    """
    if type(value) not in (int, float) or not abs(value) <= MAX_COUNT:  # NaN is not
        raise ValueError(f"not a duration: {type(value).__name__}")
    return float(value)


def flag(value: t.Any) -> bool:
    """Return whether something is so.

    :raise ValueError: it is neither true nor false.
    """
    if type(value) is not bool:
        raise ValueError(f"neither true nor false: {type(value).__name__}")
    return value


def text(value: t.Any) -> str:
    """Return a text, safe to show.

    :raise ValueError: it is none.
    """
    if type(value) is not str:
        raise ValueError(f"not a text: {type(value).__name__}")
    return printable(value)


def counts(value: t.Any) -> dict[str, int]:
    """Return counts by name.

    :raise ValueError: a name or a count is none.
    """
    return {text(name): count(each) for name, each in value.items()}


def items(value: t.Any) -> list[t.Any]:
    """Return a list.

    :raise ValueError: it is none.
    """
    if type(value) is not list:
        raise ValueError(f"not a list: {type(value).__name__}")
    return value


def lines(value: t.Any) -> list[str]:
    """Return texts.

    :raise ValueError: one is none, or this is no list.
    """
    return [text(each) for each in items(value)]
