"""What protects a connection and its password, in the words of ``flask pool check``."""

from __future__ import annotations

import ssl

from ..config.settings import Settings
from .server_info import ServerInfo

_VERIFY = "set MYSQLPOOL_SSL_MODE to VERIFY_IDENTITY, and MYSQLPOOL_SSL_CA"


def judge_tls(settings: Settings, info: ServerInfo) -> tuple[str, str]:
    """Return what protects a connection, and what to change, empty if nothing."""
    mode = info.tls_mode
    encrypted = f"encrypted with {info.tls}" if info.tls else "not encrypted"
    text = f"mode {mode}, {encrypted}, logged in with {info.login_plugin}"
    if mode == "VERIFY_IDENTITY":
        return text, ""
    host = settings.host or "localhost"
    if settings.unix_socket or host in ("127.0.0.1", "::1", "localhost"):
        return f"{text}; the connection stays on this machine", ""
    if mode == "VERIFY_CA":
        if _has_own_ca(settings):
            return text, ""
        text += "; any certificate that the system trusts is accepted"
        return text, "set MYSQLPOOL_SSL_MODE to VERIFY_IDENTITY"
    text += "; the server is not authenticated"
    text += "" if info.tls else ", and rows can be read on the network"
    if settings.enable_cleartext_plugin:
        text += "; whoever answers gets the password in clear"
        return text, f"{_VERIFY}, and remove MYSQLPOOL_ENABLE_CLEARTEXT_PLUGIN"
    if settings.server_public_key is None:
        text += "; whoever answers can get the password"
    return text, _VERIFY if info.tls else f"enable TLS on the server, {_VERIFY}"


def _has_own_ca(settings: Settings) -> bool:
    if isinstance(settings.ssl, ssl.SSLContext):  # yours to know
        return True
    return bool(settings.ssl_ca or (settings.ssl or {}).keys() & {"ca", "capath"})
