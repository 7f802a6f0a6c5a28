"""What may be a secret is in no error, its chain or its traceback, nor in what is
shown, wherever it was put by mistake.
"""

from __future__ import annotations

import json
import logging
import traceback
import typing as t
from collections.abc import Iterator
from pathlib import Path

import flask
import pytest

from flask_mysqlpool import ConfigError
from flask_mysqlpool import Pool
from flask_mysqlpool.config.settings import FIELDS
from flask_mysqlpool.config.settings import MASK
from flask_mysqlpool.config.settings import Settings

SECRET = "hunter2"
URL = "mysql://app@db/bank"
# Where text is text, and may be shown: who puts a secret there has named a thing so.
NAMES = {
    "bind_address",
    "collation",
    "database",
    "host",
    "program_name",
    "read_default_group",
    "runtime_dir",
    "server_public_key",
    "sql_mode",
    "unix_socket",
    "user",
}


class Betraying:
    def __repr__(self) -> str:
        return SECRET

    __str__ = __repr__


def planted() -> Iterator[t.Any]:
    yield from (SECRET, SECRET.encode(), [SECRET], (SECRET,), {SECRET}, Betraying())
    yield from ({SECRET: SECRET}, {"password": SECRET}, {"url": SECRET}, lambda: SECRET)
    yield from (f"SET PASSWORD = '{SECRET}'", [f"SET PASSWORD = '{SECRET}'"])
    for text in (
        "mysql://app:{}@h",
        "mysql:app:{}@h",
        "/{}",
        "/run/{}\n",
        "{}:3306",
        "{},b",
        "{}\0",
        "{}\ud800",
        " {} ",
        "-{}",
        "1{}",
        "{}@h",
        "password={}",
    ):
        yield text.format(SECRET)


