"""The login: TLS as the settings ask for it, and no password for who may be anybody.

Rule: the password leaves in clear only where the server has proved who it is, where it
stays on this machine, or where the settings allow it by name.
"""

from __future__ import annotations

import socket
import ssl
import typing as t
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pymysql import err
from pymysql.constants import CLIENT
from pymysql.constants import CR

from ..config.settings import Settings
from ..errors import ConfigError
from .sockets import local_shortage
from .sockets import open_socket
from .tls import Create
from .tls import Options
from .wire import WireConnection

TLSContext = Callable[[Options, Create], ssl.SSLContext]

CLEARTEXT = {"mysql_clear_password", "dialog"}  # MySQL's, and PAM's of MariaDB
ENCRYPTS_WITH_KEY = {"caching_sha2_password", "sha256_password"}  # without TLS

MAX_NAME = 64  # bytes of a plugin's name that are shown

# Client and server do not fit together: waiting will not change that.
_MISCONFIGURED = (
    CR.CR_SSL_CONNECTION_ERROR,
    CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
    CR.CR_AUTH_PLUGIN_ERR,
)
# TLS that ended with its connection, as in an outage.
_CUT_OFF = (ssl.SSLEOFError, ssl.SSLSyscallError, ssl.SSLZeroReturnError)


def misconfigured(error: BaseException) -> bool:
    """Return whether a login failed because of how it is set up, here or at the
    server, rather than because the server could not be reached.
    """
    if not isinstance(error, err.OperationalError) or not error.args:
        return False
    return error.args[0] in _MISCONFIGURED


def read_public_key(key: str | bytes) -> bytes:
    """Return a public key in PEM form.

    :param key: the path of its file, or the key itself.
    :raise ConfigError: it cannot be read, or is no RSA key.
    :raise OSError: this process has too many open files.
    """
    name = "MYSQLPOOL_SERVER_PUBLIC_KEY"
    if isinstance(key, str):
        name = f"{name} ({key})"
        try:
            key = Path(key).read_bytes()
        except OSError as error:
            if local_shortage(error):
                raise
            raise ConfigError(f"{name} cannot be read: {error.strerror}") from error
    try:
        usable = isinstance(load_pem_public_key(key), RSAPublicKey)
    except Exception:  # of several kinds
        usable = False
    if not usable:
        raise ConfigError(f"{name} holds no public RSA key in PEM form")
    return key


