"""Every setting is read once, converted without loss, and refused where it is wrong."""

from __future__ import annotations

import inspect
import ssl
import typing as t
from pathlib import Path

import flask
import pymysql
import pytest
from pymysql.cursors import Cursor
from pymysql.cursors import DictCursor
from pymysql.cursors import SSCursor

from flask_mysqlpool import ConfigError
from flask_mysqlpool import MySQLPool
from flask_mysqlpool import Pool
from flask_mysqlpool.config.settings import FIELDS
from flask_mysqlpool.config.settings import MASK
from flask_mysqlpool.config.settings import Settings

from ...support.pools import settings_for

URL = "mysql://user:password@host:3307/shop"
MARKER = "Tr0ub4dor&3"

# Parameters of pymysql.connect that are no settings, each for a reason.
EXCLUDED = {
    "binary_prefix": "changes the text of statements that we read",
    "compress": "PyMySQL does not support it",
    "db": "the old name of database",
    "defer_connect": "the pool's own business",
    "named_pipe": "PyMySQL does not support it",
    "passwd": "the old name of password",
    "read_default_file": "we read it, once",
    "read_default_group": "the same",
}


def read(**settings: t.Any) -> Settings:
    return settings_for(URL, **settings)


def refusal(config: dict[str, t.Any]) -> str:
    """Return why ``init_app`` refuses a configuration."""
    app = flask.Flask("an_app", root_path="/")
    app.config.from_mapping(config)
    with pytest.raises(ConfigError) as caught:
        MySQLPool(app)
    assert isinstance(caught.value, ValueError)
    assert "mysqlpool" not in app.extensions
    return str(caught.value)


