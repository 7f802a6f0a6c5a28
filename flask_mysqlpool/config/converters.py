"""Convert one configuration value each to the type of its setting, or refuse it.

Values come as Python objects, or as text and JSON through
:meth:`flask.Config.from_prefixed_env`. A value is converted if nothing is lost by it,
and refused otherwise. It is never adjusted. The text of an error completes the sentence
"MYSQLPOOL_X must be …" and never contains the value, which may be a secret.
"""

from __future__ import annotations

import math
import os.path
import ssl
import typing as t
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

from pymysql import cursors
from pymysql.charset import charset_by_name

Convert = Callable[[t.Any], t.Any]


class ConversionError(Exception):
    """A value cannot be converted. The text says which values can."""


def text(value: t.Any) -> str:
    """Convert to text. A whole number is text too: JSON reads ``12345`` as a number."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ConversionError("text (in an environment variable within double quotes)")


def key_text(value: t.Any) -> str | bytes:
    return value if isinstance(value, bytes) else text(value)


def secret(value: t.Any) -> str | Callable[[], str]:
    """Convert to text, or keep a callable, which is called at each connect."""
    return t.cast(Callable[[], str], value) if callable(value) else text(value)


def flag(value: t.Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "1", "yes", "on"):
        return True
    if isinstance(value, str) and value.lower() in ("false", "0", "no", "off"):
        return False
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise ConversionError("true or false")


def flag_or_none(value: t.Any) -> bool | None:
    return None if value is None else flag(value)


def whole(low: int, high: int | None = None) -> Convert:
    wanted = f"a whole number of at least {low}"
    if high is not None:
        wanted = f"a whole number from {low} to {high}"

    def convert(value: t.Any) -> int:
        try:
            number = int(value) if isinstance(value, (str, int)) else None
        except ValueError:
            number = None
        if number is None or isinstance(value, bool) or number < low:
            raise ConversionError(wanted)
        if high is not None and number > high:
            raise ConversionError(wanted)
        return number

    return convert


A_YEAR = 31_536_000  # also PyMySQL's limit; clocks and sockets allow little more


def seconds(*, above: bool = False) -> Convert:
    wanted = f"a number of seconds {'above' if above else 'from'} 0 to {A_YEAR}"

    def convert(value: t.Any) -> float:
        try:
            number = float(value) if isinstance(value, (str, int, float)) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if isinstance(value, bool) or not 0 <= number <= A_YEAR:  # false for NaN
            raise ConversionError(wanted)
        if above and number == 0:
            raise ConversionError(wanted)
        return number

    return convert


def one_of(*choices: str) -> Convert:
    def convert(value: t.Any) -> str:
        if value not in choices:
            raise ConversionError(f"one of {', '.join(choices)}")
        return t.cast(str, value)

    return convert


def statements(value: t.Any) -> tuple[str, ...]:
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if all(isinstance(item, str) for item in value):
            return tuple(value)
    raise ConversionError(
        "a list of SQL statements, such as [\"SET time_zone = '+00:00'\"]"
    )


def mapping(value: t.Any) -> Mapping[t.Any, t.Any]:
    if not isinstance(value, Mapping):
        raise ConversionError("a mapping")
    return value


def tls(value: t.Any) -> ssl.SSLContext | Mapping[str, t.Any]:
    if isinstance(value, ssl.SSLContext):
        return value
    if isinstance(value, Mapping):
        return value
    raise ConversionError("an ssl.SSLContext or a mapping of TLS options")


def file(value: t.Any) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else text(value)
    path = os.path.expanduser(str(path))
    if not os.path.isfile(path):
        raise ConversionError("the path of a file that exists")
    return path


def folder(value: t.Any) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else text(value)
    if not os.path.isabs(path):
        raise ConversionError("an absolute path")
    return str(path)


def charset(value: t.Any) -> str:
    name = text(value)
    if charset_by_name(name) is None:
        raise ConversionError("a character set that PyMySQL knows, such as utf8mb4")
    return name


CURSORS = ("Cursor", "DictCursor", "SSCursor", "SSDictCursor")


def cursor_class(value: t.Any) -> type[cursors.Cursor]:
    if isinstance(value, str) and value in CURSORS:
        return t.cast("type[cursors.Cursor]", getattr(cursors, value))
    if isinstance(value, type) and issubclass(value, cursors.Cursor):
        return value
    raise ConversionError(
        f"a subclass of pymysql.cursors.Cursor or one of {', '.join(CURSORS)}"
    )
