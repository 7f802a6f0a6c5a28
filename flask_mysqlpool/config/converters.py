"""Convert one configuration value each to the type of its setting, or refuse it.

Values come as Python objects, or as text and JSON through
:meth:`flask.Config.from_prefixed_env`. A value is converted if nothing is lost by it,
and refused otherwise. It is never adjusted. The text of an error completes the sentence
"MYSQLPOOL_X must be …". It never contains a text, which may be a secret in the wrong
place; only a number where a number is wanted.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import ipaddress
import math
import os.path
import re
import ssl
import typing as t
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

from pymysql import cursors
from pymysql.charset import charset_by_name

from ..errors import ConfigError
from .tls import MODES

Convert = Callable[[t.Any], t.Any]

CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
DECIMAL = re.compile(r"[0-9.]+([eE][-+]?[0-9]+)?")  # float() takes more: "1_0", "٣"


class ConversionError(Exception):
    """A value cannot be converted. The text says which values can."""


def text(value: t.Any) -> str:
    """Convert to text. A number is refused: JSON reads ``-0`` and ``1e5`` as numbers,
    and what was written is lost.
    """
    if not isinstance(value, str):
        raise ConversionError("text (in an environment variable within double quotes)")
    if "\0" in value:
        raise ConversionError("text without a NUL character")
    if re.search("[\ud800-\udfff]", value):  # from bytes that are not UTF-8
        raise ConversionError("text in UTF-8")
    return value


def name_or_nothing(value: t.Any) -> str:
    name = text(value)
    if CONTROL_CHARACTERS.search(name):
        raise ConversionError("text without control characters, such as line ends")
    if "://" in name:
        raise ConversionError("a name; a URL is for MYSQLPOOL_URL")
    return name


def name(value: t.Any) -> str:
    given = name_or_nothing(value)
    if not given:
        raise ConversionError("text that is not empty; remove the key to leave it out")
    return given


def identifier(value: t.Any) -> str:
    given = name(value)
    if not re.fullmatch("[0-9A-Za-z_]+", given):
        raise ConversionError("a name of letters, digits and underscores")
    return given


def host(value: t.Any) -> str:
    """Convert to the name or address of one host."""
    given = name(value)
    if "," in given:
        raise ConversionError("one host: a list of several is not supported")
    if given.startswith("/"):
        raise ConversionError("a host; a socket's path is for MYSQLPOOL_UNIX_SOCKET")
    if not _is_host(given):
        raise ConversionError(
            "a host name, or an IP address without brackets; a port is for"
            " MYSQLPOOL_PORT"
        )
    return given


def _is_host(given: str) -> bool:
    try:
        if ":" in given:
            ipaddress.IPv6Address(given)
            return True
        given.encode("idna")  # as the look-up does: each label has its limits
    except ValueError:
        return False
    return not re.search(r"[\s/@?#%\[\]\\]", given)


def public_key(value: t.Any) -> str | bytes:
    """Convert to the path of a PEM file, or to what such a file holds."""
    if isinstance(value, str) and "-----BEGIN " in value:
        return value.encode()
    if isinstance(value, bytes) and b"-----BEGIN " in value:
        return value
    try:
        return file(value)
    except ConversionError:
        raise ConversionError("the path of a PEM file that exists") from None


def secret(value: t.Any) -> str | Callable[[], str | bytes]:
    """Convert to text, or to a function for a callable, called at each connect."""
    return functools.partial(_asked, value) if callable(value) else text(value)


def _asked(ask: Callable[[], t.Any]) -> str | bytes:
    password = ask()
    if not isinstance(password, (str, bytes)):  # PyMySQL takes None for no password
        raise ConfigError(
            "the callable in MYSQLPOOL_PASSWORD must return text, not"
            f" {type(password).__name__}"
        )
    return password


def flag(value: t.Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "1", "yes", "on"):
        return True
    if isinstance(value, str) and value.lower() in ("false", "0", "no", "off"):
        return False
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise ConversionError(f"true or false{_not(value)}")


def flag_or_none(value: t.Any) -> bool | None:
    return None if value is None else flag(value)


def _not(value: t.Any) -> str:
    """Return the end of an error: the value, where it is a number and not too long."""
    numeric = value is None or isinstance(value, (bool, int, float))
    if numeric and not (isinstance(value, int) and abs(value) > 10**20):
        return f", not {value!r}"
    return ""


MOST = 2**31 - 1  # of whole numbers


def whole(low: int, high: int = MOST) -> Convert:
    wanted = f"a whole number from {low} to {high}"

    def convert(value: t.Any) -> int:
        number = None
        if isinstance(value, int) and not isinstance(value, bool):
            number = int(value)
        elif isinstance(value, str) and re.fullmatch("-?[0-9]{1,20}", value):
            number = int(value)
        if number is None or not low <= number <= high:
            raise ConversionError(f"{wanted}{_not(value)}")
        return number

    return convert


# In seconds. It is PyMySQL's limit, too: clocks and sockets allow little more.
A_YEAR = 31_536_000


def seconds(*, above: bool = False) -> Convert:
    wanted = f"a number of seconds {'above' if above else 'from'} 0 to {A_YEAR}"

    def convert(value: t.Any) -> float:
        number = math.nan
        with contextlib.suppress(ValueError, OverflowError):
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                number = float(value)
            elif isinstance(value, str) and DECIMAL.fullmatch(value):
                number = float(value)
        if not 0 <= number <= A_YEAR or (above and number == 0):  # false for NaN
            raise ConversionError(f"{wanted}{_not(value)}")
        return number

    return convert


def one_of(*choices: str) -> Convert:
    def convert(value: t.Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ConversionError(f"one of {', '.join(choices)}")
        return value

    return convert


def statement(value: t.Any) -> str:
    sql = text(value)
    if not sql.strip():
        raise ConversionError("an SQL statement; remove the key to run none")
    return sql


def ssl_mode(value: t.Any) -> str:
    return t.cast(str, one_of(*MODES)(value.upper() if isinstance(value, str) else 0))


def statements(value: t.Any) -> tuple[str, ...]:
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if all(isinstance(item, str) and item.strip() for item in value):
            return tuple(text(item) for item in value)
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
    if not isinstance(value, Mapping):
        raise ConversionError("an ssl.SSLContext or a mapping of TLS options")
    if not set(value) <= set(TLS_OPTIONS):
        raise ConversionError(f"a mapping with no keys but {', '.join(TLS_OPTIONS)}")
    options = {}
    for option, given in value.items():
        if given is not None:
            try:
                options[option] = TLS_OPTIONS[option](given)
            except ConversionError as error:
                wanted = f'a mapping whose "{option}" is {error}'
                raise ConversionError(wanted) from None
    return options


# PyMySQL ignores any other, and without a CA checks nothing then.
VERIFY_MODES = ("none", "0", "false", "no", "optional", "required", "1", "true", "yes")


def _verify_mode(value: t.Any) -> bool | str:
    if isinstance(value, bool):
        return value
    if isinstance(value, ssl.VerifyMode):
        value = value.name.removeprefix("CERT_")
    word = value.lower() if isinstance(value, str) else ""
    if word not in VERIFY_MODES:
        raise ConversionError("true, false, none, optional or required")
    return word


def _key_password(value: t.Any) -> t.Any:
    return value if callable(value) or isinstance(value, bytes) else text(value)


def file(value: t.Any) -> str:
    path = os.path.expanduser(_path(value))
    if not os.path.isfile(path):
        raise ConversionError("the path of a file that exists")
    return path


def folder(value: t.Any) -> str:
    path = _path(value)
    if not os.path.isabs(path):
        raise ConversionError("an absolute path")
    return path


def _folders(value: t.Any) -> str:
    """Convert to the paths of folders, as OpenSSL splits them."""
    path = os.path.expanduser(_path(value))
    if not all(map(os.path.isdir, path.split(os.pathsep))):
        raise ConversionError("the path of a folder that exists")
    return path


def _path(value: t.Any) -> str:
    return name(os.fspath(value) if isinstance(value, os.PathLike) else value)


# The only keys that PyMySQL looks at. Another one would be without effect.
TLS_OPTIONS: dict[str, Convert] = {
    "ca": file,
    "capath": _folders,
    "cert": file,
    "key": file,
    "password": _key_password,
    "cipher": name,
    "check_hostname": flag,
    "verify_mode": _verify_mode,
}


def charset(value: t.Any) -> str:
    given = identifier(value)
    known = charset_by_name(given)
    if known is None or not _is_codec(known.encoding):
        raise ConversionError(
            "a character set that PyMySQL and Python know, such as utf8mb4"
        )
    return given


def _is_codec(encoding: str) -> bool:
    try:
        codecs.lookup(encoding)
    except LookupError:
        return False
    return True


CURSORS = ("Cursor", "DictCursor", "SSCursor", "SSDictCursor")


def cursor_class(value: t.Any) -> type[cursors.Cursor]:
    if isinstance(value, str) and value in CURSORS:
        return t.cast("type[cursors.Cursor]", getattr(cursors, value))
    if isinstance(value, type) and issubclass(value, cursors.Cursor):
        return value
    raise ConversionError(
        f"a subclass of pymysql.cursors.Cursor or one of {', '.join(CURSORS)}"
    )
