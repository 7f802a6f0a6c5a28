"""The fixtures that users load: a server for the session, a database for each test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_mysqlpool.testing import PrivateServer
from flask_mysqlpool.testing.fixtures import ExternalServer

pytestmark = pytest.mark.skipif(
    "MYSQLPOOL_TEST_URL" in os.environ, reason="starts servers of its own"
)

USERS_TESTS = """
from urllib.parse import urlsplit

pytest_plugins = ["flask_mysqlpool.testing.fixtures"]
seen = []

def test_one(mysql_server, mysql_url):
    seen.append(mysql_url)
    with mysql_server.connect(database=urlsplit(mysql_url).path[1:]) as connection:
        connection.cursor().execute("CREATE TABLE t (id INT)")

def test_two(mysql_url):
    assert mysql_url not in seen

def test_crash(mysql_server, mysql_url):
    mysql_server.kill()
"""


@pytest.fixture
def server() -> Iterator[PrivateServer]:
    with PrivateServer() as server:
        yield server


def run_pytest(folder: Path, **variables: str) -> str:
    (folder / "test_users.py").write_text(USERS_TESTS)
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "."],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path} | variables,
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


def test_fixtures_start_a_server(tmp_path: Path) -> None:
    assert "3 passed" in run_pytest(tmp_path)


def test_fixtures_take_another_server(tmp_path: Path, server: PrivateServer) -> None:
    url = server.url("elsewhere") + "?charset=utf8mb4"
    output = run_pytest(tmp_path, MYSQLPOOL_TEST_URL=url)
    assert "2 passed, 1 skipped" in output
    assert "unset MYSQLPOOL_TEST_URL" in output
    with server.connect() as connection, connection.cursor() as cursor:
        assert cursor.execute("SHOW DATABASES LIKE 'test_%'") == 0


def test_external_server_keeps_the_rest_of_its_url(server: PrivateServer) -> None:
    url = server.url("one") + "?charset=latin1"
    external = ExternalServer(url)
    assert external.url("two") == url.replace("/one", "/two")
    with external.connect(database="two") as connection:
        assert connection.charset == "latin1"
