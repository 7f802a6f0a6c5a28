"""Takes a connection URL apart into settings.

Nothing of the URL may reach the text of an error: a password that was not encoded
can turn up in any of its parts.
"""

from __future__ import annotations

import typing as t
from urllib.parse import parse_qsl
from urllib.parse import unquote
from urllib.parse import urlsplit

from .errors import ConfigError

SCHEMES = ("mysql", "mysql+pymysql", "mariadb")
FORM = "mysql://user:password@host:3306/database"


def url_parts(url: t.Any, key: str) -> dict[str, t.Any]:
    """Return the settings in ``url`` by name; ``key`` names it in an error.

    :raise ConfigError: it is not a URL of the form that the text shows.
    """
    if not isinstance(url, str):
        raise ConfigError(f"{key} must be text of the form {FORM}")
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        raise _malformed(key) from None
    if split.scheme not in SCHEMES:
        raise ConfigError(f"{key} must start with mysql://, in the form {FORM}")
    if "@" in f"{split.path}{split.query}{split.fragment}" or split.fragment:
        raise _malformed(key)
    parts = {
        **dict(parse_qsl(split.query, keep_blank_values=True)),
        "host": unquote(split.hostname or ""),
        "port": port,
        "user": unquote(split.username or ""),
        "password": unquote(split.password or ""),
        "database": unquote(split.path.removeprefix("/")),
    }
    return {name: part for name, part in parts.items() if part}


def _malformed(key: str) -> ConfigError:
    return ConfigError(
        f"{key} is malformed: it must have the form {FORM}, with special characters"
        " of the user name and password percent-encoded (/ is %2F, @ is %40, # is"
        " %23, ? is %3F, % is %25)"
    )
