"""The settings: each field is a key, its default and its documentation."""

from __future__ import annotations

import dataclasses
import difflib
import ssl
import typing as t
from collections.abc import Callable
from collections.abc import Mapping

from pymysql.cursors import Cursor

from ..errors import ConfigError
from . import converters as to
from .url import url_parts

PREFIX = "MYSQLPOOL_"
MASK = "********"

_Key = Callable[[str], str]  # what a user calls the setting of this name


def _setting(convert: to.Convert, default: t.Any, doc: str, **flags: bool) -> t.Any:
    metadata = {"convert": convert, "doc": doc, **flags}
    return dataclasses.field(
        default=default, metadata=metadata, repr=not flags.get("secret", False)
    )


def _driver(convert: to.Convert, doc: str, **flags: bool) -> t.Any:
    """A parameter of :func:`pymysql.connect`; ``None`` leaves PyMySQL's default."""
    return _setting(convert, None, doc, driver=True, **flags)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one pool.

    The key of a field is its name in capitals after ``MYSQLPOOL_``. Durations are
    in seconds.
    """

    url: str | None = _setting(
        to.text,
        None,
        "``mysql://user:password@host:3306/database?charset=utf8mb4``. Percent-encode"
        " what is special in a URL. Any other setting may follow after ``?``. A"
        " setting with a key of its own wins over its part of the URL.",
        secret=True,
    )
    host: str | None = _driver(to.text, "Host name or address of the server.")
    port: int | None = _driver(to.whole(1, 65535), "TCP port of the server.")
    user: str | None = _driver(to.text, "User name.")
    password: str | Callable[[], str] | None = _driver(
        to.secret,
        "Password, or a callable without parameters that is asked for it at each"
        " connect (for credentials that rotate).",
        secret=True,
    )
    database: str | None = _driver(to.text, "Database to use.")
    unix_socket: str | None = _driver(
        to.text, "Unix socket of the server, instead of host and port."
    )

    min_size: int = _setting(
        to.whole(0), 0, "Connections kept open, refilled in the background."
    )
    max_size: int = _setting(
        to.whole(1),
        10,
        "Most connections open at once **in this process**. The server sees up to"
        " workers × ``MAX_SIZE``.",
    )
    timeout: float = _setting(
        to.seconds(),
        10.0,
        "Seconds that a checkout may take in all: waiting, connecting, handshake,"
        " check. 0: do not wait for a connection that somebody else holds.",
    )
    max_waiting: int = _setting(
        to.whole(0), 0, "Most callers in the queue. 0: no limit."
    )
    max_lifetime: float = _setting(
        to.seconds(),
        1800.0,
        "Age at which a connection is retired, shortened a little at random so that"
        " they do not die together. 0: never.",
    )
    max_idle: float = _setting(
        to.seconds(),
        600.0,
        "Idle time after which a connection above ``MIN_SIZE`` is closed. 0: never.",
    )
    max_usage: int = _setting(
        to.whole(0),
        0,
        "Checkouts after which a connection is retired, at its return. 0: never.",
    )
    ping_after: float = _setting(
        to.seconds(),
        1.0,
        "Seconds of rest after which a checkout asks the server whether the"
        " connection lives. 0: always.",
    )
    reset: str = _setting(
        to.one_of("auto", "session", "rollback"),
        "auto",
        '``"auto"``: the session is put back to its start whenever the request changed'
        ' it. ``"session"``: after every request. ``"rollback"``: the transaction'
        " only.",
    )
    setsession: tuple[str, ...] = _setting(
        to.statements,
        (),
        "SQL statements that prepare each session, run on connect and again after a"
        " reset.",
    )
    leak_after: float = _setting(
        to.seconds(),
        60.0,
        "Seconds after which a connection that is still held is reported once, with"
        " who holds it and where. 0: never.",
    )
    runtime_dir: str | None = _setting(
        to.folder,
        None,
        "Folder of the workers' sockets. By default one below ``/tmp`` that is"
        " private to the user, with a folder in it for each app.",
        app_wide=True,
    )

    autocommit: bool | None = _setting(
        to.flag_or_none,
        False,
        "Whether each statement is a transaction of its own. ``None``: as the server"
        " has it.",
        driver=True,
    )
    charset: str | None = _driver(to.charset, "Character set of the connection.")
    collation: str | None = _driver(to.text, "Collation of the connection.")
    sql_mode: str | None = _driver(to.text, "``sql_mode`` of the session.")
    cursorclass: type[Cursor] | None = _driver(
        to.cursor_class,
        'Class of the cursors: a class, or a name such as ``"DictCursor"``.',
    )
    init_command: str | None = _driver(
        to.text, "SQL statement run on connect and again after a reset."
    )
    connect_timeout: float = _setting(
        to.seconds(above=True),
        10.0,
        "Seconds that connecting may take; the checkout's own deadline holds too.",
        driver=True,
    )
    read_timeout: float | None = _driver(
        to.seconds(above=True), "Seconds to wait for an answer of the server."
    )
    write_timeout: float | None = _driver(
        to.seconds(above=True), "Seconds to wait while sending to the server."
    )
    ssl_disabled: bool | None = _driver(to.flag, "Do not use TLS.")
    ssl_ca: str | None = _driver(to.file, "File with the certificate authorities.")
    ssl_cert: str | None = _driver(to.file, "File with the client's certificate.")
    ssl_key: str | None = _driver(to.file, "File with the client's private key.")
    ssl_key_password: str | None = _driver(
        to.text, "Password of the client's private key.", secret=True
    )
    ssl_verify_cert: bool | None = _driver(to.flag, "Check the server's certificate.")
    ssl_verify_identity: bool | None = _driver(
        to.flag, "Check that the certificate is for this host."
    )
    ssl: ssl.SSLContext | Mapping[str, t.Any] | None = _driver(
        to.tls,
        "An :class:`ssl.SSLContext`, instead of the single ``SSL_*`` keys.",
        secret=True,
    )
    server_public_key: str | bytes | None = _driver(
        to.key_text, "The server's public key, for ``sha256_password`` without TLS."
    )
    read_default_file: str | None = _driver(
        to.file, "Option file (``my.cnf``) to read what is not set here."
    )
    read_default_group: str | None = _driver(
        to.text, "Group of the option file. PyMySQL reads ``client``."
    )
    bind_address: str | None = _driver(to.text, "Local address to connect from.")
    program_name: str | None = _driver(
        to.text,
        "Name that the server shows among the connection's attributes. By default the"
        " app's name and the process: ``shop:4711``.",
    )
    local_infile: bool | None = _driver(to.flag, "Allow ``LOAD DATA LOCAL``.")
    max_allowed_packet: int | None = _driver(
        to.whole(1), "Bytes of a packet of ``LOAD DATA LOCAL`` at most."
    )
    client_flag: int | None = _driver(
        to.whole(0, 2**31 - 1),
        "Further capability flags (``pymysql.constants.CLIENT``).",
    )
    use_unicode: bool | None = _driver(to.flag, "Decode text to :class:`str`.")
    conv: Mapping[t.Any, t.Any] | None = _driver(
        to.mapping, "Converters, instead of ``pymysql.converters.conversions``."
    )
    auth_plugin_map: Mapping[t.Any, t.Any] | None = _driver(
        to.mapping, "Classes that handle authentication plugins, by plugin name."
    )

    @classmethod
    def from_config(cls, config: Mapping[str, t.Any]) -> dict[str, Settings]:
        """Read and check all ``MYSQLPOOL_`` keys; return the settings by bind name.

        :raise ConfigError: a key is unknown or its value wrong; the text names it.
        """
        plain = {
            key.removeprefix(PREFIX).lower(): value
            for key, value in config.items()
            if key.startswith(PREFIX)
        }
        binds = plain.pop("binds", None)
        base = _Layer(plain, lambda name: f"{PREFIX}{name.upper()}")
        settings = {"default": base.build()}
        for name, values in _binds(binds).items():
            bind = _Layer(values, _key_in_bind(name), bind=True)
            settings[name] = bind.over(base).build()
        return settings

    def driver_arguments(self) -> dict[str, t.Any]:
        """Return the keyword arguments for :func:`pymysql.connect`, without the
        password where a callable gives it.
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
        """Return the settings that are set, fit to be shown."""
        shown: dict[str, t.Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                secret = field.metadata.get("secret")
                shown[field.name] = MASK if secret else _plain(value)
        return shown


FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
_TARGETS = ({"host", "port"}, {"unix_socket"})
_TLS = ("ssl_ca", "ssl_cert", "ssl_key", "ssl_verify_cert", "ssl_verify_identity")
_TLS_BY = ({"ssl"}, {*_TLS})


class _Layer:
    """The settings given in one place: the plain keys, or one bind."""

    def __init__(self, values: Mapping[str, t.Any], key: _Key, bind: bool = False):
        self._key = key
        self._bind = bind
        self._keys: dict[str, str] = {}
        self._values: dict[str, t.Any] = {}
        if values.get("url") is not None:
            self._read_url(values["url"])
        for name, value in values.items():
            if name != "url":
                self._set(name, value, key)
        if self._named(0) and self._named(1):
            one, other = min(self._named(0)), min(self._named(1))
            raise ConfigError(
                f"{self._keys[one]} and {self._keys[other]} name two different"
                " servers: keep host and port, or the socket"
            )

    def over(self, base: _Layer) -> _Layer:
        """Return this layer with what it leaves out taken from ``base``."""
        merged = _Layer({}, self._key)
        lost = set[str]()
        for one, other in (_TARGETS, _TLS_BY):
            if one & self._values.keys():  # the bind's own way replaces the other
                lost |= other
            if other & self._values.keys():
                lost |= one
        if self._values.get("ssl_disabled"):
            lost |= {"ssl", *_TLS}
        merged._values = {
            name: value for name, value in base._values.items() if name not in lost
        } | self._values
        merged._keys = base._keys | self._keys
        return merged

    def build(self) -> Settings:
        settings = Settings(**self._values)
        if settings.min_size > settings.max_size:
            raise ConfigError(
                f"{self._name('min_size')} is {settings.min_size}, which is more than"
                f" {self._name('max_size')}, {settings.max_size}"
            )
        if settings.ssl_disabled:
            for name in ("ssl", *_TLS):
                if getattr(settings, name):
                    raise ConfigError(
                        f"{self._name('ssl_disabled')} is true, but"
                        f" {self._name(name)} asks for TLS: keep one of them"
                    )
        for name in _TLS:
            if settings.ssl and getattr(settings, name):
                raise ConfigError(
                    f"{self._name('ssl')} replaces the single keys, so"
                    f" {self._name(name)} would be lost: keep one of them"
                )
        return settings

    def _read_url(self, url: t.Any) -> None:
        key = self._key("url")
        for name, value in url_parts(url, key).items():
            self._set(name, value, lambda name: f"{name} in {key}")

    def _set(self, name: str, value: t.Any, key: _Key) -> None:
        field = FIELDS.get(name)
        if field is None or name == "url":
            raise ConfigError(f"{key(name)} is not a setting{_nearest(name, key)}")
        if self._bind and field.metadata.get("app_wide"):
            raise ConfigError(
                f"{key(name)} is one setting for all binds: use {PREFIX}{name.upper()}"
            )
        if value is None and field.default is None:
            return
        try:
            self._values[name] = field.metadata["convert"](value)
        except to.Unfit as unfit:
            shown = "" if field.metadata.get("secret") else f", not {value!r}"
            raise ConfigError(f"{key(name)} must be {unfit}{shown}") from None
        self._keys[name] = key(name)

    def _named(self, target: int) -> set[str]:
        return _TARGETS[target] & self._values.keys()

    def _name(self, name: str) -> str:
        return self._keys.get(name) or self._key(name)


def _key_in_bind(bind: str) -> _Key:
    return lambda name: f'{PREFIX}BINDS["{bind}"]["{name}"]'


def _binds(binds: t.Any) -> Mapping[str, Mapping[str, t.Any]]:
    if binds is None:
        return {}
    if not isinstance(binds, Mapping):
        raise ConfigError(
            f"{PREFIX}BINDS must be a mapping of bind names to settings, such as"
            ' {"reports": {"host": "replica"}}'
        )
    for name, values in binds.items():
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{PREFIX}BINDS has a bind whose name is not text")
        if name == "default":
            raise ConfigError(
                f'{PREFIX}BINDS must not hold "default": that bind is made of the'
                f" plain {PREFIX} keys"
            )
        if not isinstance(values, Mapping):
            raise ConfigError(
                f'{PREFIX}BINDS["{name}"] must be a mapping of settings, such as'
                ' {"host": "replica", "max_size": 4}'
            )
    return binds


def _nearest(name: str, key: _Key) -> str:
    known = [*FIELDS, "binds"] if key("binds") == f"{PREFIX}BINDS" else [*FIELDS]
    known = [other for other in known if other != name]
    nearest = difflib.get_close_matches(str(name).lower(), known, n=1)
    return f"; did you mean {key(nearest[0])}?" if nearest else ""


def _plain(value: t.Any) -> t.Any:
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, tuple):
        return list(value)
    return f"<{type(value).__name__}>"
