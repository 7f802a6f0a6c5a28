"""TLS files are tried at the start, named where they are wrong, and read again."""

from __future__ import annotations

import errno
import os
import shutil
import time
import typing as t
from pathlib import Path

import flask
import pymysql
import pytest
from pymysql.constants import CR

from flask_mysqlpool import ConfigError
from flask_mysqlpool import MySQLPool
from flask_mysqlpool import Pool
from flask_mysqlpool.driver.connector import Connector

from ...support.certificates import Certificate
from ...support.certificates import make_certificate
from ...support.fake_session import fake_pool
from ...support.login_server import LoginServer
from ...support.login_server import rsa_keys
from ...support.login_server import switch
from ...support.pools import settings_for
from ...support.terminal import terminal

URL = "mysql://app@127.0.0.1:1/bank"  # nobody listens there


class Files:
    """Good files, and bad ones of each kind."""

    def __init__(self, folder: Path) -> None:
        for name in ("own", "other", "secret"):
            (folder / name).mkdir()
        self.own = make_certificate(folder / "own")
        self.other = make_certificate(folder / "other")
        self.encrypted = make_certificate(folder / "secret", "swordfish")
        self.junk = folder / "junk.pem"
        self.junk.write_text("no PEM at all\n")
        self.gone = folder / "gone.pem"
        self.gone.touch()  # until the settings are read


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


# What is wrong, and what is said. The first word is the key that is named.
WRONG: dict[str, tuple[dict[str, str], str]] = {
    "CA is no PEM": ({"ca": "junk"}, "SSL_CA ({junk}) holds no certificate in PEM"),
    "CA is a key": ({"ca": "own.key"}, "SSL_CA ({own.key}) holds no certificate"),
    "CA is gone": ({"ca": "gone"}, "SSL_CA ({gone}) cannot be read: No such file"),
    "certificate is gone": (
        {"cert": "gone", "key": "own.key"},
        "SSL_CERT ({gone}) cannot be read: No such file",
    ),
    "certificate is no PEM": (
        {"cert": "junk", "key": "own.key"},
        "SSL_CERT ({junk}) holds no certificate in PEM form",
    ),
    "key is gone": (
        {"cert": "own.cert", "key": "gone"},
        "SSL_KEY ({gone}) cannot be read: No such file",
    ),
    "key is no PEM": (
        {"cert": "own.cert", "key": "junk"},
        "SSL_KEY ({junk}) holds no private key in PEM form",
    ),
    "no key": (
        {"cert": "own.cert"},
        "SSL_CERT ({own.cert}) holds no private key in PEM form",
    ),
    "key of another": (
        {"cert": "own.cert", "key": "other.key"},
        "SSL_KEY ({other.key}) is not the private key of MYSQLPOOL_SSL_CERT",
    ),
    "key is encrypted": (
        {"cert": "encrypted.cert", "key": "encrypted.key"},
        "SSL_KEY ({encrypted.key}) holds an encrypted private key: set"
        " MYSQLPOOL_SSL_KEY_PASSWORD",
    ),
    "wrong password": (
        {"cert": "encrypted.cert", "key": "encrypted.key", "key_password": "x"},
        "SSL_KEY ({encrypted.key}) holds no private key in PEM form that"
        " MYSQLPOOL_SSL_KEY_PASSWORD decrypts",
    ),
}


def path_of(files: Files, name: str) -> t.Any:
    made, _, part = name.partition(".")
    found = getattr(files, made, name)
    return getattr(found, part) if part else found


def case(files: Files, name: str) -> tuple[dict[str, t.Any], str]:
    """Return the settings of a case, and the text that is expected."""
    given, text = WRONG[name]
    settings = {f"ssl_{key}": path_of(files, each) for key, each in given.items()}
    for each in given.values():
        text = text.replace(f"{{{each}}}", str(path_of(files, each)))
    return settings, f"MYSQLPOOL_{text}"


