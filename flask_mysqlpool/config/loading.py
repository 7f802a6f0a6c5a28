"""Reads the settings of all pools from the ``MYSQLPOOL_`` keys of a configuration.

A key wins over the same setting in a URL. A bind wins over the plain keys. An option
file counts where nothing else does.
"""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable
from collections.abc import Mapping

from ..errors import ConfigError
from .converters import ConversionError
from .hints import hint
from .option_file import option_file_settings
from .tls import asked_mode
from .tls import check_tls
from .tls import replaced
from .tls import unset_options
from .url import url_parts

if t.TYPE_CHECKING:
    from _typeshed import DataclassInstance

PREFIX = "MYSQLPOOL_"

_S = t.TypeVar("_S", bound="DataclassInstance")
_Fields = Mapping[str, "dataclasses.Field[t.Any]"]
_Key = Callable[[str], str]  # returns the key of the setting with this name

_TCP = {"host", "port"}
_UNIX = {"unix_socket"}
# One of these names a server. An option file may.
_SERVER = {"url", "host", "unix_socket", "read_default_file"}


def load_settings(
    config: Mapping[str, t.Any], settings_class: type[_S]
) -> dict[str, _S]:
    """Read and check all ``MYSQLPOOL_`` keys; return the settings by bind name.

    :param settings_class: a dataclass with a field for each setting. It is passed in
        because it offers this function as its own ``from_config``.
    :raise ConfigError: a key is unknown or its value wrong; the text names it.
    """
    fields = {field.name: field for field in dataclasses.fields(settings_class)}
    plain = _plain_values(config, fields)
    binds = _checked_binds(plain.pop("binds", None))
    base = _Layer(fields, _plain_key)
    base.read(plain)
    settings = {}
    if _names_server(plain) or not binds or not all(map(_names_server, binds.values())):
        settings["default"] = settings_class(**base.checked_values())
    for name, values in binds.items():
        bind = _Layer(fields, _key_in_bind(name), bind=True)
        bind.read(values)
        settings[name] = settings_class(**bind.over(base).checked_values())
    return settings


def load_bind(
    config: Mapping[str, t.Any], name: str, values: t.Any, settings_class: type[_S]
) -> _S:
    """Read and check the settings of a bind that is not in the configuration.

    :param values: what the ``bind_loader`` returned.
    :raise ConfigError: they are wrong; the text names the bind.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{_call(name)} must return a mapping of settings, such as"
            f' {{"database": "shop"}}, or None, not {type(values).__name__}'
        )
    fields = {field.name: field for field in dataclasses.fields(settings_class)}
    plain = _plain_values(config, fields)
    plain.pop("binds", None)
    base = _Layer(fields, _plain_key)
    base.read(plain)
    bind = _Layer(fields, lambda key: f'{_call(name)}["{key}"]', bind=True)
    bind.read(values)
    return settings_class(**bind.over(base).checked_values())


def _call(name: str) -> str:
    return f'bind_loader("{name}")'


def _names_server(values: Mapping[str, t.Any]) -> bool:
    return any(values.get(name) is not None for name in _SERVER)


def settings_keys(config: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return a copy of the part of a configuration that is ours."""
    return {
        key: _copied(value)
        for key, value in config.items()
        if isinstance(key, str) and key.startswith(PREFIX)
    }


def _copied(value: t.Any) -> t.Any:
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    return [*value] if isinstance(value, list) else value


