"""Reads an option file (``my.cnf``) into settings.

PyMySQL's parser reads it, but here, once, and not in PyMySQL at each connect: a wrong
file is found when the app starts, and a host that is set takes no socket from it. No
line of the file may reach the text of an error.
"""

from __future__ import annotations

import configparser
import contextlib
import errno
import functools
import typing as t

from pymysql.optionfile import Parser

from ..errors import ConfigError

# PyMySQL looks at these options, and at TLS ones, and ignores all others.
_SETTINGS = {
    "host": "host",
    "port": "port",
    "socket": "unix_socket",
    "user": "user",
    "database": "database",
    "bind-address": "bind_address",
    "default-character-set": "charset",
    "ssl-mode": "ssl_mode",  # this one PyMySQL ignores
}
_TLS_OPTIONS = ("ca", "capath", "cert", "key", "password", "cipher")


def option_file_settings(path: str, group: str, key: str) -> dict[str, t.Any]:
    """Return what a group of an option file sets, by name of the setting.

    :param key: names the file in an error.
    :raise ConfigError: it cannot be read.
    :raise OSError: this process has too many open files.
    """
    options = _options(path, group, key)
    settings: dict[str, t.Any] = {
        setting: options[option]
        for option, setting in _SETTINGS.items()
        if options.get(option)
    }
    if "unix_socket" in settings:  # which of the two counts: as in MySQL's clients
        if settings.get("host", "localhost") == "localhost":
            settings.pop("host", None)
            settings.pop("port", None)
        else:
            del settings["unix_socket"]
    if options.get("password"):
        settings["password"] = functools.partial(_password, path, group, key)
    tls = {
        name: value for name in _TLS_OPTIONS if (value := options.get(f"ssl-{name}"))
    }
    return settings | ({"ssl": tls} if tls else {})


def _password(path: str, group: str, key: str) -> str:
    return _options(path, group, key).get("password", "")


def _options(path: str, group: str, key: str) -> dict[str, str]:
    parser = Parser(strict=False)  # MySQL's files may repeat a group or an option
    problem = ""
    try:
        with open(path, encoding="utf-8-sig") as file:
            # To this parser an indented line would go on with the value before.
            parser.read_file(f"{line.strip()}\n" for line in file)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # the file may well be right
        problem = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = "is not in UTF-8"
    except configparser.MissingSectionHeaderError as error:
        problem = f"needs a group such as [client] above its line {error.lineno}"
    except configparser.ParsingError as error:
        problem = f"is no option file: see its line {error.errors[0][0]}"
    else:
        if not parser.has_section(group):
            problem = f"has no group [{group}]"
    if problem:  # raised here: an error of the parser quotes the file
        raise ConfigError(f"the file of {key} {problem}")
    options: dict[str, str] = {}
    for name in parser.options(group):
        with contextlib.suppress(TypeError):  # of PyMySQL, for one without a value
            options[name] = parser.get(group, name)
    return options
