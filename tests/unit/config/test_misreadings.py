"""A value is taken as it was written or refused: nothing is read as something else."""

from __future__ import annotations

import json
import typing as t
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import flask
import pytest

from flask_mysqlpool import ConfigError
from flask_mysqlpool.config.settings import FIELDS
from flask_mysqlpool.config.settings import Settings

from .test_settings import refusal

URL = "mysql://app@db/bank"
NUMBERS = {name for name, f in FIELDS.items() if type(f.default) in (int, float)}
NUMBERS |= {"port", "read_timeout", "write_timeout", "max_allowed_packet"}
NUMBERS |= {"client_flag"}
FLAGS = {name for name, f in FIELDS.items() if "bool" in str(f.type)}
TEXTS = {name for name, f in FIELDS.items() if str(f.type).startswith("str")}

# Of what is written so, a program may read more than one thing, or less than all.
ODD_NUMBERS: list[t.Any] = [
    *("", " ", " 5", "5 ", "5\n", "\t5", "+5", "1_0", "٣", "５", "0x5", "0b1", "1,5"),
    *("--5", "5-", "1e", "e1", ".", "1.2.3", "5s", "1e400", "nan", "NaN", "inf"),
    *("-inf", "Infinity", "true", "None", "1/2", "1\0", "5" * 5000, "\ud800"),
    *(True, False, None, float("nan"), float("inf"), -float("inf"), 1j, 10**5000),
    *(-(10**5000), -1, "-1", -1.5, b"5", [5], (5,), {5}, {"a": 5}, object(), int),
    *(Decimal("5"), Fraction(1, 2), lambda: 5),
]
ODD_FLAGS: list[t.Any] = [
    *("", " ", "tru", " true", "true\n", "2", "-1", "1.0", "t", "y", "null", "\0"),
    *(2, -1, 1.0, 0.0, [], [True], {}, b"true", object(), float("nan"), 10**5000),
]
ODD_TEXTS: list[t.Any] = [
    *("a\0b", "\0", "a\ud800b", "\udcff"),
    *(5, -5, 0, 1.5, True, False, b"a", ["a"], ("a",), {"a"}, {"a": 1}, object()),
    *(float("nan"), 10**5000, bytearray(b"a"), str),
]


def taken(name: str, value: t.Any) -> t.Any:
    """Return what a value is read as."""
    key = f"MYSQLPOOL_{name.upper()}"
    settings = Settings.from_config({"MYSQLPOOL_URL": URL, key: value})["default"]
    return getattr(settings, name)


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_odd_number_is_refused(name: str) -> None:
    for value in ODD_NUMBERS:
        if value is None and FIELDS[name].default is None:
            continue  # not set
        with pytest.raises(ConfigError, match=f"MYSQLPOOL_{name.upper()} must be"):
            taken(name, value)


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_odd_flag_is_refused(name: str) -> None:
    for value in ODD_FLAGS:
        with pytest.raises(ConfigError, match="must be true or false"):
            taken(name, value)


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_odd_text_is_refused(name: str) -> None:
    for value in ODD_TEXTS:
        if name == "server_public_key" and isinstance(value, bytes):
            continue
        if name == "password" and callable(value):
            continue
        with pytest.raises(ConfigError, match=f"MYSQLPOOL_{name.upper()} "):
            taken(name, value)


@pytest.mark.parametrize(
    "value",
    ["5", "5.0", "05", "5e0", "50e-1", "5E+0", ".5e1", 5, 5.0],
)
def test_plain_number_of_seconds_is_taken(value: t.Any) -> None:
    assert taken("timeout", value) == 5.0
    assert type(taken("timeout", value)) is float


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", "not empty"),
        (" ", "a host name, or an IP address"),
        (" db", "a host name, or an IP address"),
        ("db ", "a host name, or an IP address"),
        ("db\n", "control characters"),
        ("a b", "a host name, or an IP address"),
        ("a,b", "one host: a list of several is not supported"),
        ("db:3307", "a port is for MYSQLPOOL_PORT"),
        ("[::1]", "an IP address without brackets"),
        ("[::1]:3306", "an IP address without brackets"),
        ("::1::2", "a host name, or an IP address"),
        ("app@db", "a host name, or an IP address"),
        ("db/bank", "a host name, or an IP address"),
        ("db?x", "a host name, or an IP address"),
        ("db%20", "a host name, or an IP address"),
        ("a..b", "a host name, or an IP address"),
        (64 * "a", "a host name, or an IP address"),
        ("mysql://app:x@db", "a URL is for MYSQLPOOL_URL"),
        ("/run/mysqld/mysqld.sock", "a socket's path is for MYSQLPOOL_UNIX_SOCKET"),
        ("db\x1b[31m", "control characters"),
    ],
)
def test_what_is_no_host_is_refused(value: str, text: str) -> None:
    assert text in refusal({"MYSQLPOOL_HOST": value})
    bind = {"MYSQLPOOL_URL": URL, "MYSQLPOOL_BINDS": {"b": {"host": value}}}
    assert text in refusal(bind)


