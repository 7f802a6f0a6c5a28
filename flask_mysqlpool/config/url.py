"""Takes a connection URL apart into settings.

Nothing of the URL may reach the text of an error: a password that was not encoded
can turn up in any of its parts.
"""

from __future__ import annotations

import re
import typing as t
from urllib.parse import parse_qsl
from urllib.parse import unquote
from urllib.parse import urlsplit

from ..errors import ConfigError

SCHEMES = ("mysql", "mysql+pymysql", "mariadb")
FORM = "mysql://user:password@host:3306/database"

# urlsplit() passes over what stands before and after the brackets.
_SERVER = re.compile(r"([^\[\]:]*|\[[^\[\]]*\])(:[0-9]*)?")
_LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")


Options = list[tuple[str, str]]


def url_parts(url: t.Any, key: str) -> tuple[dict[str, t.Any], Options]:
    """Return the settings that have a place in ``url``, by name, and its parameters.

    :param key: names the URL in an error.
    :raise ConfigError: it is not a URL of the form that the text shows.
    """
    if not isinstance(url, str):
        raise ConfigError(f"{key} must be text of the form {FORM}")
    if not url.isprintable() or url != url.strip():  # urlsplit() would drop some
        raise ConfigError(
            f"{key} has a control character, such as a line end, or a blank at its end:"
            " remove it, or percent-encode it (a line feed is %0A)"
        )
    if not url.lower().startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        raise ConfigError(f"{key} must start with mysql://, in the form {FORM}")
    try:
        taken_apart = _take_apart(url)
    except ValueError:
        taken_apart = None
    if taken_apart is None:  # raised here: the error above quotes the URL
        raise _malformed(key)
    return taken_apart


def _take_apart(url: str) -> tuple[dict[str, t.Any], Options]:
    split = urlsplit(url)
    server = split.netloc.rpartition("@")[2]
    if not _SERVER.fullmatch(server) or not (split.netloc or split.path):
        raise ValueError("more than a host and a port, or nothing at all")
    database = split.path[1:]
    if "#" in url or "@" in split.path + split.query or "/" in database:
        raise ValueError("a character of a password or of a name is not encoded")
    if "+" in split.query:
        raise ValueError("a plus or a blank: it is read as either")
    parts = {
        "host": _decoded(split.hostname) or None,
        "port": split.port,
        "user": _decoded(split.username) or None,
        "password": _decoded(split.password),
        "database": _decoded(database) or None,
    }
    given = {name: part for name, part in parts.items() if part is not None}
    return given, _options(split.query)


def _decoded(part: str | None) -> str | None:
    if part is not None and _LONE_PERCENT.search(part):
        raise ValueError("a percent sign that encodes nothing")
    return part and unquote(part, errors="strict")


def _options(query: str) -> Options:
    if not query:
        return []
    _decoded(query)
    return parse_qsl(query, keep_blank_values=True, strict_parsing=True)


def _malformed(key: str) -> ConfigError:
    return ConfigError(
        f"{key} is malformed: it must have the form {FORM}, with special characters"
        " of the user name, password and all parameters percent-encoded (/ is %2F, @ is"
        " %40, # is %23, ? is %3F, % is %25, + is %2B, a blank is %20)"
    )