class _Layer:
    """The settings that are given in one place: in the plain keys, or in one bind."""

    def __init__(self, fields: _Fields, key: _Key, bind: bool = False) -> None:
        self._fields = fields
        self._key = key
        self._bind = bind
        self._values: dict[str, t.Any] = {}
        self._keys: dict[str, str] = {}  # of each value, for errors

    def read(self, values: Mapping[str, t.Any]) -> None:
        """Convert the values and keep them.

        :raise ConfigError: a name is unknown, a value is wrong, or two servers are
            named.
        """
        if values.get("url") is not None:
            self._read_url(values["url"])
        for name, value in values.items():
            if name != "url":
                self._set(name, value, self._key)
        over_tcp, over_unix = _TCP & self._values.keys(), _UNIX & self._values.keys()
        if over_tcp and over_unix:
            one, other = min(over_tcp), min(over_unix)
            raise ConfigError(
                f"{self._keys[one]} and {self._keys[other]} name two different"
                " servers: keep host and port, or the socket"
            )

    def over(self, base: _Layer) -> _Layer:
        """Return this layer, with what it does not set taken from ``base``."""
        return self._merged(base, replaced(self._values))

    def _merged(self, base: _Layer, dropped: set[str]) -> _Layer:
        if _TCP & self._values.keys():
            dropped |= _UNIX
        if _UNIX & self._values.keys():
            dropped |= _TCP
        merged = _Layer(self._fields, self._key)
        merged._values = {
            name: value for name, value in base._values.items() if name not in dropped
        } | self._values
        merged._keys = base._keys | self._keys
        return merged

    def checked_values(self) -> dict[str, t.Any]:
        """Return the values that are set, also in the option file.

        :raise ConfigError: two of them contradict each other.
        """
        return self._over_option_file()._checked_values()

    def _over_option_file(self) -> _Layer:
        path = self._value("read_default_file")
        group = self._value("read_default_group")
        key = self._key_of("read_default_file")
        if not path:
            if group:
                raise ConfigError(f"{self._key_of('read_default_group')} needs {key}")
            return self
        file = _Layer(self._fields, lambda name: f"{name} in the file of {key}")
        values = option_file_settings(path, group or "client", key)
        if asked_mode(self._values.get) == "DISABLED":
            values.pop("ssl_mode", None)
        if options := unset_options(values.pop("ssl", {}), self._values):
            values["ssl"] = options
        for name, value in values.items():
            file._set(name, value, file._key)
        merged = self._merged(file, set())
        ours, its = self._values.get("ssl"), file._values.get("ssl")
        if isinstance(ours, Mapping) and isinstance(its, Mapping):
            merged._values["ssl"] = {**its, **ours}
        return merged

    def _checked_values(self) -> dict[str, t.Any]:
        min_size, max_size = self._value("min_size"), self._value("max_size")
        if min_size > max_size:
            raise ConfigError(
                f"{self._key_of('min_size')} is {min_size}, which is more than"
                f" {self._key_of('max_size')}, {max_size}"
            )
        check_tls(self._values.get, self._key_of)
        return self._values

    def _read_url(self, url: t.Any) -> None:
        key = self._key("url")
        parts, options = url_parts(url, key)
        for name, value in parts.items():
            self._set(name, value, lambda name: f"{name} in {key}")
        known = [name for name in self._fields if name != "url"]
        for number, (name, value) in enumerate(options, 1):
            if name not in known:  # it is perhaps part of a password: not shown
                raise ConfigError(
                    f"parameter {number} of {key} is not a setting"
                    f"{hint(name, known, str)}"
                )
            if name in parts:
                raise ConfigError(f"{key} gives {name} twice: keep one of them")
            parts[name] = value
            self._set(name, value, lambda name: f"{name} in {key}")

    def _set(self, name: str, value: t.Any, key: _Key) -> None:
        field = self._fields.get(name)
        if field is None or name == "url":
            known = [*self._fields, "binds"]
            if self._bind:
                known = [
                    n for n, f in self._fields.items() if "app_wide" not in f.metadata
                ]
            raise ConfigError(f"{key(name)} is not a setting{hint(name, known, key)}")
        if self._bind and field.metadata.get("app_wide"):
            raise ConfigError(
                f"{key(name)} is one setting for all binds: use {_plain_key(name)}"
            )
        if value is None and field.default is None:
            return
        try:
            self._values[name] = field.metadata["convert"](value)
        except ConversionError as error:
            raise ConfigError(f"{key(name)} must be {error}") from None
        self._keys[name] = key(name)

    def _value(self, name: str) -> t.Any:
        return self._values.get(name, self._fields[name].default)

    def _key_of(self, name: str) -> str:
        return self._keys.get(name) or self._key(name)


def _plain_key(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _plain_values(config: Mapping[str, t.Any], fields: _Fields) -> dict[str, t.Any]:
    values = {}
    for key, value in settings_keys(config).items():
        name = key.removeprefix(PREFIX)
        if name != name.upper():  # else two keys could set the same
            known = [*fields, "binds"]
            meant = hint(name.upper(), known, _plain_key)
            raise ConfigError(f"{key} is not a setting{meant}")
        values[name.lower()] = value
    return values


def _key_in_bind(bind: str) -> _Key:
    return lambda name: f'{PREFIX}BINDS["{bind}"]["{name}"]'


def _checked_binds(binds: t.Any) -> Mapping[str, Mapping[str, t.Any]]:
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
        if not name.isprintable():
            raise ConfigError(f"{PREFIX}BINDS has a name that is not printable")
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