# What is refused


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("MAX_SIZE", 0, "a whole number from 1 to 2147483647, not 0"),
        ("MAX_SIZE", -1, "a whole number from 1 to 2147483647, not -1"),
        ("MAX_SIZE", "many", "a whole number from 1 to 2147483647"),
        ("MAX_SIZE", "", "a whole number from 1 to 2147483647"),
        ("MAX_SIZE", None, "a whole number from 1 to 2147483647, not None"),
        ("MAX_SIZE", True, "a whole number from 1 to 2147483647, not True"),
        ("MAX_SIZE", 10.0, "a whole number from 1 to 2147483647, not 10.0"),
        ("MIN_SIZE", 11, "is 11, which is more than MYSQLPOOL_MAX_SIZE, 10"),
        ("MIN_SIZE", -1, "a whole number from 0 to 2147483647, not -1"),
        ("MAX_WAITING", "1.5", "a whole number from 0 to 2147483647"),
        ("MAX_USAGE", [1], "a whole number from 0 to 2147483647"),
        ("TIMEOUT", -1, "a number of seconds from 0 to 31536000, not -1"),
        ("TIMEOUT", "soon", "a number of seconds from 0 to 31536000"),
        ("TIMEOUT", True, "a number of seconds from 0 to 31536000, not True"),
        ("TIMEOUT", None, "a number of seconds from 0 to 31536000, not None"),
        ("TIMEOUT", "nan", "a number of seconds from 0 to 31536000"),
        ("TIMEOUT", float("inf"), "a number of seconds from 0 to 31536000, not inf"),
        ("TIMEOUT", 10**400, "a number of seconds from 0 to 31536000"),
        ("MAX_LIFETIME", 1e10, "a number of seconds from 0 to 31536000, not 1"),
        ("CONNECT_TIMEOUT", 0, "a number of seconds above 0 to 31536000, not 0"),
        ("CONNECT_TIMEOUT", 1e9, "a number of seconds above 0 to 31536000, not 1"),
        ("READ_TIMEOUT", 0, "a number of seconds above 0 to 31536000, not 0"),
        ("PORT", 0, "a whole number from 1 to 65535, not 0"),
        ("PORT", 65536, "a whole number from 1 to 65535, not 65536"),
        ("CLIENT_FLAG", 2**31, "a whole number from 0 to 2147483647, not 2147483648"),
        ("CURSORCLASS", "TuppleCursor", "one of Cursor, DictCursor, SSCursor"),
        ("CURSORCLASS", dict, "a subclass of pymysql.cursors.Cursor"),
        ("CURSORCLASS", "", "a subclass of pymysql.cursors.Cursor"),
        ("RESET", "always", "one of auto, session, rollback"),
        ("SETSESSION", "SET x = 1", "a list of SQL statements"),
        ("SETSESSION", [1], "a list of SQL statements"),
        ("CHARSET", "klingon", "a character set that PyMySQL and Python know"),
        ("CHARSET", "binary", "a character set that PyMySQL and Python know"),
        ("CHARSET", "dec8", "a character set that PyMySQL and Python know"),
        ("AUTOCOMMIT", "perhaps", "true or false"),
        ("SSL_DISABLED", 2, "true or false, not 2"),
        ("SSL_CA", "/no/such/ca.pem", "the path of a file that exists"),
        ("SSL", "yes", "an ssl.SSLContext or a mapping of TLS options"),
        ("CONV", [], "a mapping"),
        ("RUNTIME_DIR", "run", "an absolute path"),
        ("RUNTIME_DIR", "/" + 80 * "x", "use a path of at most"),
        ("HOST", ["a"], "text (in an environment variable within double quotes)"),
        ("URL", 5, "text of the form mysql://user:password@host:3306/database"),
        ("BINDS", "reports", "a mapping of bind names to settings, such as {"),
        ("BINDS", [{"host": "a"}], "a mapping of bind names to settings, such as {"),
        ("BINDS", {"default": {}}, 'must not hold "default"'),
        ("BINDS", {1: {}}, "has a bind whose name is not text"),
    ],
)
def test_wrong_value_is_refused(key: str, value: t.Any, text: str) -> None:
    said = refusal({"MYSQLPOOL_URL": URL, f"MYSQLPOOL_{key}": value})
    assert said.startswith(f"MYSQLPOOL_{key} ")
    assert text in said


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("MYSQLPOOL_MAXSIZE", "; did you mean MYSQLPOOL_MAX_SIZE?"),
        ("MYSQLPOOL_PASSWD", "; did you mean MYSQLPOOL_PASSWORD?"),
        ("MYSQLPOOL_BIND", "; did you mean MYSQLPOOL_BINDS?"),
        ("MYSQLPOOL_XYZZY", "MYSQLPOOL_XYZZY is not a setting"),
        ("MYSQLPOOL_", "MYSQLPOOL_ is not a setting"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest(key: str, text: str) -> None:
    said = refusal({"MYSQLPOOL_URL": URL, key: MARKER})
    assert said.startswith(f"{key} is not a setting")
    assert said.endswith(text)
    assert MARKER not in said


@pytest.mark.parametrize(
    ("bind", "text"),
    [
        (None, '["reports"] must be a mapping of settings, such as'),
        ({"max_size": 0}, '["reports"]["max_size"] must be a whole number from'),
        ({"MAX_SIZE": 1}, 'not a setting; did you mean MYSQLPOOL_BINDS["reports"]["m'),
        ({"url": "replica"}, '["reports"]["url"] must start with mysql://'),
        ({"url": "mysql://r?max_size=0"}, 'max_size in MYSQLPOOL_BINDS["reports"]["u'),
        ({"runtime_dir": "/run"}, "one setting for all binds: use MYSQLPOOL_RUNTIME_"),
        ({"min_size": 11}, '["min_size"] is 11, which is more than MYSQLPOOL_BINDS["r'),
        ({"host": "a", "unix_socket": "/s"}, '["unix_socket"] name two different ser'),
        ({1: 2}, 'MYSQLPOOL_BINDS["reports"]["1"] is not a setting'),
    ],
)
def test_wrong_setting_of_a_bind_is_refused(bind: t.Any, text: str) -> None:
    said = refusal({"MYSQLPOOL_URL": URL, "MYSQLPOOL_BINDS": {"reports": bind}})
    assert 'MYSQLPOOL_BINDS["reports"]' in said
    assert text in said


def test_bind_in_a_bind_has_no_nearest() -> None:
    said = refusal({"MYSQLPOOL_BINDS": {"reports": {"binds": {}}}})
    assert said == 'MYSQLPOOL_BINDS["reports"]["binds"] is not a setting'


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"HOST": "a", "UNIX_SOCKET": "/s"}, ("_HOST", "_UNIX_SOCKET")),
        ({"PORT": 3306, "UNIX_SOCKET": "/s"}, ("_PORT", "_UNIX_SOCKET")),
        ({"URL": URL, "UNIX_SOCKET": "/s"}, ("host in MYSQLPOOL_URL", "_UNIX_S")),
        ({"URL": "mysql://a?unix_socket=/s"}, ("host in MYSQLPOOL_URL", "unix_socket")),
        ({"URL": "mysql://a/db?host=b"}, ("MYSQLPOOL_URL gives host twice",)),
        ({"URL": "mysql://a/db?database=b"}, ("MYSQLPOOL_URL gives database twice",)),
        ({"URL": "mysql://a?timeout=1&timeout=2"}, ("gives timeout twice",)),
        ({"SSL_DISABLED": True, "SSL_VERIFY_CERT": True}, ("_DISABLED", "VERIFY_CERT")),
        ({"SSL_DISABLED": True, "SSL": {}}, ("_SSL_DISABLED", "_SSL asks")),
        ({"SSL": {}, "SSL_VERIFY_CERT": True}, ("_SSL replaces", "VERIFY_C")),
    ],
)
def test_contradiction_is_refused(
    config: dict[str, t.Any], names: tuple[str, ...]
) -> None:
    said = refusal({f"MYSQLPOOL_{key}": value for key, value in config.items()})
    assert all(name in said for name in names), said


