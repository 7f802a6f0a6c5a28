"""The TLS of a pool: what PyMySQL is to do, and the one context for all sessions."""

from __future__ import annotations

import ssl
import typing as t
from collections.abc import Callable
from collections.abc import Mapping

from ..config.settings import Settings
from ..config.tls import asked_mode

Options = Mapping[str, t.Any]  # as PyMySQL names them: "ca", "cert", …
Create = Callable[[Options], ssl.SSLContext]


class TLS:
    """The TLS of one pool: one context for all its sessions, since to make one takes
    15 ms.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._context: ssl.SSLContext | None = None

    @property
    def has_options(self) -> bool:
        """Whether something could be wrong with what a context is made of."""
        given = self._settings
        names = ("ssl_mode", "ssl", "ssl_ca", "ssl_cert", "read_default_file")
        return any(getattr(given, name) for name in (*names, "read_default_group"))

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
        """Return the one context for the options of this pool."""
        if isinstance(options, ssl.SSLContext):
            return options
        if self._context is None:
            self._context = create(options)
            if options.get("check_hostname"):  # PyMySQL: not without a CA of our own
                self._context.check_hostname = True
        return self._context
