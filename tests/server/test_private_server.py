"""The private server: it starts anywhere, keeps what it has, and leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymysql
import pytest

from flask_mysqlpool.testing import datadir
from flask_mysqlpool.testing import machine
from flask_mysqlpool.testing import PrivateServer
from flask_mysqlpool.testing import server as server_module
from flask_mysqlpool.testing import ServerError
from flask_mysqlpool.testing import ServerNotFoundError

from ..support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    "MYSQLPOOL_TEST_URL" in os.environ, reason="starts servers of its own"
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateServer]:
    with PrivateServer() as server:
        yield server


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any account reaches; pytest's own are closed to others."""
    top = Path(tempfile.mkdtemp(dir="/tmp"))
    top.chmod(0o755)
    yield top / "a server"
    datadir.remove(top / "a server")
    shutil.rmtree(top)


def query(server: PrivateServer, sql: str, **keywords: Any) -> Any:
    with server.connect(autocommit=True, **keywords) as connection:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            row = cursor.fetchone()
    return row[0] if row else None


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "\nState:\tZ" not in status  # ended, though nobody has waited for it yet


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Run ``code`` in a process of its own, which imports what this one does."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


STARTS_AND_WAITS = """
import sys
from flask_mysqlpool.testing import PrivateServer
server = PrivateServer(*sys.argv[1:])
server.start()
print(server.pid, server.folder, flush=True)
sys.stdin.read()
"""


def test_url_is_of_a_database_that_exists(server: PrivateServer) -> None:
    parts = urlsplit(server.url("bank"))
    assert (parts.hostname, parts.port, parts.path) == (
        "127.0.0.1",
        server.port,
        "/bank",
    )
    connection = pymysql.connect(
        host=parts.hostname,
        port=parts.port or 0,
        user=parts.username,
        password=parts.password or "",
        database="bank",
    )
    connection.close()


def test_url_takes_any_database_name(server: PrivateServer) -> None:
    url = server.url("a `b/é")
    assert url.endswith("/a%20%60b%2F%C3%A9")
    assert query(server, "SELECT DATABASE()", database="a `b/é") == "a `b/é"


def test_user_may_make_users_and_grant(server: PrivateServer) -> None:
    query(server, "CREATE USER guest IDENTIFIED BY 'x'")
    query(server, "GRANT ALL ON *.* TO guest WITH GRANT OPTION")
    assert query(server, "SELECT 1", user="guest", password="x") == 1


def test_root_has_no_way_in_over_tcp(server: PrivateServer) -> None:
    with pytest.raises(pymysql.err.OperationalError, match="1045|1130|1698"):
        server.connect(user="root", password="")


def test_options_win() -> None:
    with PrivateServer(options=["--max-connections=17"]) as server:
        assert query(server, "SELECT @@max_connections") == 17


@as_root
def test_server_does_not_run_as_root(server: PrivateServer) -> None:
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0


def test_restart_and_kill_keep_data_and_port(server: PrivateServer) -> None:
    query(server, "CREATE TABLE kept (id INT PRIMARY KEY)", database=_made(server))
    port, pid = server.port, server.pid
    server.restart()
    query(server, "INSERT INTO kept VALUES (7)", database="kept")
    server.kill()
    assert not server.running
    assert not alive(pid)
    with pytest.raises(ServerError, match="is not running"):
        _ = server.pid
    server.start()
    assert query(server, "SELECT id FROM kept", database="kept") == 7
    assert server.port == port


def _made(server: PrivateServer) -> str:
    server.url("kept")
    return "kept"


def test_folder_keeps_data_and_password(folder: Path) -> None:
    with PrivateServer(folder) as first:
        first.url("kept")
    with PrivateServer(folder) as second:
        assert query(second, "SELECT DATABASE()", database="kept") == "kept"
    assert (folder / "password").stat().st_mode & 0o777 == 0o600
    assert list(folder.glob("data/*.sql")) == []


def test_with_leaves_no_process_and_no_folder() -> None:
    with PrivateServer() as server:
        pid, data = server.pid, server.folder / "data"
        assert data.is_dir()
    assert not alive(pid)
    assert not server.folder.exists()


def test_failed_start_shows_the_log_and_leaves_nothing() -> None:
    server = PrivateServer(options=["--no-such-option"])
    with pytest.raises(ServerError, match="no-such-option"):
        with server:
            pass
    assert not server.running
    assert not server.folder.exists()


def test_missing_binary_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(machine, "_SBIN", ())
    with pytest.raises(ServerNotFoundError, match="install .*mariadb-server-core"):
        PrivateServer().start()