@pytest.mark.parametrize("value", [12345, 1e5, True, [MARKER], MARKER.encode()])
@pytest.mark.parametrize("key", ["PASSWORD", "SSL_KEY_PASSWORD"])
def test_wrong_secret_is_refused_without_showing_it(key: str, value: t.Any) -> None:
    said = refusal({"MYSQLPOOL_URL": URL, f"MYSQLPOOL_{key}": value})
    assert said.startswith(f"MYSQLPOOL_{key} must be text (in an environment variable")
    assert str(value) not in said and MARKER not in said


# What is taken


def test_defaults_are_the_documented_ones() -> None:
    settings = Settings.from_config({})["default"]
    assert settings.masked() == {
        "min_size": 0,
        "max_size": 10,
        "timeout": 10.0,
        "max_waiting": 0,
        "max_lifetime": 1800.0,
        "max_idle": 600.0,
        "max_usage": 0,
        "ping_after": 1.0,
        "reset": "auto",
        "setsession": [],
        "leak_after": 60.0,
        "max_binds": 50,
        "autocommit": False,
        "connect_timeout": 10.0,
    }
    assert settings.driver_arguments() == {"autocommit": False, "connect_timeout": 10.0}


def test_each_field_is_documented() -> None:
    for name, field in FIELDS.items():
        assert field.metadata["doc"].endswith("."), name


def test_each_parameter_of_pymysql_is_a_setting_or_excluded() -> None:
    parameters = set(inspect.signature(pymysql.connect).parameters)
    driver = {name for name, field in FIELDS.items() if field.metadata.get("driver")}
    assert driver.isdisjoint(EXCLUDED)
    assert driver | set(EXCLUDED) == parameters


def test_single_keys_win_over_the_url() -> None:
    settings = read(host="other", password="", database="", port="3308")
    assert (settings.host, settings.port) == ("other", 3308)
    assert (settings.password, settings.database) == ("", "")
    assert settings.user == "user"


def test_nothing_is_not_none() -> None:
    settings = read(
        timeout=0, max_idle=0, sql_mode="", client_flag=0, autocommit=None, user=None
    )
    assert (settings.timeout, settings.max_idle, settings.client_flag) == (0, 0, 0)
    arguments = settings.driver_arguments()
    assert arguments["sql_mode"] == ""
    assert arguments["client_flag"] == 0
    assert arguments["autocommit"] is None
    assert arguments["user"] == "user"
    assert "init_command" not in arguments
    assert settings.masked()["sql_mode"] == ""


def test_values_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ca.pem").touch()
    settings = read(
        max_size="20",
        timeout="2.5",
        autocommit="true",
        ssl_disabled="0",
        cursorclass="DictCursor",
        setsession=["SET @a = 1", "SET @b = 2"],
        database="2024",
        ssl_ca="~/ca.pem",
        ssl_cert=tmp_path / "ca.pem",
        ssl_key=tmp_path / "ca.pem",
    )
    assert (settings.max_size, settings.timeout) == (20, 2.5)
    assert (settings.autocommit, settings.ssl_disabled) == (True, False)
    assert settings.cursorclass is DictCursor
    assert settings.setsession == ("SET @a = 1", "SET @b = 2")
    assert settings.database == "2024"
    assert settings.ssl_ca == settings.ssl_key == str(tmp_path / "ca.pem")


