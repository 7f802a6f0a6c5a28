"""Which TLS settings agree, and which mode they ask for, in MySQL's words."""

from __future__ import annotations

import ssl
import typing as t
from collections.abc import Callable
from collections.abc import Mapping

from ..errors import ConfigError

# MySQL Reference Manual, --ssl-mode: the strictest last.
MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
_DISABLED, _REQUIRED, _VERIFY_CA, _VERIFY_IDENTITY = (
    MODES[:1],
    MODES[2:],
    MODES[3:],
    MODES[4:],
)
# Replaced by an SSLContext or a mapping in `ssl`.
SINGLE_KEYS = (
    "ssl_ca",
    "ssl_cert",
    "ssl_key",
    "ssl_key_password",
    "ssl_verify_cert",
    "ssl_verify_identity",
)
# The modes with which a setting agrees where it is given; a flag: where it is true.
_AGREE = {
    "ssl_disabled": _DISABLED,
    "ssl": _REQUIRED,
    "ssl_ca": _VERIFY_CA,
    "ssl_cert": _REQUIRED,
    "ssl_key": _REQUIRED,
    "ssl_key_password": _REQUIRED,
    "ssl_verify_cert": _VERIFY_CA,
    "ssl_verify_identity": _VERIFY_IDENTITY,
}


def agreeing_modes(name: str, value: t.Any) -> tuple[str, ...]:
    """Return the modes with which the setting ``name`` agrees."""
    modes = _AGREE[name]
    if value is None:
        return MODES
    if value is False:
        return tuple(mode for mode in MODES if mode not in modes)
    return modes


def asked_mode(value_of: Callable[[str], t.Any]) -> str:
    """Return the mode that the settings ask for; empty where the mapping or context in
    ``ssl`` decides.
    """
    if mode := value_of("ssl_mode"):
        return str(mode)
    if value_of("ssl_disabled"):
        return "DISABLED"
    if value_of("ssl") is not None:
        return ""
    if value_of("ssl_verify_identity"):
        return "VERIFY_IDENTITY"
    if value_of("ssl_verify_cert"):
        return "VERIFY_CA"
    # As PyMySQL, and unlike MySQL's programs: a CA alone checks nothing.
    files = ("ssl_ca", "ssl_cert", "ssl_key")
    return "REQUIRED" if any(map(value_of, files)) else "PREFERRED"


def check_tls(value_of: Callable[[str], t.Any], key_of: Callable[[str], str]) -> None:
    """Check that the TLS settings agree.

    :param value_of: returns the value of a setting, ``None`` where it is not given.
    :param key_of: returns the key of a setting.
    :raise ConfigError: two of them contradict each other, or one has no effect.
    """
    mode = value_of("ssl_mode")
    for name in _AGREE if mode else ():
        modes = agreeing_modes(name, value_of(name))
        if mode not in modes:
            raise ConfigError(
                f"{key_of('ssl_mode')} is {mode}, but {key_of(name)} asks for"
                f" {' or '.join(modes)}: keep one of them"
            )
    if value_of("ssl_disabled"):
        for name in ("ssl", *SINGLE_KEYS):
            if value_of(name) not in (None, False):
                raise ConfigError(
                    f"{key_of('ssl_disabled')} is true, but {key_of(name)} asks for"
                    " TLS: keep one of them"
                )
    for name in SINGLE_KEYS:
        if value_of("ssl") is not None and value_of(name) not in (None, False):
            raise ConfigError(
                f"{key_of('ssl')} replaces the single keys, so {key_of(name)} would be"
                " lost: keep one of them"
            )
    if value_of("ssl_key") and not value_of("ssl_cert"):  # PyMySQL ignores it
        raise ConfigError(
            f"{key_of('ssl_key')} has no effect without {key_of('ssl_cert')}: set both"
        )


def replaced(own: Mapping[str, t.Any]) -> set[str]:
    """Return the TLS settings that a bind with the settings ``own`` does not take from
    the plain keys.
    """
    names = set[str]()
    if own.get("ssl") is not None:
        names |= {"ssl_mode", *SINGLE_KEYS}
    if own.keys() & {*SINGLE_KEYS}:
        names.add("ssl")
    if own.get("ssl_disabled"):
        names |= {"ssl_mode", "ssl", *SINGLE_KEYS}
    if mode := own.get("ssl_mode"):
        names |= {"ssl_disabled", "ssl_verify_cert", "ssl_verify_identity"}
        names |= {name for name, modes in _AGREE.items() if mode not in modes}
    elif own.keys() & {"ssl_verify_cert", "ssl_verify_identity", "ssl_disabled"}:
        names.add("ssl_mode")
    return names


def single_key(option: str) -> str:
    """Return the name of the single setting for one of PyMySQL's TLS options."""
    return "ssl_key_password" if option == "password" else f"ssl_{option}"


def unset_options(
    options: Mapping[str, t.Any], own: Mapping[str, t.Any]
) -> dict[str, t.Any]:
    """Return those of PyMySQL's ``options`` that the settings ``own`` do not set, and
    for which they leave a use.
    """
    ours = own.get("ssl")
    unused = asked_mode(own.get) == "DISABLED" or own.get("ssl_mode") == "PREFERRED"
    if unused or isinstance(ours, ssl.SSLContext):
        return {}
    return {
        option: value
        for option, value in options.items()
        if option not in (ours or {}) and own.get(single_key(option)) is None
    }
