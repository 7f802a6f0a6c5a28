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

_LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")


def url_parts(url: t.Any, key: str) -> dict[str, t.Any]:
    """Return the settings in ``url`` by name; ``key`` names it in an error.

    :raise ConfigError: it is not a URL of the form that the text shows.
    """
    if not isinstance(url, str):
        raise ConfigError(f"{key} must be text of the form {FORM}")
    try:
        split = urlsplit(url)
        port = split.port
        names = (split.hostname, split.username, split.password, split.path[1:])
        host, user, password, database = (_decoded(name) for name in names)
        options = _options(split.query)
    except ValueError:
        raise _malformed(key) from None
    if split.scheme not in SCHEMES:
        raise ConfigError(f"{key} must start with mysql://, in the form {FORM}")
    if "@" in f"{split.path}{split.query}{split.fragment}" or split.fragment:
        raise _malformed(key)
    parts: dict[str, t.Any] = {
        "host": host or None,
        "port": port,
        "user": user or None,
        "password": password,
        "database": database or None,
    }
    parts = {name: part for name, part in parts.items() if part is not None}
    for name, value in options:
        if name in parts:
            raise ConfigError(f"{key} gives {name} twice: keep one of them")
        parts[name] = value
    return parts


def _decoded(part: str | None) -> str | None:
    if part is not None and _LONE_PERCENT.search(part):
        raise ValueError("a percent sign that encodes nothing")
    return part and unquote(part, errors="strict")


def _options(query: str) -> list[tuple[str, str]]:
    if not query:
        return []
    _decoded(query)
    return parse_qsl(query, keep_blank_values=True, strict_parsing=True)


def _malformed(key: str) -> ConfigError:
    return ConfigError(
        f"{key} is malformed: it must have the form {FORM}, with special characters"
        " of the user name and password percent-encoded (/ is %2F, @ is %40, # is"
        " %23, ? is %3F, % is %25)"
    )
