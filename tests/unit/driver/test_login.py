"""No password for a server that proved nothing: whatever login plugin it asks for."""

from __future__ import annotations

import contextlib
import errno
import os
import time
import typing as t
from pathlib import Path

import pymysql
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import rsa
from pymysql.constants import CR

from flask_mysqlpool import ConfigError
from flask_mysqlpool import Pool
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool.driver.connector import Connector

from ...support.certificates import Certificate
from ...support.certificates import make_certificate
from ...support.login_server import clear
from ...support.login_server import extra
from ...support.login_server import LoginServer
from ...support.login_server import PASSWORD
from ...support.login_server import rsa_keys
from ...support.login_server import SALT
from ...support.login_server import switch
from ...support.pools import settings_for

CLEARTEXT = ("mysql_clear_password", "dialog")
SHA2 = ("caching_sha2_password", "sha256_password")
UNVERIFIED: list[dict[str, t.Any]] = [
    {},
    {"ssl_mode": "PREFERRED"},
    {"ssl_mode": "REQUIRED"},
    {"ssl": {}},
    {"ssl": {"verify_mode": "none"}},
]
DISABLED: list[dict[str, t.Any]] = [{}, {"ssl_disabled": True}]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def keys() -> tuple[rsa.RSAPrivateKey, bytes]:
    return rsa_keys()


def log_in(server: LoginServer, **settings: t.Any) -> pymysql.err.OperationalError:
    """Log in; return the error, which there is always: no server goes on."""
    values = {"connect_timeout": 10, **settings}
    with pytest.raises(pymysql.err.OperationalError) as raised:
        Connector(settings_for(server.url, **values)).open(time.monotonic() + 10)
    return raised.value


def ways_to_ask(plugin: str) -> list[LoginServer]:
    """Return servers that ask with an AuthSwitchRequest, in the greeting, and after
    another plugin.
    """
    return [
        LoginServer(clear(plugin)),
        LoginServer(clear(plugin), plugin=plugin),
        LoginServer(extra(b"\x04Password: "), plugin=plugin),
        LoginServer(switch("mysql_native_password"), clear(plugin)),
    ]


@pytest.mark.parametrize("plugin", CLEARTEXT)
@pytest.mark.parametrize("settings", [*DISABLED, *UNVERIFIED], ids=str)
@pytest.mark.parametrize("way", range(4))
def test_password_does_not_leave_in_clear(
    plugin: str, settings: dict[str, t.Any], way: int, certificate: Certificate
) -> None:
    server = ways_to_ask(plugin)[way]
    if settings in UNVERIFIED:
        server.tls = certificate.server_context()
    with server:
        error = log_in(server, **settings)
    assert PASSWORD.encode() not in server.received
    assert PASSWORD not in str(error)


@pytest.mark.parametrize("plugin", CLEARTEXT)
def test_who_asks_for_the_password_in_clear_is_refused_in_words(plugin: str) -> None:
    with ways_to_ask(plugin)[0] as server:
        code, text = log_in(server).args
    assert code == CR.CR_AUTH_PLUGIN_ERR
    assert f"the password in clear ({plugin})" in text
    assert "set MYSQLPOOL_SSL_MODE to VERIFY_IDENTITY" in text


@pytest.mark.parametrize("plugin", CLEARTEXT)
def test_handler_of_the_app_is_not_asked_for_the_password(plugin: str) -> None:
    class Handler:
        def __init__(self, connection: t.Any) -> None:
            self.connection = connection

        def authenticate(self, packet: t.Any) -> None:
            self.connection.write_packet(self.connection.password)

    with ways_to_ask(plugin)[0] as server:
        error = log_in(server, auth_plugin_map={plugin: Handler})
    assert error.args[0] == CR.CR_AUTH_PLUGIN_ERR
    assert PASSWORD.encode() not in server.received


@pytest.mark.parametrize("plugin", CLEARTEXT)
@pytest.mark.parametrize("mode", ["VERIFY_CA", "VERIFY_IDENTITY"])
def test_server_that_proved_who_it_is_gets_the_password(
    plugin: str, mode: str, certificate: Certificate
) -> None:
    server = ways_to_ask(plugin)[0]
    server.tls = certificate.server_context()
    with server:
        log_in(server, ssl_mode=mode, ssl_ca=certificate.cert)
    assert server.packets[1] == PASSWORD.encode() + b"\0"