class LoginConnection(WireConnection):
    """A connection that checks what a server asks for before it answers.

    :param columns: see :class:`WireConnection`.
    :param tls_context: returns the TLS context for PyMySQL's options; it is given a
        function that makes one.
    """

    login_plugin = ""  # the last that the server asked for, safe to show
    ctx: ssl.SSLContext
    _auth_plugin_name: str
    _public_key: bytes | None = None

    def __init__(
        self,
        settings: Settings,
        columns: dict[t.Any, t.Any],
        tls_context: TLSContext,
        **arguments: t.Any,
    ) -> None:
        self.settings = settings
        self._tls_context = tls_context
        super().__init__(columns, **arguments)

    @property
    def tls_mode(self) -> str:
        """The TLS mode in force, as MySQL's ``--ssl-mode``."""
        if not self.ssl:
            return "DISABLED"
        if self.ctx.verify_mode != ssl.CERT_NONE:
            return "VERIFY_IDENTITY" if self.ctx.check_hostname else "VERIFY_CA"
        return "REQUIRED" if self.client_flag & CLIENT.SSL else "PREFERRED"

    @property
    def server_public_key(self) -> bytes | None:
        """The server's key: the one of the settings, else the one that it sent."""
        return self._public_key

    @server_public_key.setter
    def server_public_key(self, key: bytes | None) -> None:
        # PyMySQL would replace the key of the settings with that of who answers.
        self._public_key = self._public_key or key

    # PyMySQL's own methods, called by it.

    def _create_ssl_ctx(self, sslp: t.Any) -> ssl.SSLContext:
        create = super()._create_ssl_ctx  # type: ignore[misc]  # not in the stubs
        return self._tls_context(sslp, create)

    def _request_authentication(self) -> None:
        if self.tls_mode not in ("DISABLED", "PREFERRED") and not self._encrypts:
            raise err.OperationalError(
                CR.CR_SSL_CONNECTION_ERROR,
                f"the TLS mode is {self.tls_mode}, but {self.host!r} offers no TLS:"
                " enable it there, or change MYSQLPOOL_SSL_MODE and the other"
                " MYSQLPOOL_SSL_ keys",
            )
        self._check_plugin(self._auth_plugin_name)
        try:
            super()._request_authentication()
        except (OSError, err.OperationalError) as error:
            for cause in (error, error.__cause__, error.__context__):
                if cause is not None and self._is_refusal(cause):
                    raise self._tls_failed(cause) from cause
            raise

    def _get_auth_plugin_handler(self, plugin_name: bytes) -> t.Any:
        self.login_plugin = ascii(plugin_name[:MAX_NAME].decode("latin-1"))[1:-1]
        self._check_plugin(self.login_plugin)
        return super()._get_auth_plugin_handler(plugin_name)  # type: ignore[misc]  # not in the stubs

    def _process_auth(
        self, plugin_name: bytes, auth_packet: t.Any, handler: t.Any = None
    ) -> t.Any:
        missing: Exception
        try:
            return super()._process_auth(plugin_name, auth_packet, handler)  # type: ignore[misc]  # not in the stubs
        except err.OperationalError as error:
            if error.args[:1] != (CR.CR_AUTH_PLUGIN_CANNOT_LOAD,):
                raise
            missing = error
        except (RuntimeError, AttributeError) as error:
            if handler is not None:
                raise
            missing = error  # a package that it needs; a plugin that PyMySQL dropped
        raise err.OperationalError(
            CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
            f"the server asks for the login plugin '{self.login_plugin}', which is"
            f" not available ({str(missing)[:200]}): give the account another, or set"
            " MYSQLPOOL_AUTH_PLUGIN_MAP",
        ) from missing

    @property
    def _encrypts(self) -> bool:
        """Whether this session uses TLS, known from the server's greeting on."""
        return bool(self.ssl and self.server_capabilities & CLIENT.SSL)

    def _check_plugin(self, name: str) -> None:
        """Refuse to log in with a plugin that would give the password away.

        :raise pymysql.err.OperationalError: it would.
        """
        if self.unix_socket or self.tls_mode in ("VERIFY_CA", "VERIFY_IDENTITY"):
            return
        if name in CLEARTEXT and not self.settings.enable_cleartext_plugin:
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_ERR,
                f"the server asks for the password in clear ({name}), and nothing"
                " proves which server it is: set MYSQLPOOL_SSL_MODE to VERIFY_IDENTITY,"
                " or MYSQLPOOL_ENABLE_CLEARTEXT_PLUGIN if nobody else can answer",
            )
        pinned = self.settings.server_public_key is not None
        if name in ENCRYPTS_WITH_KEY and pinned and self._encrypts and self.password:
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_ERR,
                f"under TLS {name} sends the password without"
                " MYSQLPOOL_SERVER_PUBLIC_KEY, and this TLS checks no certificate: set"
                " MYSQLPOOL_SSL_MODE to VERIFY_IDENTITY, or to DISABLED",
            )

    def _is_refusal(self, error: BaseException) -> bool:
        """Return whether a side did not accept the other's TLS, or its certificate."""
        if isinstance(error, ssl.SSLError) and not isinstance(error, _CUT_OFF):
            return True
        # TLS 1.3: a server that does not accept our certificate says so after the
        # handshake, and then closes. We may meet its end before we read why.
        ended = isinstance(error, (*_CUT_OFF, ConnectionError))
        return ended and self._secure and self.settings.ssl_cert is not None

    def _tls_failed(self, error: BaseException) -> err.OperationalError:
        why = getattr(error, "verify_message", "") or getattr(error, "reason", "")
        why = why or str(error)
        text = f"TLS with {self.host!r} failed: {why} (the TLS mode is {self.tls_mode}"
        for name in ("ssl_ca", "ssl_cert"):
            if path := getattr(self.settings, name):
                text += f", MYSQLPOOL_{name.upper()} is {path}"
        return err.OperationalError(CR.CR_SSL_CONNECTION_ERROR, text + ")")

    def _open_socket(self, deadline: float) -> socket.socket:
        """Open the socket, as PyMySQL's ``connect()`` does without a deadline."""
        try:
            sock = open_socket(
                self.host,
                self.port,
                deadline,
                unix_socket=t.cast("str | None", self.unix_socket),
                bind_address=self.bind_address,
            )
        except OSError as error:
            reason = error.strerror or str(error)
            if not reason.startswith("'"):  # which server, and each of its addresses
                reason = f"{self.host!r}: {reason}"
            text = f"Can't connect to MySQL server on {reason}"
            raise err.OperationalError(CR.CR_CONN_HOST_ERROR, text) from error
        if self.unix_socket:
            self.host_info, self._secure = "Localhost via UNIX socket", True
        else:
            self.host_info = f"socket {self.host}:{self.port}"
        return sock
