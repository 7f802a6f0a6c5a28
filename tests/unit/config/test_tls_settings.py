"""TLS settings say one thing, or are refused."""

from __future__ import annotations

import ssl
import typing as t
from pathlib import Path

import pytest

from flask_mysqlpool import ConfigError
from flask_mysqlpool import Pool
from flask_mysqlpool.config.settings import Settings
from flask_mysqlpool.config.tls import asked_mode
from flask_mysqlpool.config.tls import MODES

from ...support.pools import settings_for

URL = "mysql://app@db/bank"


def refusal(**settings: t.Any) -> str:
    with pytest.raises(ConfigError) as raised:
        settings_for(URL, **settings)
    return str(raised.value)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "file.pem"
    path.touch()
    return str(path)


# By the mode that is given, the settings that ask for another.
CONTRADICTIONS: dict[str, list[dict[str, t.Any]]] = {
    "DISABLED": [
        *({"ssl_ca": "file"}, {"ssl_cert": "file"}, {"ssl": {}}),
        *({"ssl_verify_cert": True}, {"ssl_verify_identity": True}),
        *({"ssl_disabled": False}, {"ssl_key_password": "x"}),
    ],
    "PREFERRED": [
        *({"ssl_ca": "file"}, {"ssl_cert": "file"}, {"ssl": {}}),
        *({"ssl_verify_cert": True}, {"ssl_verify_identity": True}),
        {"ssl_disabled": True},
    ],
    "REQUIRED": [
        *({"ssl_ca": "file"}, {"ssl_verify_cert": True}),
        *({"ssl_verify_identity": True}, {"ssl_disabled": True}),
    ],
    "VERIFY_CA": [
        *({"ssl_verify_cert": False}, {"ssl_verify_identity": True}),
        {"ssl_disabled": True},
    ],
    "VERIFY_IDENTITY": [
        *({"ssl_verify_cert": False}, {"ssl_verify_identity": False}),
        {"ssl_disabled": True},
    ],
}


@pytest.mark.parametrize(
    ("mode", "other"),
    [(mode, other) for mode, others in CONTRADICTIONS.items() for other in others],
)
def test_mode_that_contradicts_another_key_is_refused(
    mode: str, other: dict[str, t.Any], file: str
) -> None:
    given = {key: file if value == "file" else value for key, value in other.items()}
    said = refusal(ssl_mode=mode, **given)
    (name,) = given
    assert said.startswith(
        f"MYSQLPOOL_SSL_MODE is {mode}, but MYSQLPOOL_{name.upper()}"
    )
    assert mode not in said.partition("asks for")[2].split()


@pytest.mark.parametrize(
    ("mode", "others"),
    [
        ("DISABLED", {"ssl_disabled": True, "ssl_verify_cert": False}),
        ("PREFERRED", {"ssl_disabled": False, "ssl_verify_identity": False}),
        ("REQUIRED", {"ssl_cert": "file", "ssl_key": "file", "ssl_verify_cert": False}),
        ("VERIFY_CA", {"ssl_ca": "file", "ssl_verify_cert": True}),
        ("VERIFY_CA", {"ssl_ca": "file", "ssl_verify_identity": False}),
        ("VERIFY_IDENTITY", {"ssl_ca": "file", "ssl_verify_identity": True}),
        ("VERIFY_IDENTITY", {"ssl_ca": "file", "ssl_verify_cert": True}),
    ],
)
def test_mode_that_agrees_with_the_others(
    mode: str, others: dict[str, t.Any], file: str
) -> None:
    given = {key: file if value == "file" else value for key, value in others.items()}
    settings = settings_for(URL, ssl_mode=mode.lower(), **given)
    assert settings.ssl_mode == mode


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({}, "PREFERRED"),
        ({"ssl_verify_cert": False}, "PREFERRED"),
        ({"ssl_disabled": False}, "PREFERRED"),
        ({"ssl_disabled": True}, "DISABLED"),
        ({"ssl_ca": "file"}, "REQUIRED"),
        ({"ssl_cert": "file"}, "REQUIRED"),
        ({"ssl_ca": "file", "ssl_verify_cert": False}, "REQUIRED"),
        ({"ssl_ca": "file", "ssl_verify_cert": True}, "VERIFY_CA"),
        ({"ssl_verify_identity": True}, "VERIFY_IDENTITY"),
    ],
)
def test_without_a_mode_the_other_keys_ask_as_they_do_for_pymysql(
    settings: dict[str, t.Any], mode: str, file: str
) -> None:
    given = {key: file if value == "file" else value for key, value in settings.items()}
    read = settings_for(URL, **given)
    assert asked_mode(lambda name: getattr(read, name)) == mode


