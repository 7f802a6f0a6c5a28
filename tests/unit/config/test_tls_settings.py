"""TLS settings say one thing, or are refused."""

from __future__ import annotations

import ssl
import typing as t
from pathlib import Path

import pytest

from flask_mysqlpool import ConfigError
from flask_mysqlpool import Pool
from flask_mysqlpool.config.converters import TLS_OPTIONS
from flask_mysqlpool.config.settings import Settings
from flask_mysqlpool.config.tls import asked_mode
from flask_mysqlpool.config.tls import MODES
from flask_mysqlpool.driver.connector import Connector

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
    with pytest.raises(ConfigError, match="ask for VERIFY_IDENTITY: keep one of them"):
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


# The options of PyMySQL's in `ssl`


@pytest.mark.parametrize(
    "value",
    [
        *(0, 1, 2, 5, 1.0, 2.5, "", " ", "2", "verify", "cert_required", "required "),
        *("CERT_REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY", "on", "yes\n", b"required"),
        *([], ["required"], {}, object(), ssl.SSLContext, lambda: "required"),
    ],
)
@pytest.mark.parametrize("ca", [True, False])
def test_verify_mode_that_pymysql_does_not_know_is_refused(
    value: t.Any, ca: bool, file: str
) -> None:
    """PyMySQL takes it for none, and checks no certificate then."""
    options = {"verify_mode": value} | ({"ca": file} if ca else {})
    assert refusal(ssl=options) == (
        'MYSQLPOOL_SSL must be a mapping whose "verify_mode" is true, false, none,'
        " optional or required"
    )


@pytest.mark.parametrize(
    ("verify", "values"),
    [
        (ssl.CERT_NONE, [False, "none", "0", "False", "NO", ssl.CERT_NONE, None]),
        (ssl.CERT_OPTIONAL, ["optional", "Optional", ssl.CERT_OPTIONAL]),
        (ssl.CERT_REQUIRED, [True, "required", "1", "True", "YES", ssl.CERT_REQUIRED]),
    ],
)
def test_verify_mode_is_in_force(verify: ssl.VerifyMode, values: list[t.Any]) -> None:
    for value in values:
        settings = settings_for(URL, ssl={"verify_mode": value})
        assert Connector(settings)._session({}).ctx.verify_mode == verify, value


def test_option_that_is_none_is_not_set() -> None:
    options = dict.fromkeys(TLS_OPTIONS)
    settings = settings_for(URL, ssl=options, ssl_mode="VERIFY_IDENTITY")
    assert settings.ssl == {}
    assert Connector(settings)._session({}).tls_mode == "VERIFY_IDENTITY"


@pytest.mark.parametrize("option", ["ca", "capath", "cert", "key"])
@pytest.mark.parametrize(
    "value",
    [
        *(5.5, 5, 0, True, b"/ca.pem", [], {}, object(), "", "/no/such\0", "/\ud800"),
        *("/no/such\x1b[31m", "/no/such", "hunter2", Path("/no/such"), "/dev/null"),
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
    ],
)
def test_path_in_the_mapping_is_checked_and_not_shown(
    option: str, value: t.Any
) -> None:
    said = refusal(ssl={option: value})
    assert said.startswith(f'MYSQLPOOL_SSL must be a mapping whose "{option}" is ')
    assert said.isprintable()
    assert "hunter2" not in said and "no/such" not in said


def test_paths_of_the_mapping_are_those_of_single_keys(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {"ca": Path(file), "cert": "~/file.pem", "capath": f"{tmp_path}:/tmp"}
    read = settings_for(URL, ssl=given).ssl
    assert isinstance(read, dict)
    assert read["ca"] == read["cert"] == file
    assert read["capath"] == f"{tmp_path}:/tmp"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("check_hostname", "perhaps"), ("check_hostname", 2), ("password", 5)),
        *(("cipher", 5), ("cipher", "AES\0"), ("cipher", ""), ("password", "a\0")),
    ],
)
def test_wrong_option_of_the_mapping_is_refused(option: str, value: t.Any) -> None:
    assert f'whose "{option}" is ' in refusal(ssl={option: value})
