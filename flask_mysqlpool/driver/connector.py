"""Opens the sessions of one pool: what they have in common is made once."""

from __future__ import annotations

import os
import time
import typing as t

from pymysql import converters
from pymysql import err
from pymysql.constants import CLIENT
from pymysql.constants import CR

from ..config.settings import Settings
from ..errors import ConfigError
from .login import read_public_key
from .session import Session
from .templates import are_own
from .tls import TLS

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
        self._tls = TLS(settings)
        given = settings.driver_arguments()
        conv: t.Any = given.pop("conv", converters.conversions)
        self._encoders = {key: conv[key] for key in conv if type(key) is not int}
        self._decoders = {key: conv[key] for key in conv if type(key) is int}
        many = int(given.get("client_flag", 0)) & CLIENT.MULTI_STATEMENTS
        self._templates_decide = are_own(self._encoders) and not many
        self._arguments = {
            name: value for name, value in given.items() if not name.startswith("ssl")
        } | self._tls.arguments()
        self._role = ""  # of the last login
        self._role_known_until = 0.0
        self._columns: dict[t.Any, t.Any] = {}
        self._setups: dict[t.Any, t.Any] = {}

    def check(self) -> None:
        """Try what a login needs of this machine: the files of TLS and the public key.

        :raise ConfigError: they are wrong; the text names the key and the file.
        """
        mode = self.settings.ssl_mode
        if self._tls.has_options or self.settings.server_public_key is not None:
            in_force = self._session({}).tls_mode
            if mode and mode != in_force:
                raise ConfigError(
                    f"MYSQLPOOL_SSL_MODE or the option file's ssl-mode is {mode}, but"
                    " MYSQLPOOL_SSL or the TLS options of the option file ask for"
                    f" {in_force}: keep one of them"
                )

    def renew(self) -> None:
        """Have the next session read the files of TLS again."""
        self._tls.forget()

    def open(self, deadline: float) -> Session:
        """Open a session by ``deadline``, on the monotonic clock.

        :raise pymysql.Error: the server cannot be reached or refuses us, or client and
            server are not set up for each other.
        """
        arguments: dict[str, t.Any] = dict(_OTHERWISE)
        password = self._password()
        if not self.settings.program_name:  # for the server's own view of who it is
            arguments["program_name"] = f"{self._program}:{os.getpid()}"
        if password is not None:
            arguments["password"] = password
        try:
            session = self._session(arguments)
        except ConfigError as error:  # a file that was there at first
            raise err.OperationalError(
                CR.CR_SSL_CONNECTION_ERROR, str(error)
            ) from error
        except OSError as error:  # no descriptor is left for a file
            text = f"Can't connect to MySQL server: {error.strerror}"
            raise err.OperationalError(CR.CR_CONN_HOST_ERROR, text) from error
        now = time.monotonic()
        known = now < self._role_known_until
        deadline = min(deadline, now + self.settings.connect_timeout)
        try:
            session.log_in(deadline, self._role if known else None)
        except err.OperationalError as error:
            if error.args[:1] == (CR.CR_SSL_CONNECTION_ERROR,):
                self._tls.forget()  # a certificate may have been renewed
            raise
        if not known:
            self._role = session.role
            self._role_known_until = time.monotonic() + ROLE_CACHE_SECONDS
        return session

    def _password(self) -> t.Any:
        password: t.Any = self.settings.password
        if callable(password):
            try:
                password = password()
            except ConfigError as error:  # an option file that was there at first
                raise err.OperationalError(CR.CR_AUTH_PLUGIN_ERR, str(error)) from error
        # PyMySQL takes latin1, unlike the servers.
        return password.encode() if isinstance(password, str) else password

    def _session(self, arguments: dict[str, t.Any]) -> Session:
        """Make a session that is not connected.

        :raise ConfigError: a file of TLS or the public key is wrong.
        """
        if key := self.settings.server_public_key:
            arguments["server_public_key"] = read_public_key(key)
        session = Session(
            self.settings,
            self._columns,
            self._tls.context,
            self._arguments | arguments,
        )
        session.setups = self._setups
        session.encoders = self._encoders.copy()
        session.decoders = self._decoders.copy()
        session.templates_decide = self._templates_decide
        return session
