"""What a server says of itself is asked of a real one."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from flask_mysqlpool.diagnostics.named_locks import query_named_locks
from flask_mysqlpool.diagnostics.server_info import query_server
from flask_mysqlpool.diagnostics.server_info import query_servers
from flask_mysqlpool.diagnostics.server_info import ServerInfo

from ..support.pools import settings_for


def view(url: str, **settings: t.Any) -> ServerInfo:
    return query_server(settings_for(url, **{"ssl_disabled": True, **settings}))


@pytest.fixture
def database(mysql_server: t.Any, mysql_url: str) -> Iterator[t.Any]:
    """A session with all rights in the database of the test."""
    name = urlsplit(mysql_url).path.strip("/")
    with mysql_server.connect(database=name, autocommit=True) as session:
        yield session.cursor()


def test_numbers_are_those_of_the_server(mysql_url: str, database: t.Any) -> None:
    seen = view(mysql_url)
    database.execute("SELECT VERSION(), @@max_connections, @@port")
    assert (seen.version, seen.max_connections, seen.port) == database.fetchone()
    assert seen.threads_connected >= 2
    assert seen.account.partition("@")[0] == urlsplit(mysql_url).username
    assert seen.database == urlsplit(mysql_url).path.strip("/")
    assert (seen.tls, seen.tls_mode) == ("", "DISABLED")
    plugins = ("mysql_native_password", "caching_sha2_password")
    assert seen.login_plugin == plugins["MariaDB" not in seen.version]
    assert seen.identity == view(mysql_url).identity


def test_clock_of_this_machine_is_ours(mysql_url: str) -> None:
    seen = view(mysql_url)
    assert abs(seen.clock_ahead_seconds) < 0.05 + seen.round_trip_seconds
    assert 0 < seen.round_trip_seconds < 1


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_clock_that_is_wrong(mysql_url: str, seconds: int) -> None:
    wrong = f"SET timestamp = UNIX_TIMESTAMP() + {seconds}"
    ahead = view(mysql_url, init_command=wrong).clock_ahead_seconds
    assert abs(ahead - seconds) < 5


def test_session_is_seen_as_the_settings_make_it(mysql_url: str) -> None:
    seen = view(
        mysql_url, charset="latin1", setsession=["SET SESSION wait_timeout = 123"]
    )
    assert (seen.charset, seen.wait_timeout) == ("latin1", 123)
    assert view(mysql_url).charset == "utf8mb4"


def test_charset_of_the_database(mysql_url: str, database: t.Any) -> None:
    name = urlsplit(mysql_url).path.strip("/")
    database.execute(f"ALTER DATABASE `{name}` CHARACTER SET latin1")
    assert view(mysql_url).charset_of_database == "latin1"


def test_limit_of_the_account(mysql_url: str, database: t.Any) -> None:
    user = urlsplit(mysql_url).path.strip("/")[-16:]
    database.execute(
        f"CREATE USER `{user}` IDENTIFIED BY 'secret' WITH MAX_USER_CONNECTIONS 3"
    )
    try:
        seen = view(mysql_url, user=user, password="secret", database="")
    finally:
        database.execute(f"DROP USER `{user}`")
    assert seen.max_user_connections == 3
    assert seen.account == f"{user}@%"


def test_settings_of_the_app_do_not_get_in_the_way(mysql_url: str) -> None:
    plain = view(mysql_url)
    odd = view(mysql_url, use_unicode=False, conv={}, cursorclass="SSCursor")
    changing: dict[str, t.Any] = dict.fromkeys(
        ("threads_connected", "clock_ahead_seconds", "round_trip_seconds"), 0
    )
    assert dataclasses.replace(odd, **changing) == dataclasses.replace(
        plain, **changing
    )


def test_one_server_that_is_down_keeps_no_other_from_answering(mysql_url: str) -> None:
    def ask() -> str:
        raise LookupError("the vault is sealed")

    up = settings_for(mysql_url, ssl_disabled=True)
    sealed = settings_for(mysql_url, password=ask)
    views = query_servers({"up": up, "sealed": sealed})
    assert isinstance(views["up"], ServerInfo)
    assert isinstance(views["sealed"], LookupError)
    assert query_servers({}) == {}


def test_named_locks_are_found_wherever_they_are(
    mysql_url: str, database: t.Any
) -> None:
    for sql in (
        "CREATE TABLE t (id INT)",
        "CREATE FUNCTION taking() RETURNS INT READS SQL DATA RETURN GET_LOCK('x', 0)",
        "CREATE PROCEDURE harmless() SELECT 1",
        "CREATE VIEW seen AS SELECT Get_Lock('x', 0) AS taken",
        "CREATE TRIGGER triggered BEFORE INSERT ON t FOR EACH ROW DO GET_LOCK('x', 0)",
    ):
        database.execute(sql)
    here = urlsplit(mysql_url).path.strip("/")
    found = query_named_locks(settings_for(mysql_url, ssl_disabled=True))
    assert [name for name in found if name.startswith(f"{here}.")] == [
        f"{here}.{name}" for name in ("seen", "taking", "triggered")
    ]