def leaks(error: BaseException | None) -> list[str]:
    """Return what of an error and its chain shows the secret."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(error.args)]
        texts += traceback.format_exception_only(error)
        error = error.__cause__ or error.__context__
    return [text for text in texts if SECRET in text]


def check(config: dict[str, t.Any], shown: bool = False) -> bool:
    """Read a configuration; return whether it was refused, in either case without
    showing the secret.

    :param shown: the value may be shown if it was taken.
    """
    try:
        settings = Settings.from_config(config)
    except ConfigError as error:
        assert not leaks(error)
        assert SECRET not in "".join(traceback.format_exception(error))
        return True
    for each in settings.values():
        for text in (repr(each), str(each.masked()), repr(Pool(each))):
            assert shown or SECRET not in text
        json.dumps(each.masked())
    return False


@pytest.mark.parametrize("name", [*FIELDS, "binds"])
def test_no_setting_shows_a_secret(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    refused = []
    for value in planted():
        if name == "binds" and isinstance(value, dict):
            continue  # the name of a bind is shown
        key = f"MYSQLPOOL_{name.upper()}"
        refused.append(check({"MYSQLPOOL_URL": URL, key: value}, name in NAMES))
        if name not in ("url", "binds"):
            bind = {"MYSQLPOOL_URL": URL, "MYSQLPOOL_BINDS": {"b": {name: value}}}
            check(bind, name in NAMES)
    assert any(refused), "an error of this setting was never seen"
    assert SECRET not in caplog.text


@pytest.mark.parametrize("name", ["init_command", "setsession", "ssl", "conv"])
def test_what_may_hold_a_secret_is_masked(name: str) -> None:
    value: t.Any = {"password": SECRET}
    if name in ("init_command", "setsession"):
        value = f"SET PASSWORD = '{SECRET}'"
    if name == "setsession":
        value = [value]
    assert not check({"MYSQLPOOL_URL": URL, f"MYSQLPOOL_{name.upper()}": value})


def test_what_is_not_set_is_not_masked() -> None:
    shown = Settings.from_config({"MYSQLPOOL_URL": URL})["default"].masked()
    assert shown["setsession"] == []
    assert MASK not in shown.values()


@pytest.mark.parametrize("name", [*FIELDS, "hunter2", "passw0rd", "timeuot"])
def test_no_parameter_of_the_url_shows_a_secret(name: str) -> None:
    for value in (SECRET, f"-{SECRET}", f"%00{SECRET}", f"{SECRET}+x", "", "%zz", "5"):
        for parameters in (f"{name}={value}", f"{name}={value}&{name}={value}"):
            check({"MYSQLPOOL_URL": f"{URL}?{parameters}"}, name in NAMES)


@pytest.mark.parametrize(
    "url",
    [
        "{}",
        "{}://app@h/bank",
        "mysql:{}",
        "mysql:/{}",
        "mysql://{}",
        "mysql://app:{}/x@h",
        "mysql://app:{}?x@h",
        "mysql://app:{}#x@h",
        "mysql://app:1/{}@h",
        "mysql://app:{}\n@h",
        "mysql://app:{}@h:{}/bank",
        "mysql://app:{}@h:99999",
        "mysql://app:{}@h /bank",
        "mysql://app:{}@[::1/bank",
        "mysql://app:{}@[::1]x/bank",
        "mysql://app:{}@h,i/bank",
        "mysql://app:{}@h/bank/x",
        "mysql://app:{}@h/bank#",
        "mysql://app:{}@h/bank?{}",
        "mysql://app:{}@h/bank?{}=x",
        "mysql://app:{}@h/bank?=x",
        "mysql://app:{}@h/bank?{}=x&{}=x",
        "mysql://app:{}%00@h/bank",
        "mysql://app:{}%@h/bank",
        "mysql://app:{}%ff@h/bank",
        "\ufeffmysql://app:{}@h/bank",
    ],
)
def test_no_part_of_a_refused_url_is_shown(url: str) -> None:
    url = url.replace("{}", SECRET)
    refused = check({"MYSQLPOOL_URL": url}, shown=url == f"mysql://{SECRET}")
    assert refused or url == f"mysql://{SECRET}"  # that is the name of a host


@pytest.mark.parametrize(
    "lines",
    [
        "password={}",
        "password={}\n[client]\n",
        "[client\npassword={}",
        "[other]\npassword={}",
        "[client]\n= {}",
        "[client]\n: {}\npassword={}",
        "[client]\npassword={}\nport={}",
        "[client]\nhost=mysql://app:{}@h",
        "[client]\nuser=app\x07{}",
        "[client]\nsocket=/run\x07{}",
        "[client]\ndefault-character-set={}",
        "[client]\nbind-address=\x1b{}",
    ],
)
def test_no_line_of_an_option_file_is_shown(lines: str, tmp_path: Path) -> None:
    path = tmp_path / "my.cnf"
    path.write_text(lines.format(*4 * [SECRET]))
    assert check({"MYSQLPOOL_READ_DEFAULT_FILE": str(path)})


def test_bytes_of_an_option_file_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "my.cnf"
    path.write_bytes(b"[client]\npassword=\xff" + SECRET.encode())
    assert check({"MYSQLPOOL_READ_DEFAULT_FILE": str(path)})


def test_password_of_an_option_file_that_broke_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "my.cnf"
    path.write_text(f"[client]\npassword={SECRET}\n")
    settings = Settings.from_config({"MYSQLPOOL_READ_DEFAULT_FILE": str(path)})
    password = settings["default"].password
    assert callable(password) and password() == SECRET
    path.write_text(f"password={SECRET}\n")
    with pytest.raises(ConfigError, match="needs a group") as caught:
        password()
    assert not leaks(caught.value)


@pytest.mark.parametrize("name", [*FIELDS, "binds", "binds__b__max_size", "xyz"])
@pytest.mark.parametrize("value", ["{}", "[{}]", '["{}"]', '{{"a": "{}"}}', "-1{}"])
def test_no_environment_variable_is_shown(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FLASK_MYSQLPOOL_{name.upper()}", value.format(SECRET))
    app = flask.Flask("an_app", root_path="/")
    app.config.from_prefixed_env()
    check(dict(app.config), name in NAMES)
