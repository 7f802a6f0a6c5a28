"""The TLS context of a pool: made of its files, and made again when they have changed.

Rule: a context is made without asking anybody, and what is wrong with a file is said
with the key that names it.
"""

from __future__ import annotations

import logging
import os
import ssl
import typing as t
from collections.abc import Callable
from collections.abc import Mapping

from ..config.settings import Settings
from ..config.tls import asked_mode
from ..config.tls import single_key
from ..errors import ConfigError
from .sockets import local_shortage

logger = logging.getLogger(__name__)

Options = Mapping[str, t.Any]  # as PyMySQL names them: "ca", "cert", …
Create = Callable[[Options], ssl.SSLContext]


class _KeyIsEncrypted(Exception):
    pass


class TLS:
    """The TLS of one pool: one context for all its sessions, since to make one takes
    15 ms.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._context: ssl.SSLContext | None = None
        self._made_of: t.Any = None  # the options, and what the files looked like

    @property
    def has_options(self) -> bool:
        """Whether something could be wrong with what a context is made of."""
        given = self._settings
        names = ("ssl_mode", "ssl", "ssl_ca", "ssl_cert")
        return any(getattr(given, name) for name in names)

    def arguments(self) -> dict[str, t.Any]:
        """Return the TLS parameters for PyMySQL."""
        given = self._settings
        mode = asked_mode(lambda name: getattr(given, name))
        if mode == "DISABLED":
            return {"ssl_disabled": True}
        if isinstance(given.ssl, ssl.SSLContext):
            return {"ssl": given.ssl}
        if given.ssl is not None:  # PyMySQL would take an empty mapping for none
            asked: dict[str, t.Any] = {"verify_mode": None}
            if mode in ("VERIFY_CA", "VERIFY_IDENTITY"):
                asked = {
                    "verify_mode": True,
                    "check_hostname": mode == "VERIFY_IDENTITY",
                }
            return {"ssl": {**asked, **given.ssl}}
        if mode == "PREFERRED":
            return {}
        options = {
            "ca": given.ssl_ca,
            "cert": given.ssl_cert,
            "key": given.ssl_key,
            "password": given.ssl_key_password,
            "verify_mode": mode != "REQUIRED",
            "check_hostname": mode == "VERIFY_IDENTITY",
        }
        return {
            "ssl": {name: each for name, each in options.items() if each is not None}
        }

    def context(self, options: Options, create: Create) -> ssl.SSLContext:
        """Return the context for ``options``: the last one, unless a file has changed.

        Files are replaced one by one. If they do not go together, the last context
        stays in use until they change again, or until :meth:`forget`.

        :raise ConfigError: there is none, and none can be made.
        :raise OSError: this process has too many open files.
        """
        if isinstance(options, ssl.SSLContext):
            return options
        made_of = (dict(options), [_look(path) for path in _paths(options)])
        context = self._context
        if context is None or made_of != self._made_of:
            try:
                context = self._make(options, create)
            except ConfigError as error:
                if context is None:
                    raise
                logger.warning("TLS files have changed, and are not used: %s", error)
            self._context, self._made_of = context, made_of
        return context

    def forget(self) -> None:
        """Have the next session read the files again."""
        self._context = None

    def _make(self, options: Options, create: Create) -> ssl.SSLContext:
        ready = dict(options)
        if "cert" in ready:  # OpenSSL would ask for it at the terminal
            ready["password"] = ready.get("password") or _refuse
        try:
            context = create(ready)
            if ready.get("check_hostname"):  # PyMySQL: not without a CA of our own
                context.check_hostname = True
        except Exception as error:
            if local_shortage(error):
                raise  # the files may well be right
            raise ConfigError(self._explain(options, error)) from error
        return context

    def _explain(self, options: Options, error: Exception) -> str:
        """Return what is wrong with the options, of which PyMySQL made no context."""
        named = {
            option: f"{self._key(option)} ({options[option]})"
            for option in ("ca", "cert", "key")
            if options.get(option)
        }
        for option, name in named.items():
            try:
                open(options[option], "rb").close()
            except OSError as unreadable:
                return f"{name} cannot be read: {unreadable.strerror}"
        for option in named.keys() - {"key"}:
            if not _has_certificate(options[option]):
                return f"{named[option]} holds no certificate in PEM form"
        key, password = named.get("key") or named.get("cert"), self._key("password")
        if isinstance(error, _KeyIsEncrypted):
            return f"{key} holds an encrypted private key: set {password}"
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            return f"{key} is not the private key of {named['cert']}"
        if key and options.get("password"):
            return f"{key} holds no private key in PEM form that {password} decrypts"
        if "cert" in named and "cipher" not in options:
            return f"{key} holds no private key in PEM form"
        return f"no TLS context can be made of the MYSQLPOOL_SSL settings: {error}"

    def _key(self, option: str) -> str:
        """Return the key of the setting that gives an option of PyMySQL's."""
        if self._settings.ssl is None:
            return f"MYSQLPOOL_{single_key(option).upper()}"
        file = f" or ssl-{option} in the file of MYSQLPOOL_READ_DEFAULT_FILE"
        return (
            f'MYSQLPOOL_SSL["{option}"]{file * bool(self._settings.read_default_file)}'
        )


def _refuse() -> str:
    raise _KeyIsEncrypted


def _paths(options: Options) -> list[t.Any]:
    """Return the files and folders of which a context is made."""
    paths = [options.get(name) for name in ("ca", "capath", "cert", "key")]
    if not any(paths[:2]) and options.get("verify_mode"):
        default = ssl.get_default_verify_paths()
        paths += [default.cafile, default.capath]
    return [path for path in paths if path]


def _look(path: t.Any) -> tuple[int, ...]:
    """Return what differs if another file is there, or other contents."""
    try:
        seen = os.stat(path)
    except OSError:
        return ()
    return (seen.st_mtime_ns, seen.st_ino, seen.st_size)


def _has_certificate(path: t.Any) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return False
    return True