@pytest.mark.parametrize(
    "value",
    ["db", "DB", "my_db", "db.", "10.0.0.1", "::1", "fe80::1%eth0", "müller.example"],
)
def test_host_is_taken(value: str) -> None:
    assert taken("host", value) == value


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("user", "", "remove the key"),
        ("user", "app\n", "control characters"),
        ("database", "mysql://app@db/bank", "a URL is for MYSQLPOOL_URL"),
        ("unix_socket", "", "remove the key"),
        ("unix_socket", "/run/x\n", "control characters"),
        ("bind_address", "", "remove the key"),
        ("program_name", "\x9b31m", "control characters"),
        ("charset", "", "remove the key"),
        ("collation", "utf8mb4_bin; DROP TABLE t", "letters, digits and underscores"),
        ("init_command", "", "an SQL statement"),
        ("init_command", " \n", "an SQL statement"),
        ("setsession", ["SET a = 1", ""], "a list of SQL statements"),
        ("setsession", "SET a = 1", "a list of SQL statements"),
        ("setsession", ["SET a = '\0'"], "without a NUL character"),
        ("setsession", {"SET a = 1"}, "a list of SQL statements"),
        ("setsession", b"SET", "a list of SQL statements"),
        ("reset", "AUTO", "one of auto"),
        ("reset", ["auto"], "one of auto"),
        ("ssl", {"ssl_ca": "x"}, "ca, capath"),
        ("ssl", {1: 2}, "ca, capath"),
        ("ssl_ca", "", "remove the key"),
        ("ssl_ca", Path("/no/such"), "the path of a file that exists"),
        ("runtime_dir", "/run\x1b", "control characters"),
        ("read_default_group", "client", "needs MYSQLPOOL_READ_DEFAULT_FILE"),
    ],
)
def test_what_would_be_read_as_something_else_is_refused(
    name: str, value: t.Any, text: str
) -> None:
    key = f"MYSQLPOOL_{name.upper()}"
    said = refusal({"MYSQLPOOL_URL": "mysql://h", key: value})
    assert said.startswith(key) and text in said


@pytest.mark.parametrize("given", [None, 5, ["a"], object()])
def test_callable_that_gives_no_password_is_refused(given: t.Any) -> None:
    password = taken("password", lambda: given)
    with pytest.raises(ConfigError, match="must return text, not"):
        password()


def test_callable_gives_the_password_of_now() -> None:
    given: list[str | bytes] = ["old", "new", b"\xff"]
    password = taken("password", lambda: given.pop(0))
    assert [password(), password(), password()] == ["old", "new", b"\xff"]


def test_blanks_and_line_ends_in_a_password_stay() -> None:
    for password in ("", " a ", "a\n", "a\tb", "\x7f", "\u200b", "é"):
        assert taken("password", password) == password


@pytest.mark.parametrize(
    "url",
    [
        *("mysql:", "mysql:/", "mysql://", "mysql:localhost/bank", "mysql:/db/bank"),
        *(
            "//db/bank",
            "db/bank",
            "db",
            ":",
            "http://db/bank",
            "mysql//db",
            "mysql ://",
        ),
        *(" mysql://db", "mysql://db ", "mysql://db\n", "\ufeffmysql://db"),
        *("mysql://app:a\tb@db", "mysql://app:a\rb@db", "mysql://app:a\nb@db"),
        *("mysql://app:a\0b@db", "mysql://app:a\x7fb@db", "mysql://d\tb/bank"),
        *("mysql://db/b\nank", "mysql://db/bank?sql_mode=a\nb"),
        *("mysql://[::1/bank", "mysql://::1]/bank", "mysql://[::1]x/bank"),
        *("mysql://x[::1]/bank", "mysql://[::1]x:3306/bank", "mysql://[]/bank"),
        *("mysql://::1/bank", "mysql://::1:3306/bank", "mysql://db:3306:3306/bank"),
        *("mysql://db:0/bank", "mysql://db:65536/bank", "mysql://db:-1/bank"),
        *("mysql://db:+1/bank", "mysql://db:٣/bank", "mysql://db:1_0/bank"),
        *("mysql://db: 3306/bank", "mysql://db:3306x/bank", "mysql://a,b/bank"),
        *("mysql://db:3306,c:3307/bank", "mysql://a b/bank", "mysql://%00/bank"),
        *("mysql://%2Frun%2Fmysqld.sock/bank", "mysql://a%2Cb/bank"),
        *("mysql://app%00@db", "mysql://app:%00@db", "mysql://db/%00"),
        *("mysql://app:%@db", "mysql://app:%4@db", "mysql://app:%ff@db"),
        *("mysql://db//bank", "mysql://db/bank/", "mysql://db/bank/x"),
        *("mysql://db/bank#", "mysql://app:a#@db", "mysql://db/bank#x"),
        *("mysql://app:a/b@db", "mysql://app:a?b@db", "mysql://app:1/b@db/bank"),
        *("mysql://db/bank?", "mysql://db/bank?x", "mysql://db/bank?=")[1:],
        *("mysql://db/bank?&", "mysql://db/bank?timeout=1&", "mysql://db/b?timeout"),
        *("mysql://db/bank?timeout=1&timeout=1", "mysql://db/bank?Timeout=1"),
        *("mysql://db/bank?sql_mode=a+b", "mysql://db/bank?sql_mode=%ff"),
        *("mysql://db/bank?host=", "mysql://db/bank?host=db2", "mysql://db?user="),
        *("mysql://db/bank?password=a@b", "mysql://db/bank?timeout=1;max_size=2"),
        *(
            "mysql://db/bank?binds=x",
            "mysql://db/bank?url=x",
            "mysql://db?timeout=%201",
        ),
    ],
)
def test_url_that_can_be_misread_is_refused(url: str) -> None:
    assert "MYSQLPOOL_URL" in refusal({"MYSQLPOOL_URL": url})


