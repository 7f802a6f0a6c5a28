"""The settings: each field is a key, its default and its documentation."""

from __future__ import annotations

import dataclasses
import ssl
import typing as t
from collections.abc import Callable
from collections.abc import Mapping

from pymysql.cursors import Cursor

from . import converters
from .loading import load_bind
from .loading import load_settings

MASK = "********"


def _setting(
    convert: converters.Convert, default: t.Any, doc: str, **flags: bool
) -> t.Any:
    metadata = {"convert": convert, "doc": doc, **flags}
    return dataclasses.field(default=default, metadata=metadata)


def _driver(convert: converters.Convert, doc: str, **flags: bool) -> t.Any:
    """A parameter of :func:`pymysql.connect`; ``None`` leaves PyMySQL's default."""
    return _setting(convert, None, doc, driver=True, **flags)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """The settings of one pool.

    The key of a field is its name in capitals after ``MYSQLPOOL_``. Durations are
    in seconds.
    """

    url: str | None = _setting(
        converters.text,
        None,
        "``mysql://user:password@host:3306/database?charset=utf8mb4``. Percent-encode"
        " special characters. Any other setting may follow after ``?``. A"
        " setting with a key of its own wins over its part of the URL.",
        secret=True,
    )
    host: str | None = _driver(converters.host, "Host name or address of the server.")
    port: int | None = _driver(converters.whole(1, 65535), "TCP port of the server.")
    user: str | None = _driver(converters.name, "User name.")
    password: str | Callable[[], str | bytes] | None = _driver(
        converters.secret,
        "Password, or a callable without parameters that is asked for it at each"
        " connect (for credentials that rotate). ``TIMEOUT`` does not end a callable"
        " that takes long: it needs a time limit of its own.",
        secret=True,
    )
    database: str | None = _driver(converters.name_or_nothing, "Database to use.")
    unix_socket: str | None = _driver(
        converters.name, "Unix socket of the server, instead of host and port."
    )

    min_size: int = _setting(
        converters.whole(0), 0, "Connections kept open, refilled in the background."
    )
    max_size: int = _setting(
        converters.whole(1),
        10,
        "Maximum number of open connections **in this process**. The server sees up to"
        " workers × ``MAX_SIZE``.",
    )
    timeout: float = _setting(
        converters.seconds(),
        10.0,
        "Seconds that a checkout may take in all: waiting, connecting, handshake,"
        " check. 0: do not wait in the queue. transactional() begins no try later"
        " than this after the first; with 0, not later than 10.",
    )
    max_waiting: int = _setting(
        converters.whole(0), 0, "Maximum number of callers in the queue. 0: no limit."
    )
    max_lifetime: float = _setting(
        converters.seconds(),
        1800.0,
        "Age at which a connection is retired. It is shortened a little at random, so"
        " that connections do not all expire together. 0: never.",
    )
    max_idle: float = _setting(
        converters.seconds(),
        600.0,
        "Idle time after which a connection above ``MIN_SIZE`` is closed. 0: never.",
    )
    max_usage: int = _setting(
        converters.whole(0),
        0,
        "Checkouts after which a connection is retired, at its return. 0: never.",
    )
    ping_after: float = _setting(
        converters.seconds(),
        1.0,
        "Idle time after which a checkout pings the server first. 0: always.",
    )
    reset: str = _setting(
        converters.one_of("auto", "session", "rollback"),
        "auto",
        '``"auto"``: the session is reset if the request changed it. ``"session"``: it'
        ' is reset after every request. ``"rollback"``: only the transaction is'
        " rolled back.",
    )
    setsession: tuple[str, ...] = _setting(
        converters.statements,
        (),
        "SQL statements that set up each session. They run on connect and again after"
        " a reset.",
        secret=True,
    )
    leak_after: float = _setting(
        converters.seconds(),
        60.0,
        "Seconds after which a connection that is still checked out is reported in the"
        " log, once, with its holder and the stacks. 0: never.",
    )
    runtime_dir: str | None = _setting(
        converters.folder,
        None,
        "Folder for the workers' sockets, with a folder in it for each app. By default"
        " one below ``/tmp`` that is private to the user.",
        app_wide=True,
    )
    max_binds: int = _setting(
        converters.whole(1),
        50,
        "Maximum number of binds in this process that the ``bind_loader`` gave. The one"
        " that was asked for least recently is closed first.",
        app_wide=True,
    )

    autocommit: bool | None = _setting(
        converters.flag_or_none,
        False,
        "Whether each statement is a transaction of its own. ``None``: the server's"
        " default.",
        driver=True,
    )
    charset: str | None = _driver(
        converters.charset, "Character set of the connection."
    )
    collation: str | None = _driver(
        converters.identifier, "Collation of the connection."
    )
    sql_mode: str | None = _driver(converters.text, "``sql_mode`` of the session.")
    cursorclass: type[Cursor] | None = _driver(
        converters.cursor_class,
        'Class of the cursors: a class, or a name such as ``"DictCursor"``.',
    )
    init_command: str | None = _driver(
        converters.statement,
        "SQL statement that runs on connect and again after a reset.",
        secret=True,
    )
    connect_timeout: float = _setting(
        converters.seconds(above=True),
        10.0,
        "Seconds that connecting may take. The checkout's own deadline applies too.",
        driver=True,
    )
    read_timeout: float | None = _driver(
        converters.seconds(above=True), "Seconds to wait for an answer of the server."
    )
    write_timeout: float | None = _driver(
        converters.seconds(above=True), "Seconds to wait while sending to the server."
    )
    ssl_mode: str | None = _setting(
        converters.ssl_mode,
        None,
        '``"DISABLED"``, ``"PREFERRED"``, ``"REQUIRED"``, ``"VERIFY_CA"`` or'
        ' ``"VERIFY_IDENTITY"``, as for MySQL\'s ``--ssl-mode``. By default what the'
        " other ``SSL_*`` keys ask for, and ``PREFERRED`` without them.",
    )
    ssl_disabled: bool | None = _driver(
        converters.flag, "Do not use TLS: as ``DISABLED``."
    )
    ssl_ca: str | None = _driver(
        converters.file, "File with the certificate authorities."
    )
    ssl_cert: str | None = _driver(
        converters.file, "File with the client's certificate."
    )
    ssl_key: str | None = _driver(
        converters.file,
        "File with the client's private key. By default in that of the certificate.",
    )
    ssl_key_password: str | None = _driver(
        converters.text, "Password of the client's private key.", secret=True
    )
    ssl_verify_cert: bool | None = _driver(
        converters.flag, "Check the server's certificate: as ``VERIFY_CA``."
    )
    ssl_verify_identity: bool | None = _driver(
        converters.flag,
        "Check that the certificate is for this host, too: as ``VERIFY_IDENTITY``.",
    )
    ssl: ssl.SSLContext | Mapping[str, t.Any] | None = _driver(
        converters.tls,
        "An :class:`ssl.SSLContext`, instead of the single ``SSL_*`` keys, or a mapping"
        " of PyMySQL's TLS options. With an empty one TLS is required. Its"
        ' ``verify_mode`` is ``True``, ``False``, ``"none"``, ``"optional"`` or'
        ' ``"required"``, or one of :class:`ssl.VerifyMode`.',
        secret=True,
    )
    server_public_key: str | bytes | None = _driver(
        converters.public_key,
        "File with the server's public RSA key (PEM), for ``caching_sha2_password`` and"
        " ``sha256_password`` without TLS. The server's own offer is then ignored.",
    )
    enable_cleartext_plugin: bool | None = _setting(
        converters.flag,
        None,
        "Send the password in clear to a server that asks for it"
        " (``mysql_clear_password``, ``dialog``) even where nothing proves which server"
        " it is.",
    )
    read_default_file: str | None = _setting(
        converters.file,
        None,
        "Option file (``my.cnf``), read once for what is not set here; the password is"
        " read again at each connect.",
    )
    read_default_group: str | None = _setting(
        converters.name, None, "Group of the option file. ``None``: ``client``."
    )
    bind_address: str | None = _driver(
        converters.name, "Local address to connect from."
    )
    program_name: str | None = _driver(
        converters.name,
        "Name that the server shows among the connection's attributes. By default the"
        " app's name and the process: ``shop:4711``.",
    )
    local_infile: bool | None = _driver(converters.flag, "Allow ``LOAD DATA LOCAL``.")
    max_allowed_packet: int | None = _driver(
        converters.whole(1),
        "Maximum size of a packet of ``LOAD DATA LOCAL``, in bytes.",
    )
    client_flag: int | None = _driver(
        converters.whole(0),
        "Further capability flags (``pymysql.constants.CLIENT``).",
    )
    use_unicode: bool | None = _driver(converters.flag, "Decode text to :class:`str`.")
    conv: Mapping[t.Any, t.Any] | None = _driver(
        converters.mapping, "Converters, instead of ``pymysql.converters.conversions``."
    )
    auth_plugin_map: Mapping[t.Any, t.Any] | None = _driver(
        converters.mapping,
        "Classes that handle authentication plugins, by plugin name.",
    )

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.masked().items())
        return f"{type(self).__name__}({shown})"

    @classmethod
    def from_config(cls, config: Mapping[str, t.Any]) -> dict[str, Settings]:
        """Read and check all ``MYSQLPOOL_`` keys; return the settings by bind name.

        :raise ConfigError: a key is unknown or its value wrong; the text names it.
        """
        return load_settings(config, cls)

    @classmethod
    def of_bind(cls, config: Mapping[str, t.Any], name: str, values: t.Any) -> Settings:
        """Read and check what the ``bind_loader`` gave for a bind; take the rest from
        the plain keys.

        :raise ConfigError: as :meth:`from_config`; the text names the bind.
        """
        return load_bind(config, name, values, cls)

    def driver_arguments(self) -> dict[str, t.Any]:
        """Return the keyword arguments for :func:`pymysql.connect`.

        The password is ``None`` where a callable gives it.
        """
        arguments = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata.get("driver")
        }
        if callable(self.password):
            arguments["password"] = None
        return {
            name: value
            for name, value in arguments.items()
            if value is not None or name == "autocommit"
        }

    def masked(self) -> dict[str, t.Any]:
        """Return the settings that are set, with secrets masked."""
        shown: dict[str, t.Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                secret = field.metadata.get("secret") and value != field.default
                shown[field.name] = MASK if secret else _plain(value)
        return shown


FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
# What one pool alone has no use for.
APP_WIDE = {"binds", *(n for n, f in FIELDS.items() if f.metadata.get("app_wide"))}


def _plain(value: t.Any) -> t.Any:
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, tuple):
        return list(value)
    return f"<{type(value).__name__}>"