@pytest.mark.parametrize("plugin", CLEARTEXT)
def test_server_on_this_machine_gets_the_password(plugin: str, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with LoginServer(clear(plugin), unix_socket=path) as server:
        log_in(server)
    assert server.packets[1] == PASSWORD.encode() + b"\0"


@pytest.mark.parametrize("plugin", CLEARTEXT)
def test_password_leaves_in_clear_where_that_is_allowed(plugin: str) -> None:
    with ways_to_ask(plugin)[0] as server:
        log_in(server, enable_cleartext_plugin=True)
    assert server.packets[1] == PASSWORD.encode() + b"\0"


# The server's public key


def decrypted(packet: bytes, key: rsa.RSAPrivateKey) -> bytes | None:
    """Return the password that a client encrypted for the owner of ``key``."""
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    with contextlib.suppress(ValueError):
        masked = key.decrypt(packet, oaep)
        return bytes(each ^ SALT[i % 20] for i, each in enumerate(masked))
    return None


def asks_with_own_key(plugin: str, way: int, public: bytes) -> LoginServer:
    """Return a server that offers a key of its own for the password."""
    needs_full_login = extra(b"\x04")
    if plugin == "sha256_password":
        if way == 0:
            return LoginServer(extra(public), plugin=plugin)
        return LoginServer(switch(plugin), extra(public))
    if way == 0:
        return LoginServer(needs_full_login, extra(public), plugin=plugin)
    return LoginServer(switch(plugin), needs_full_login, extra(public))


@pytest.mark.parametrize("plugin", SHA2)
@pytest.mark.parametrize("way", range(2))
def test_pinned_key_keeps_the_password_from_who_offers_another(
    plugin: str,
    way: int,
    tmp_path: Path,
    keys: tuple[rsa.RSAPrivateKey, bytes],
) -> None:
    mine, public = rsa_keys()
    path = tmp_path / "public.pem"
    path.write_bytes(public)
    theirs, offered = keys
    with asks_with_own_key(plugin, way, offered) as server:
        log_in(server, server_public_key=path)
    assert PASSWORD.encode() not in server.received
    sent = [packet for packet in server.packets if len(packet) == 256]
    assert {decrypted(each, theirs) for each in sent} == {None}
    assert {decrypted(each, mine) for each in sent} == {PASSWORD.encode() + b"\0"}


@pytest.mark.parametrize("plugin", SHA2)
def test_without_a_pinned_key_the_servers_own_is_used(
    plugin: str, keys: tuple[rsa.RSAPrivateKey, bytes]
) -> None:
    theirs, offered = keys
    with asks_with_own_key(plugin, 0, offered) as server:
        log_in(server)
    assert decrypted(server.packets[-1], theirs) == PASSWORD.encode() + b"\0"


@pytest.mark.parametrize("plugin", SHA2)
@pytest.mark.parametrize("way", range(2))
@pytest.mark.parametrize("settings", UNVERIFIED, ids=str)
def test_pinned_key_is_not_passed_by_with_tls(
    plugin: str,
    way: int,
    settings: dict[str, t.Any],
    certificate: Certificate,
    keys: tuple[rsa.RSAPrivateKey, bytes],
) -> None:
    """Under TLS these plugins send the password itself."""
    server = asks_with_own_key(plugin, way, keys[1])
    server.tls = certificate.server_context()
    with server:
        error = log_in(server, server_public_key=keys[1], **settings)
    assert "MYSQLPOOL_SERVER_PUBLIC_KEY" in str(error)
    assert PASSWORD.encode() not in server.received


@pytest.mark.parametrize(
    "contents", [b"", b"ssh-rsa AAAA", b"-----BEGIN PUBLIC KEY-----"]
)
def test_file_without_a_public_key_is_refused(contents: bytes, tmp_path: Path) -> None:
    path = tmp_path / "public.pem"
    path.write_bytes(contents)
    settings = settings_for("mysql://app@h", server_public_key=path)
    with pytest.raises(
        ConfigError, match="holds no public RSA key in PEM form"
    ) as raised:
        Pool(settings)
    assert f"MYSQLPOOL_SERVER_PUBLIC_KEY ({path})" in str(raised.value)


# What does not fit together


@pytest.mark.parametrize(
    "settings",
    [
        {"ssl_mode": "REQUIRED"},
        {"ssl_mode": "VERIFY_CA"},
        {"ssl_mode": "VERIFY_IDENTITY"},
        {"ssl_verify_cert": True},
        {"ssl": {}},
        {"ssl": {"cipher": "HIGH"}},
    ],
    ids=str,
)
def test_server_that_takes_tls_away_gets_nothing(settings: dict[str, t.Any]) -> None:
    with LoginServer(switch("mysql_native_password")) as server:
        code, text = log_in(server, **settings).args
    assert code == CR.CR_SSL_CONNECTION_ERROR
    assert "offers no TLS" in text
    assert server.received == b""


@pytest.mark.parametrize(
    "plugin", ["parsec", "mysql_old_password", "client_ed25519", "\x1b[2J"]
)
def test_unknown_plugin_is_named(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nacl", None)
    with LoginServer(switch(plugin)) as server:
        code, text = log_in(server).args
    assert code == CR.CR_AUTH_PLUGIN_CANNOT_LOAD
    assert f"asks for the login plugin {plugin!r}" in text
    assert "\x1b" not in text


def test_name_without_end_is_not_shown_whole() -> None:
    with LoginServer(switch("x" * 10_000)) as server:
        error = log_in(server)
    assert error.args[0] == CR.CR_AUTH_PLUGIN_CANNOT_LOAD
    assert len(str(error)) < 1000


def not_set_up(certificate: Certificate) -> dict[str, tuple[LoginServer, t.Any]]:
    """Return servers with which these settings can never log in."""
    tls = certificate.server_context()
    return {
        "cleartext": (LoginServer(clear("dialog")), {}),
        "unknown plugin": (LoginServer(switch("parsec")), {}),
        "no TLS": (LoginServer(), {"ssl_mode": "REQUIRED"}),
        "no trust": (LoginServer(tls=tls), {"ssl_mode": "VERIFY_CA"}),
    }


@pytest.mark.parametrize("case", ["cleartext", "unknown plugin", "no TLS", "no trust"])
def test_what_is_not_set_up_is_no_outage(case: str, certificate: Certificate) -> None:
    server, settings = not_set_up(certificate)[case]
    with server:
        pool = Pool(settings_for(server.url, timeout=10, **settings))
        for _ in range(2):
            with pytest.raises(pymysql.err.OperationalError) as raised:
                pool.connection()
            assert type(raised.value) is pymysql.err.OperationalError
            assert "cannot be reached" not in str(raised.value)
        assert pool.outage is None
        assert pool.stats().size == 0
        pool.close()


def test_failed_check_is_seen_while_another_error_is_handled(
    certificate: Certificate,
) -> None:
    with LoginServer(tls=certificate.server_context()) as server:
        try:
            raise KeyError("of the app")
        except KeyError:
            error = log_in(server, ssl_mode="VERIFY_CA")
    assert error.args[0] == CR.CR_SSL_CONNECTION_ERROR


def test_tls_that_is_cut_off_is_an_outage(certificate: Certificate) -> None:
    server = LoginServer(tls=certificate.server_context())
    with server:
        server._talk = lambda client: None  # type: ignore[method-assign]
        error = log_in(server, ssl_mode="REQUIRED")
    assert error.args[0] not in (CR.CR_SSL_CONNECTION_ERROR, CR.CR_AUTH_PLUGIN_ERR)


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({"ssl_disabled": True}, "DISABLED"),
        ({}, "PREFERRED"),
        ({"ssl": {}}, "REQUIRED"),
        ({"ssl_verify_cert": True}, "VERIFY_CA"),
        ({"ssl_verify_identity": True}, "VERIFY_IDENTITY"),
        *(({"ssl_mode": mode}, mode) for mode in ("PREFERRED", "REQUIRED")),
        *(({"ssl_mode": mode.lower()}, mode) for mode in ("VERIFY_CA", "DISABLED")),
        ({"ssl_mode": "VERIFY_IDENTITY"}, "VERIFY_IDENTITY"),
    ],
    ids=str,
)
def test_mode_in_force(settings: dict[str, t.Any], mode: str) -> None:
    made: list[str] = []
    connector = Connector(settings_for("mysql://app@h", **settings))
    made.append(connector._session({}).tls_mode)
    assert made == [mode]