def test_each_character_of_a_password_is_kept_or_refused() -> None:
    for code in [*range(0x180), 0x2028, 0x3000, 0xFEFF, 0xFF0F, 0x1F600]:
        character = chr(code)
        url = f"mysql://app:a{character}b@db:3307/bank"
        try:
            settings = Settings.from_config({"MYSQLPOOL_URL": url})["default"]
        except ConfigError:
            encoded = "".join(f"%{byte:02X}" for byte in character.encode())
            url = f"mysql://app:a{encoded}b@db:3307/bank"
            if code == 0:
                refusal({"MYSQLPOOL_URL": url})
                continue
            settings = Settings.from_config({"MYSQLPOOL_URL": url})["default"]
        assert settings.password == f"a{character}b", hex(code)
        assert (settings.host, settings.port) == ("db", 3307), hex(code)
        assert (settings.user, settings.database) == ("app", "bank"), hex(code)


@pytest.mark.parametrize("name", sorted(TEXTS - {"url", "reset", "cursorclass"}))
def test_text_of_the_environment_is_what_was_written_or_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = ("-0", "0", "007", "1e5", "1.50", " 12 ", "12", "1E400", "true", "[1]")
    for value in (*written, '{"a":1}', "NaN", "-Infinity", "\x1b", "a"):
        monkeypatch.setenv(f"FLASK_MYSQLPOOL_{name.upper()}", value)
        app = flask.Flask("an_app", root_path="/")
        app.config["MYSQLPOOL_READ_DEFAULT_FILE"] = None
        app.config.from_prefixed_env()
        try:
            read = Settings.from_config(app.config)["default"]
        except ConfigError as error:
            assert f"MYSQLPOOL_{name.upper()} " in str(error)
        else:
            assert getattr(read, name) == value
        monkeypatch.setenv(f"FLASK_MYSQLPOOL_{name.upper()}", json.dumps(value))
        app.config.from_prefixed_env()
        assert app.config[f"MYSQLPOOL_{name.upper()}"] == value


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("host", "; did you mean MYSQLPOOL_HOST?"),
        ("Max_Size", "; did you mean MYSQLPOOL_MAX_SIZE?"),
        ("hots", "; did you mean MYSQLPOOL_HOST?"),
        ("binds", "; did you mean MYSQLPOOL_BINDS?"),
        ("pool_size", "; did you mean MYSQLPOOL_MAX_SIZE?"),
        ("creator", "; there is nothing to set for it here"),
        ("foo", ""),
        ("xyzzY", ""),
    ],
)
def test_key_in_lower_case_is_refused_with_a_setting_that_there_is(
    name: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        Settings.from_config({"MYSQLPOOL_URL": URL, f"MYSQLPOOL_{name}": "other"})
    assert str(raised.value) == f"MYSQLPOOL_{name} is not a setting{hint}"


def test_keys_that_are_no_text_are_not_ours() -> None:
    config: dict[t.Any, t.Any] = {5: 5, None: 1, "MYSQLPOOL_URL": URL}
    assert Settings.from_config(config)["default"].host == "db"


@pytest.mark.parametrize(
    "character",
    ["\x1b", "\n", "\x9b", "\u202e", "\u2066", "\u200b", "\u2028", "\ufeff", "\ud800"],
)
def test_name_of_a_bind_is_printable(character: str) -> None:
    said = refusal({"MYSQLPOOL_BINDS": {f"a{character}[31m": {"host": "h"}}})
    assert said == "MYSQLPOOL_BINDS has a name that is not printable"


@pytest.mark.parametrize("name", ["reports", "für uns", "記録", "a-b.c/d"])
def test_printable_name_of_a_bind_is_taken(name: str) -> None:
    read = Settings.from_config({"MYSQLPOOL_BINDS": {name: {"host": "h"}}})
    assert read[name].host == "h"
