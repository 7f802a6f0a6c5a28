"""Pools under eventlet and gevent, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import pytest

ROOT = Path(__file__).parents[2]


def run(library: str, case: str, *arguments: str) -> None:
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.greenlets", library, case, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["tcp", "socket"])
def url(request: pytest.FixtureRequest, mysql_url: str, mysql_server: t.Any) -> str:
    """The server by its address, where Linux tells what has come in, and by its
    socket, where only the system's poll() does.
    """
    if request.param == "tcp":
        return mysql_url
    with mysql_server.connect() as db, db.cursor() as cursor:
        cursor.execute("SELECT @@socket")
        (path,) = cursor.fetchone()
    if not os.path.exists(path):
        pytest.skip("the server runs elsewhere")
    account, _, database = mysql_url.partition("@")
    _, _, database = database.partition("/")
    return f"{account}@/{database}?unix_socket={quote(path, safe='')}"


@pytest.mark.parametrize("library", ["eventlet", "gevent"])
@pytest.mark.parametrize("case", ["app", "timeouts", "ended"])
def test_pool_in_greenlets(library: str, case: str, url: str) -> None:
    run(library, case, url)


@pytest.mark.parametrize("case", ["threads", "native_threads"])
def test_connection_is_lent_in_the_thread_of_its_hub_only(case: str, url: str) -> None:
    run("gevent", case, url)


@pytest.mark.parametrize("library", ["eventlet", "gevent"])
def test_name_is_looked_up(library: str, mysql_url: str) -> None:
    run(library, "lookup", mysql_url)


@pytest.mark.parametrize("library", ["eventlet", "gevent"])
def test_trickled_record_of_tls_keeps_the_deadline(library: str) -> None:
    run(library, "trickle", "")