@pytest.mark.parametrize("lines", [None, "", "password=x", "[other]"])
def test_option_file_that_broke_at_runtime_is_an_error_of_the_driver(
    lines: str | None, tmp_path: Path
) -> None:
    """As a TLS file that broke: what a view catches, and no outage."""
    file = tmp_path / "my.cnf"
    file.write_text("[client]\npassword=x\n")
    settings = settings_for("mysql://app@127.0.0.1:1/bank", read_default_file=file)
    with Pool(settings) as pool:
        file.unlink()
        if lines is not None:
            file.write_text(lines)
        for _ in range(2):
            with pytest.raises(pymysql.err.OperationalError) as raised:
                pool.connection()
            assert raised.value.args[0] == CR.CR_AUTH_PLUGIN_ERR
            text = raised.value.args[1]
            assert text.startswith("the file of MYSQLPOOL_READ_DEFAULT_FILE ")
            assert isinstance(raised.value.__cause__, ConfigError)
        assert pool.outage is None


def test_callable_without_a_password_is_an_error_of_the_driver() -> None:
    password: t.Any = lambda: None  # noqa: E731
    settings = settings_for("mysql://app@127.0.0.1:1/bank", password=password)
    with Pool(settings) as pool, pytest.raises(pymysql.err.OperationalError) as raised:
        pool.connection()
    assert raised.value.args[0] == CR.CR_AUTH_PLUGIN_ERR
    assert "MYSQLPOOL_PASSWORD must return text, not NoneType" in raised.value.args[1]


def test_error_of_the_callable_reaches_the_caller_and_is_no_outage() -> None:
    def password() -> t.NoReturn:
        raise FileNotFoundError("/run/secrets/bank-password")

    settings = settings_for("mysql://app@127.0.0.1:1/bank", password=password)
    with Pool(settings) as pool:
        with pytest.raises(FileNotFoundError, match="bank-password"):
            pool.connection()
        assert pool.outage is None


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_shortage_of_descriptors_is_no_wrong_option_file(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "my.cnf"
    file.write_text("[client]\npassword=x\n")
    settings = settings_for("mysql://app@127.0.0.1:1/bank", read_default_file=file)

    def fail(*args: t.Any, **keywords: t.Any) -> t.NoReturn:
        raise OSError(number, os.strerror(number))

    with Pool(settings) as pool, monkeypatch.context() as patched:
        patched.setattr("builtins.open", fail)
        with pytest.raises(PoolTimeout, match="this (process|machine) has no"):
            pool.connection(timeout=0)