def test_mode_in_the_url() -> None:
    assert settings_for(f"{URL}?ssl_mode=VERIFY_CA").ssl_mode == "VERIFY_CA"


@pytest.mark.parametrize("value", ["", "on", True, "verify", 1])
def test_unknown_mode_is_refused(value: t.Any) -> None:
    assert f"must be one of {', '.join(MODES)}" in refusal(ssl_mode=value)


def test_key_without_a_certificate_is_refused(file: str) -> None:
    assert "has no effect without MYSQLPOOL_SSL_CERT" in refusal(ssl_key=file)


@pytest.mark.parametrize("option", ["cafile", "ssl_ca", "verify_cert", "mode"])
def test_unknown_tls_option_is_refused(option: str) -> None:
    """PyMySQL ignores it: the certificate would not be checked."""
    said = refusal(ssl={option: "/etc/ca.pem"})
    assert "MYSQLPOOL_SSL must be a mapping with no keys but ca, capath, " in said


def test_mode_that_contradicts_a_context_is_refused() -> None:
    context = ssl.create_default_context()
    Pool(settings_for(URL, ssl=context, ssl_mode="VERIFY_IDENTITY"))
    with pytest.raises(ConfigError, match="asks for VERIFY_IDENTITY: keep one of them"):
        Pool(settings_for(URL, ssl=context, ssl_mode="REQUIRED"))


@pytest.mark.parametrize(
    ("plain", "bind", "expected"),
    [
        ({"ssl_mode": "REQUIRED"}, {}, "REQUIRED"),
        ({"ssl_mode": "REQUIRED"}, {"ssl_mode": "DISABLED"}, "DISABLED"),
        ({"ssl_mode": "REQUIRED"}, {"ssl_disabled": True}, "DISABLED"),
        ({"ssl_mode": "REQUIRED"}, {"ssl_verify_cert": True}, "VERIFY_CA"),
        ({"ssl_mode": "REQUIRED"}, {"ssl": {}}, ""),
        ({"ssl_disabled": True}, {"ssl_mode": "REQUIRED"}, "REQUIRED"),
        ({"ssl_verify_cert": True}, {"ssl_mode": "DISABLED"}, "DISABLED"),
        ({"ssl_verify_identity": True}, {"ssl_mode": "VERIFY_CA"}, "VERIFY_CA"),
        ({"ssl": {}}, {"ssl_mode": "PREFERRED"}, "PREFERRED"),
        ({"ssl_ca": "file"}, {"ssl_mode": "REQUIRED"}, "REQUIRED"),
    ],
)
def test_mode_of_a_bind_replaces_what_the_plain_keys_ask_for(
    plain: dict[str, t.Any], bind: dict[str, t.Any], expected: str, file: str
) -> None:
    keys = {f"MYSQLPOOL_{key.upper()}": value for key, value in plain.items()}
    if "MYSQLPOOL_SSL_CA" in keys:
        keys["MYSQLPOOL_SSL_CA"] = file
    read = Settings.from_config({**keys, "MYSQLPOOL_BINDS": {"reports": bind}})
    reports = read["reports"]
    assert asked_mode(lambda name: getattr(reports, name)) == expected


def test_public_key_may_be_given_itself() -> None:
    pem = "-----BEGIN PUBLIC KEY-----\n…"
    assert settings_for(URL, server_public_key=pem).server_public_key == pem.encode()
    assert "must be the path of a PEM file that exists" in refusal(
        server_public_key="x"
    )