@pytest.mark.parametrize("name", WRONG)
def test_wrong_file_is_refused_at_the_start(name: str, files: Files) -> None:
    given, text = case(files, name)
    app = flask.Flask("shop")
    app.config |= {f"MYSQLPOOL_{key.upper()}": value for key, value in given.items()}
    app.config["MYSQLPOOL_URL"] = URL
    if "gone" in name:
        settings = settings_for(URL, **given)
        files.gone.unlink()
        with pytest.raises(ConfigError) as raised:
            Pool(settings)
    else:
        with pytest.raises(ConfigError) as raised:
            MySQLPool(app)
    said = str(raised.value)
    assert text in said
    assert "swordfish" not in said


def test_file_of_a_mapping_is_named(files: Files) -> None:
    settings = settings_for(URL, ssl={"ca": str(files.junk)})
    with pytest.raises(ConfigError) as raised:
        Pool(settings, "reports")
    assert str(raised.value) == (
        f"pool 'reports': MYSQLPOOL_SSL[\"ca\"] ({files.junk}) holds no certificate in"
        " PEM form"
    )


@pytest.mark.parametrize("options", [{"cipher": "NONE"}, {"ca": "", "verify_mode": 0}])
def test_mapping_of_which_no_context_can_be_made(
    options: dict[str, t.Any], files: Files
) -> None:
    if "ca" in options:
        options = options | {"ca": str(files.own.cert), "verify_mode": False}
    with pytest.raises(
        ConfigError, match="no TLS context can be made of the MYSQLPOOL_SSL"
    ):
        Pool(settings_for(URL, ssl=options))


def test_file_of_an_option_file_is_named(files: Files, tmp_path: Path) -> None:
    options = tmp_path / "my.cnf"
    options.write_text(f"[client]\nssl-ca = {files.junk}\n")
    with pytest.raises(ConfigError) as raised:
        Pool(settings_for(URL, read_default_file=options))
    named = f"ssl-ca in the file of MYSQLPOOL_READ_DEFAULT_FILE ({files.junk})"
    assert named in str(raised.value)


def test_mode_says_how_the_ca_of_an_option_file_is_used(
    files: Files, tmp_path: Path
) -> None:
    options = tmp_path / "my.cnf"
    options.write_text(f"[client]\nssl-ca = {files.own.cert}\n")
    for mode in ("VERIFY_CA", "VERIFY_IDENTITY"):
        settings = settings_for(URL, read_default_file=options, ssl_mode=mode)
        connector = Connector(settings)
        connector.check()
        assert connector._session({}).tls_mode == mode
    for mode in ("DISABLED", "PREFERRED"):
        settings = settings_for(URL, read_default_file=options, ssl_mode=mode)
        assert Connector(settings)._session({}).tls_mode == mode


def test_mode_that_contradicts_an_option_file(files: Files, tmp_path: Path) -> None:
    options = tmp_path / "my.cnf"
    options.write_text(f"[client]\nssl-ca = {files.own.cert}\n")
    with pytest.raises(ConfigError, match="the option file ask for VERIFY_IDENTITY"):
        Pool(settings_for(URL, read_default_file=options, ssl_mode="REQUIRED"))