def test_binary_is_found_outside_of_path(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = machine.find_program("mariadbd")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(machine, "_SBIN", (str(Path(expected).parent),))
    assert machine.find_program("mariadbd") == expected


def test_port_that_is_taken_meanwhile_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], machine.free_port(0)])
        monkeypatch.setattr(server_module, "free_port", lambda last: next(ports))
        with PrivateServer() as server:
            assert server.port != taken.getsockname()[1]
            assert query(server, "SELECT @@port") == server.port


def test_last_port_is_kept_only_while_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert machine.free_port(port) != port
    assert machine.free_port(port) == port


def test_long_path_gets_a_short_socket(folder: Path) -> None:
    with PrivateServer(folder / ("x" * 100)) as server:
        assert len(server.socket) < 100
        assert query(server, "SELECT 1", unix_socket=server.socket) == 1
    assert not Path(server.socket).parent.exists()


@as_root
def test_closed_folder_has_its_data_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datadir, "ELSEWHERE", folder.parent / "elsewhere")
    closed = folder.parent / "closed"
    closed.mkdir(mode=0o700)
    for _ in range(2):  # the second start finds what the first one made
        with PrivateServer(closed / "server") as server:
            server.url("bank")
    data = (closed / "server" / "data").readlink()
    assert data.parent == folder.parent / "elsewhere"
    assert (data / "bank").is_dir()

    shutil.copytree(closed / "server", closed / "copy", symlinks=True)
    with PrivateServer(closed / "copy") as server:
        assert query(server, "SHOW DATABASES LIKE 'bank'") is None

    shutil.rmtree(closed / "server")
    with PrivateServer(closed / "server") as server:
        assert query(server, "SHOW DATABASES LIKE 'bank'") is None
    for folder in (closed / "server", closed / "copy"):
        datadir.remove(folder)
    assert not any((folder.parent.parent / "elsewhere").iterdir())


@as_root
def test_killed_process_leaves_no_data_elsewhere(folder: Path) -> None:
    """The temporary folder of the process is closed to the server's account."""
    elsewhere, closed = folder.parent / "elsewhere", folder.parent / "closed"
    closed.mkdir(mode=0o700)
    code = f"""
import pathlib, tempfile
from flask_mysqlpool.testing import datadir
datadir.ELSEWHERE = pathlib.Path({str(elsewhere)!r})
tempfile.tempdir = {str(closed)!r}
{STARTS_AND_WAITS}"""
    with run_python(code) as starter:
        assert starter.stdout
        pid = int(starter.stdout.readline().split()[0])
        assert any(elsewhere.iterdir())
        starter.kill()
    wait_until(lambda: not alive(pid) and not any(elsewhere.iterdir()))
    assert not any(closed.iterdir())


def test_folder_of_a_running_server_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_LEFTOVER_TIMEOUT", 0.1)
    with PrivateServer(folder) as server:
        with pytest.raises(ServerError, match=f"in use by process {server.pid}"):
            PrivateServer(folder).start()
        assert query(server, "SELECT 1") == 1


def test_killed_process_takes_its_server_along(folder: Path) -> None:
    with run_python(STARTS_AND_WAITS, str(folder)) as starter:
        assert starter.stdout
        pid = int(starter.stdout.readline().split()[0])
        assert alive(pid)
        starter.kill()
    with PrivateServer(folder) as server:  # waits for the other to end
        assert not alive(pid)
        assert query(server, "SELECT 1") == 1


def test_killed_process_leaves_no_temporary_folder() -> None:
    with run_python(STARTS_AND_WAITS) as starter:
        assert starter.stdout
        pid, folder = starter.stdout.readline().split()
        starter.kill()
    wait_until(lambda: not alive(int(pid)) and not Path(folder).exists())


def test_exit_stops_a_server_that_nobody_stopped() -> None:
    with run_python(STARTS_AND_WAITS) as starter:
        assert starter.stdout and starter.stdin
        pid, folder = starter.stdout.readline().split()
        starter.stdin.close()
    assert starter.returncode == 0
    assert not alive(int(pid))
    assert not Path(folder).exists()


def test_exit_of_a_forked_child_leaves_the_server_alone() -> None:
    code = """
import os, sys
from flask_mysqlpool.testing import PrivateServer
server = PrivateServer()
server.start()
if (child := os.fork()) == 0:
    sys.exit(3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
server.connect().close()
assert (server.folder / "data").exists()
print("runs")
"""
    with run_python(code) as starter:
        output, _ = starter.communicate(timeout=60)
    assert (starter.returncode, output) == (0, "runs\n")


def test_stop_is_bounded() -> None:
    with PrivateServer() as server:
        pid = server.pid
        os.kill(pid, signal.SIGSTOP)
        server.stop(timeout=0.2)
    assert not alive(pid)
