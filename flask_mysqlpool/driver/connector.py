"""Opens the sessions of one pool: what they have in common is made once."""

from __future__ import annotations

import os
import ssl
import time
import typing as t
from collections.abc import Callable

from pymysql import converters

from ..config.settings import Settings
from .session import Session

# What PyMySQL does at each login is done in another way here: it would send the first
# three, a round trip each, and sort the converters into those of Python and of MySQL.
_OTHERWISE: dict[str, t.Any] = {
    "sql_mode": None,
    "init_command": None,
    "autocommit": None,
    "conv": {},
}


# Seconds for which the role of a login is known: opening many connections asks once.
ROLE_CACHE_SECONDS = 1.0


class Connector:
    """Opens the sessions of one pool.

    :param program: the name of the app.
    """

    def __init__(self, settings: Settings, program: str = "flask_mysqlpool") -> None:
        self.settings = settings
        self._program = program
        self._arguments = settings.driver_arguments()
        conv: t.Any = self._arguments.get("conv")
        conv = converters.conversions if conv is None else conv
        self._encoders = {key: conv[key] for key in conv if type(key) is not int}
        self._decoders = {key: conv[key] for key in conv if type(key) is int}
        self._tls: ssl.SSLContext | None = None
        self._role = ""  # of the last login
        self._role_known_until = 0.0
        self._columns: dict[t.Any, t.Any] = {}

    def open(self, deadline: float) -> Session:
        """Open a session by ``deadline``, on the monotonic clock.

        :raise pymysql.Error: the server cannot be reached or refuses us.
        """
        arguments = self._arguments | _OTHERWISE
        password: t.Any = self.settings.password
        if callable(password):
            password = password()
        if not self.settings.program_name:  # for the server's own view of who it is
            arguments["program_name"] = f"{self._program}:{os.getpid()}"
        if isinstance(password, str):
            password = password.encode()  # PyMySQL takes latin1, unlike the servers
        if password is not None:
            arguments["password"] = password
        session = Session(self.settings, self._columns, self._tls_context, arguments)
        session.encoders = self._encoders.copy()
        session.decoders = self._decoders.copy()
        now = time.monotonic()
        known = now < self._role_known_until
        deadline = min(deadline, now + self.settings.connect_timeout)
        session.log_in(deadline, self._role if known else None)
        if not known:
            self._role = session.role
            self._role_known_until = time.monotonic() + ROLE_CACHE_SECONDS
        return session

    def _tls_context(self, create: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """Return the one TLS context of the pool: making one takes 15 ms."""
        if self._tls is None:
            self._tls = create()
        return self._tls