@pytest.mark.parametrize("ca", [True, False])
@pytest.mark.parametrize("mode", ["VERIFY_CA", "VERIFY_IDENTITY"])
def test_mode_of_an_option_file_is_in_force(
    mode: str, ca: bool, files: Files, tmp_path: Path
) -> None:
    options = tmp_path / "my.cnf"
    lines = f"ssl-ca={files.own.cert}\n" if ca else ""
    options.write_text(f"[client]\nssl-mode={mode}\n{lines}")
    for given in ({}, {"ssl_ca": files.own.cert}, {"ssl": {"cipher": "AES256-SHA"}}):
        connector = Connector(settings_for(URL, read_default_file=options, **given))
        connector.check()
        assert connector._session({}).tls_mode == mode, given


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
@pytest.mark.parametrize("what", ["ssl_ca", "server_public_key"])
def test_shortage_of_descriptors_is_no_wrong_file(
    number: int, what: str, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = line.folder / "public.pem"
    key.write_bytes(rsa_keys()[1])
    given = {"ssl_ca": line.ca} if what == "ssl_ca" else {what: key}
    connector = Connector(settings_for(line.server.url, **given))

    def fail(*args: t.Any, **keywords: t.Any) -> t.NoReturn:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr("ssl.create_default_context", fail)
        patched.setattr(Path, "read_bytes", fail)
        with pytest.raises(pymysql.err.OperationalError) as raised:
            connector.open(time.monotonic() + 10)
    assert raised.value.args[0] == CR.CR_CONN_HOST_ERROR
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == number
    connector.check()


@pytest.mark.parametrize("way", ["keys", "mapping", "option file"])
def test_encrypted_key_without_its_password_asks_nobody(
    way: str, files: Files, tmp_path: Path
) -> None:
    cert, key = map(str, files.encrypted)
    options = tmp_path / "my.cnf"
    options.write_text(f"[client]\nssl-cert = {cert}\nssl-key = {key}\n")
    ways: dict[str, dict[str, t.Any]] = {
        "keys": {"ssl_cert": cert, "ssl_key": key},
        "mapping": {"ssl": {"cert": cert, "key": key}},
        "option file": {"read_default_file": str(options)},
    }
    config = {f"MYSQLPOOL_{key.upper()}": value for key, value in ways[way].items()}
    script = tmp_path / "start.py"
    script.write_text(
        "from flask_mysqlpool import ConfigError, Pool\n"
        "from flask_mysqlpool.config.settings import Settings\n"
        "try:\n"
        f"    Pool(Settings.from_config({config!r})['default'])\n"
        "except ConfigError as error:\n"
        "    print('refused:', error)\n"
    )
    with terminal([str(script)], tmp_path, dict(os.environ)) as shown:
        shown.end()
    assert "holds an encrypted private key: set" in shown.written.replace("\r\n", "")
    assert "phrase" not in shown.written


def test_key_with_its_password_is_read(files: Files) -> None:
    cert, key = files.encrypted
    Pool(settings_for(URL, ssl_cert=cert, ssl_key=key, ssl_key_password="swordfish"))


# Read again


class Line:
    """A server with a certificate, and a connector that trusts the one in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = 0
        self.files = self.make()
        self.ca = folder / "ca.pem"
        shutil.copy(self.files.cert, self.ca)
        self.server = LoginServer(
            switch("mysql_native_password"), tls=self.files.server_context()
        )

    def make(self) -> Certificate:
        self.made += 1
        folder = self.folder / str(self.made)
        folder.mkdir()
        return make_certificate(folder)

    def trusted(self, connector: Connector) -> bool:
        """Return whether TLS begins: no login ever succeeds here."""
        with pytest.raises(pymysql.err.OperationalError) as raised:
            connector.open(time.monotonic() + 10)
        return bool(raised.value.args[0] != CR.CR_SSL_CONNECTION_ERROR)


@pytest.fixture
def line(tmp_path: Path) -> t.Iterator[Line]:
    line = Line(tmp_path)
    with line.server:
        yield line


def connector_for(line: Line, **settings: t.Any) -> Connector:
    values = {"ssl_mode": "VERIFY_CA", "ssl_ca": line.ca} | settings
    connector = Connector(settings_for(line.server.url, **values))
    connector.check()
    return connector


def test_renewed_file_is_read_again(line: Line) -> None:
    connector = connector_for(line)
    assert line.trusted(connector)
    renewed = line.make()
    line.server.tls = renewed.server_context()
    assert not line.trusted(connector)
    os.replace(renewed.cert, line.ca)
    assert line.trusted(connector)


@pytest.mark.parametrize("what", ["mtime", "inode", "size"])
def test_any_sign_of_a_change_is_seen(what: str, line: Line) -> None:
    connector = connector_for(line)
    assert line.trusted(connector)
    before, text = line.ca.stat(), line.ca.read_bytes()
    first = connector._session({}).ctx
    assert connector._session({}).ctx is first, "nothing has changed"
    if what == "inode":
        other = line.folder / "other.pem"
        other.write_bytes(text)
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(other, line.ca)
    elif what == "size":
        line.ca.write_bytes(text + b"\n")
        os.utime(line.ca, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        os.utime(line.ca, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert connector._session({}).ctx is not first


def test_client_certificate_is_read_again(line: Line) -> None:
    cert, key = line.folder / "cert.pem", line.folder / "key.pem"
    for path, new in zip((cert, key), line.make(), strict=True):
        shutil.copy(new, path)
    connector = connector_for(line, ssl_cert=cert, ssl_key=key)
    first = connector._session({}).ctx
    renewed = line.make()
    os.replace(renewed.cert, cert)
    assert connector._session({}).ctx is first, "the two do not go together yet"
    os.replace(renewed.key, key)
    assert connector._session({}).ctx is not first


def test_file_that_became_unusable_is_warned_of_and_not_used(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    connector = connector_for(line)
    line.ca.write_text("half of a fi")
    assert line.trusted(connector)
    assert line.trusted(connector)
    (record,) = caplog.records
    assert f"MYSQLPOOL_SSL_CA ({line.ca}) holds no certificate" in record.getMessage()


def test_missing_file_is_named_once_it_is_needed(line: Line) -> None:
    connector = connector_for(line)
    line.ca.unlink()
    connector.renew()
    with pytest.raises(pymysql.err.OperationalError) as raised:
        connector.open(time.monotonic() + 10)
    assert raised.value.args == (
        CR.CR_SSL_CONNECTION_ERROR,
        f"MYSQLPOOL_SSL_CA ({line.ca}) cannot be read: No such file or directory",
    )


@pytest.mark.parametrize("how", ["recycle", "failure"])
def test_files_are_read_again_although_they_look_the_same(
    how: str, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_mysqlpool.driver.tls._look", lambda path: ())
    settings = settings_for(line.server.url, ssl_mode="VERIFY_CA", ssl_ca=line.ca)
    pool = Pool(settings)
    connector = t.cast(Connector, pool._checkout.connector)
    assert line.trusted(connector)
    renewed = line.make()
    shutil.copy(renewed.cert, line.ca)
    if how == "recycle":
        assert line.trusted(connector), "the old one is in use"
        pool.recycle()
    else:
        line.server.tls = renewed.server_context()
        assert not line.trusted(connector)
    line.server.tls = renewed.server_context()
    assert line.trusted(connector)
    pool.close()


def test_checkout_of_an_open_connection_looks_at_no_file(
    monkeypatch: pytest.MonkeyPatch, line: Line
) -> None:
    pool = fake_pool(ssl_ca=line.ca)
    pool.connection().close()
    looked: list[object] = []
    monkeypatch.setattr("flask_mysqlpool.driver.tls._look", looked.append)
    pool.connection().close()
    assert looked == []
    pool.close()


# The name on the certificate


@pytest.mark.parametrize(
    ("mode", "trusts"), [("VERIFY_CA", True), ("VERIFY_IDENTITY", False)]
)
def test_name_is_checked_with_verify_identity_only(
    mode: str, trusts: bool, line: Line
) -> None:
    settings = settings_for(
        line.server.url.replace("127.0.0.1", "localhost"), ssl_mode=mode, ssl_ca=line.ca
    )
    assert line.trusted(Connector(settings)) is trusts


def test_name_is_checked_without_a_ca_of_our_own(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyMySQL would take any certificate that the system trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(line.ca))
    url = line.server.url
    settings = {"ssl_verify_identity": True}
    assert line.trusted(Connector(settings_for(url, **settings)))
    url = url.replace("127.0.0.1", "localhost")
    assert not line.trusted(Connector(settings_for(url, **settings)))


def test_failed_check_names_mode_and_file(line: Line) -> None:
    connector = connector_for(line)
    line.server.tls = line.make().server_context()
    with pytest.raises(pymysql.err.OperationalError) as raised:
        connector.open(time.monotonic() + 10)
    text = raised.value.args[1]
    assert "self-signed certificate" in text
    assert f"the TLS mode is VERIFY_CA, MYSQLPOOL_SSL_CA is {line.ca}" in text