def test_cursor_class_may_be_a_class_or_a_name() -> None:
    class OwnCursor(Cursor):
        pass

    assert read(cursorclass=OwnCursor).cursorclass is OwnCursor
    assert read(cursorclass="SSCursor").cursorclass is SSCursor


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {
        "URL": URL,
        "MAX_SIZE": "20",
        "TIMEOUT": "0",
        "PASSWORD": '"12345"',
        "AUTOCOMMIT": "true",
        "SETSESSION": '["SET @a = 1"]',
        "INIT_COMMAND": "SET @b = 1",
        "BINDS": '{"reports": {"host": "replica", "max_size": 4}}',
        "BINDS__archive__port": "3309",
    }.items():
        monkeypatch.setenv(f"FLASK_MYSQLPOOL_{key}", value)
    app = flask.Flask("an_app", root_path="/")
    assert app.config.from_prefixed_env()
    MySQLPool(app)
    pools: dict[str, Pool] = app.extensions["mysqlpool"]
    settings = pools["default"].settings
    assert (settings.max_size, settings.timeout) == (20, 0.0)
    assert settings.password == "12345"
    assert settings.autocommit is True
    assert settings.setsession == ("SET @a = 1",)
    assert settings.init_command == "SET @b = 1"
    assert pools["reports"].settings.host == "replica"
    assert pools["reports"].settings.max_size == 4
    assert pools["archive"].settings.port == 3309


@pytest.mark.parametrize("value", ["1e5", "true", "[1]", "12345", "-0", " 12345 "])
def test_password_that_json_would_change_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = flask.Flask("an_app", root_path="/")
    monkeypatch.setenv("FLASK_MYSQLPOOL_PASSWORD", value)
    app.config.from_prefixed_env()
    assert "within double quotes" in refusal(dict(app.config))
    monkeypatch.setenv("FLASK_MYSQLPOOL_PASSWORD", f'"{value}"')
    app.config.from_prefixed_env()
    assert Settings.from_config(app.config)["default"].password == value


# Binds


def binds(plain: dict[str, t.Any], **bind: t.Any) -> Settings:
    keys = {f"MYSQLPOOL_{name.upper()}": value for name, value in plain.items()}
    return Settings.from_config({**keys, "MYSQLPOOL_BINDS": {"reports": bind}})[
        "reports"
    ]


def test_bind_takes_what_it_leaves_out_from_the_plain_keys() -> None:
    plain = {"url": URL, "max_size": 7, "timeout": 0, "password": lambda: "asked"}
    reports = binds(plain, host="replica", min_size=2, user=None)
    assert reports.host == "replica"
    assert (reports.min_size, reports.max_size, reports.timeout) == (2, 7, 0)
    assert (reports.port, reports.user, reports.database) == (3307, "user", "shop")
    assert callable(reports.password) and reports.password() == "asked"


def test_url_of_a_bind_wins_over_the_plain_keys() -> None:
    reports = binds({"host": "a", "database": "b", "max_size": 3}, url="mysql://c/d")
    assert (reports.host, reports.database, reports.max_size) == ("c", "d", 3)


def test_server_of_a_bind_replaces_the_other_way_to_one() -> None:
    through_socket = binds({"url": URL}, unix_socket="/s")
    assert through_socket.unix_socket == "/s"
    assert (through_socket.host, through_socket.port) == (None, None)
    over_network = binds({"unix_socket": "/s"}, host="replica")
    assert over_network.host == "replica"
    assert over_network.unix_socket is None


def test_tls_of_a_bind_replaces_the_other_way_to_say_it() -> None:
    context = ssl.create_default_context()
    assert binds({"ssl": context}, ssl_verify_cert=True).ssl is None
    own = binds({"ssl_verify_cert": True}, ssl=context)
    assert own.ssl is context
    assert own.ssl_verify_cert is None


# Secrets


def test_settings_show_no_secret() -> None:
    for password in (MARKER, lambda: MARKER):
        settings = settings_for(
            f"mysql://u:{MARKER}@h", password=password, ssl_key_password=MARKER
        )
        assert settings.driver_arguments().get("password") in (None, MARKER)
        shown = settings.masked()
        assert shown["password"] == shown["ssl_key_password"] == MASK
        for text in (repr(settings), str(settings), repr(shown), repr(Pool(settings))):
            assert MARKER not in text
            assert "<lambda>" not in text
