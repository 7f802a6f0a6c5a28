"""``check`` says what protects a connection and its password, and what does not."""

from __future__ import annotations

import dataclasses
import ssl
import typing as t
from pathlib import Path

import pytest

from flask_mysqlpool.config.settings import Settings
from flask_mysqlpool.diagnostics.tls import judge_tls

from ...support.check_case import CheckCase
from ...support.check_case import VIEW

CIPHER = "TLS_AES_256_GCM_SHA384"
KEY = "-----BEGIN PUBLIC KEY-----"


def found(mode: str, cipher: str, **settings: t.Any) -> tuple[str, str, str]:
    """Return the verdict, the text and the change."""
    case = CheckCase()
    case.bind(**{"ssl_verify_identity": False, **settings})
    case.view(tls_mode=mode, tls=cipher)
    finding = case.found("tls")
    return finding.verdict, finding.text, finding.change


@pytest.mark.parametrize("mode", ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA"])
@pytest.mark.parametrize("cipher", [CIPHER, ""])
def test_mode_and_encryption_are_named(mode: str, cipher: str) -> None:
    encrypted = f"encrypted with {cipher}" if cipher else "not encrypted"
    expected = f"mode {mode}, {encrypted}, logged in with caching_sha2_password"
    assert found(mode, cipher)[1].startswith(expected)


@pytest.mark.parametrize(
    ("mode", "cipher", "settings", "verdict"),
    [
        ("VERIFY_IDENTITY", CIPHER, {"host": "db"}, "ok"),
        ("VERIFY_CA", CIPHER, {"ssl_ca": "own"}, "ok"),
        ("VERIFY_CA", CIPHER, {}, "warning"),
        ("REQUIRED", CIPHER, {"ssl_ca": "own"}, "warning"),
        ("PREFERRED", CIPHER, {}, "warning"),
        ("PREFERRED", "", {}, "warning"),
        ("DISABLED", "", {"server_public_key": KEY}, "warning"),
        ("DISABLED", "", {"host": "127.0.0.1"}, "ok"),
        ("PREFERRED", CIPHER, {"host": "localhost"}, "ok"),
    ],
)
def test_verdict(
    mode: str, cipher: str, settings: dict[str, t.Any], verdict: str, tmp_path: Path
) -> None:
    own = tmp_path / "ca.pem"
    own.touch()
    given = settings | ({"ssl_ca": own} if "ssl_ca" in settings else {})
    assert found(mode, cipher, **given)[0] == verdict


OWN_CAS: list[tuple[dict[str, t.Any], str]] = [
    ({"ssl": {}}, "warning"),
    ({"ssl": {"verify_mode": True}}, "warning"),
    ({"ssl": {"cert": "pem", "cipher": "AES"}}, "warning"),
    ({"ssl": {"ca": "pem"}}, "ok"),
    ({"ssl": {"capath": "/tmp"}}, "ok"),
    ({"ssl": ssl.create_default_context()}, "ok"),
    ({"read_default_file": "user=app"}, "warning"),
    ({"read_default_file": "ssl-cipher=AES"}, "warning"),
    ({"read_default_file": "ssl-ca={pem}"}, "ok"),
    ({"read_default_file": "user=app", "ssl_ca": "pem"}, "ok"),
]


@pytest.mark.parametrize(("settings", "verdict"), OWN_CAS)
def test_verify_ca_needs_a_ca_of_ones_own(
    settings: dict[str, t.Any], verdict: str, tmp_path: Path
) -> None:
    """Wherever it is given: any certificate that the system trusts is accepted else."""
    pem, file = tmp_path / "ca.pem", tmp_path / "my.cnf"
    pem.touch()
    given: dict[str, t.Any] = {"ssl_verify_identity": None, **settings}
    if lines := given.get("read_default_file"):
        file.write_text(f"[client]\n{lines.format(pem=pem)}\n")
        given["read_default_file"] = file
    for name, value in given.items():
        if value == "pem":
            given[name] = pem
        elif isinstance(value, dict):
            given[name] = {k: pem if v == "pem" else v for k, v in value.items()}
    assert found("VERIFY_CA", CIPHER, **given)[0] == verdict


@pytest.mark.parametrize("mode", ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA"])
def test_no_host_is_this_machine(mode: str) -> None:
    settings = Settings.from_config({"MYSQLPOOL_USER": "app"})["default"]
    info = dataclasses.replace(VIEW, tls_mode=mode, tls=CIPHER)
    text, change = judge_tls(settings, info)
    assert text.endswith("; the connection stays on this machine")
    assert change == ""


@pytest.mark.parametrize("cipher", [CIPHER, ""])
def test_password_that_whoever_answers_can_get(cipher: str) -> None:
    """TLS that checks no certificate changes nothing about it."""
    _, text, change = found("PREFERRED", cipher)
    assert text.endswith("; whoever answers can get the password")
    assert "set MYSQLPOOL_SSL_MODE to VERIFY_IDENTITY" in change
    assert ("rows can be read on the network" in text) is not bool(cipher)
    _, text, change = found("PREFERRED", cipher, enable_cleartext_plugin=True)
    assert text.endswith("; whoever answers gets the password in clear")
    assert change.endswith("remove MYSQLPOOL_ENABLE_CLEARTEXT_PLUGIN")


def test_pinned_key_closes_it() -> None:
    _, text, _ = found("DISABLED", "", server_public_key=KEY)
    assert "get the password" not in text
    assert "rows can be read on the network" in text
