"""A private MariaDB on 127.0.0.1 that ends with the process that started it.

It reads no option file, is no system service, and shares nothing with another server on
the machine: it has its own folder, port and password.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import pymysql
from pymysql.connections import Connection

from . import datadir
from .errors import ServerError
from .machine import find_program
from .machine import free_port

USER = "app"
# Linux takes 107 bytes as the path of a Unix socket, others fewer.
_SOCKET_BYTES = 100
_START_TIMEOUT = 60.0
_LEFTOVER_TIMEOUT = 5.0
_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--innodb-buffer-pool-size=16M",
    "--innodb-log-file-size=4M",
    "--innodb-flush-log-at-trx-commit=2",
    "--aria-pagecache-buffer-size=4M",
    "--key-buffer-size=1M",
)
# Ends the server if this process is killed, which closes the pipe that it reads from.
# PR_SET_PDEATHSIG does not help: it follows the thread that started the server.
_WATCH = 'read -r _; kill -s "$1" "$2"; shift 2; rm -rf "$@"'


class PrivateServer:
    """A MariaDB of your own, started by ``with`` or by :meth:`start`.

    :param folder: where it keeps its data and password, to be found again by the
        next start; without one, a temporary folder that :meth:`close` removes.
    :param options: more options for ``mariadbd``; they win over ours.

    Started by root it runs as ``mysql`` or ``nobody``. The user of :meth:`url` has
    all rights; ``root`` gets in through the socket only, as the system's root.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self._temporary = folder is None
        if folder is None:
            name = f"flask-mysqlpool-{secrets.token_hex(6)}"
            folder = Path(tempfile.gettempdir(), name)
        self.folder = Path(folder).resolve()
        self.options = tuple(options)
        self.port = 0
        self.socket = ""
        self._password = ""  # nosec B105 # there is none yet
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        self._socket_folder: Path | None = None
        self._starter = os.getpid()

    def __enter__(self) -> PrivateServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"port {self.port}" if self.running else "not running"
        return f"<PrivateServer in {self.folder}, {state}>"

    @property
    def running(self) -> bool:
        """Whether the server's process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None or self._process.poll() is not None:
            raise ServerError(f"the server in {self.folder} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the server, on its last port if that is free, and wait for a login.

        :raises ServerNotFoundError: no binary; the text says what to install.
        :raises ServerError: it did not start; the text has the end of its log.
        """
        if self.running:
            return
        self.kill()  # the watch of a server that crashed
        self._starter = os.getpid()
        atexit.unregister(self.close)
        atexit.register(self.close)
        try:
            self._start(find_program("mariadbd"))
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout: float = 10) -> None:
        """Shut the server down; kill it if that takes longer than ``timeout``."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self.kill()

    def kill(self) -> None:
        """Kill the server with SIGKILL: what a crash looks like to its clients."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._watch is not None:
            self._watch.kill()
            self._watch.communicate()
            self._watch = None

    def restart(self) -> None:
        """Stop and start again: same data, same password, same port if still free."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop the server and remove what is temporary."""
        if self._starter != os.getpid():  # a forked child: the server is not its own
            return
        self.stop()
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None
        if self._temporary:
            datadir.remove(self.folder)
        atexit.unregister(self.close)

    def connect(self, **keywords: Any) -> Connection:
        """Return a new PyMySQL connection with all rights.

        :param keywords: for :func:`pymysql.connect`; they win over ours.
        """
        ours: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "password": self._password,
            "ssl_disabled": True,
        }
        return pymysql.connect(**(ours | keywords))

    def url(self, database: str) -> str:
        """Return the URL of ``database``, which is created if it does not exist."""
        create_database(self.connect, database)
        name = quote(database, safe="")
        return f"mysql://{USER}:{self._password}@127.0.0.1:{self.port}/{name}"

    def _start(self, binary: str) -> None:
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            self.folder.chmod(0o755)  # whatever the umask: the server must get in
        if not os.access(self.folder, os.W_OK):
            raise ServerError(
                f"{self.folder} is another user's: be that one or remove it"
            )
        self._password = self._read_password()
        data = datadir.prepare(self.folder)
        _await_leftover(data)
        self.socket = self._choose_socket(data)
        for _ in range(5):
            self.port = free_port(self.port)
            log = self._launch(binary, data)
            if not log:
                return
            self.kill()
            if "Bind on TCP/IP port" not in log:  # else the port was taken: try again
                break
        tail = "\n".join(log.splitlines()[-20:])
        raise ServerError(f"mariadbd did not start in {self.folder}:\n{tail}")

    def _launch(self, binary: str, data: Path) -> str:
        """Run the server; return "" once a login succeeds, else what it logged.

        The log is opened here, so that the server can log even if it may not write in
        the folder.
        """
        log = self.folder / "error.log"
        accounts = data / "accounts.sql"
        datadir.write_private(accounts, _ACCOUNTS_SQL.format(USER, self._password))
        datadir.hand_over(accounts, data)
        command = [
            binary,
            "--no-defaults",
            f"--datadir={data}",
            f"--socket={self.socket}",
            f"--pid-file={data / 'pid'}",
            f"--port={self.port}",
            f"--init-file={accounts}",
            *_OPTIONS,
            *self.options,
        ]
        with log.open("ab") as file:
            begin = file.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # a terminal's Ctrl-C is not for the server
                **datadir.run_as_owner(data),
            )
        self._watch = self._start_watch(self._process.pid, data)
        try:
            if self._await_login(self._process):
                return ""
        finally:
            accounts.unlink(missing_ok=True)
        text = log.read_bytes()[begin:].decode(errors="replace")
        return text or "(it logged nothing)"

    def _start_watch(self, pid: int, data: Path) -> subprocess.Popen[bytes]:
        paths = [self.folder, data] if self._temporary else []
        if self._socket_folder is not None:
            paths.append(self._socket_folder)
        kind = "KILL" if self._temporary else "TERM"
        return subprocess.Popen(
            ["sh", "-c", _WATCH, "sh", kind, str(pid), *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def _await_login(self, process: subprocess.Popen[bytes]) -> bool:
        """Log in through the socket: the port might answer for another server."""
        deadline = time.monotonic() + _START_TIMEOUT
        while process.poll() is None and time.monotonic() < deadline:
            # The socket is made here: PyMySQL leaves one that is refused unclosed.
            channel = socket.socket(socket.AF_UNIX)
            with channel, suppress(OSError, pymysql.Error):
                channel.connect(self.socket)
                connection = self.connect(defer_connect=True, read_timeout=5)
                connection.connect(channel)
                connection.close()
                return True
            time.sleep(0.02)
        return False

    def _choose_socket(self, data: Path) -> str:
        """Return a path for the socket that is short enough for the system."""
        path = str(data / "socket")
        if len(os.fsencode(path)) <= _SOCKET_BYTES:
            return path
        if self._socket_folder is None:
            # mkdtemp() makes it private.
            folder = tempfile.mkdtemp(prefix="mysql-", dir="/tmp")  # nosec B108
            self._socket_folder = Path(folder)
            datadir.hand_over(self._socket_folder, data)
        return str(self._socket_folder / "socket")

    def _read_password(self) -> str:
        """Return the password in the folder, which the first start creates."""
        path = self.folder / "password"
        with suppress(FileNotFoundError):
            if password := path.read_text():
                return password
        password = secrets.token_hex(16)
        datadir.write_private(path, password)
        return password


# mariadbd executes it line by line before it accepts connections.
_ACCOUNTS_SQL = """\
SET SESSION sql_log_bin = 0;
GRANT ALL ON *.* TO '{0}'@'%' IDENTIFIED BY '{1}' WITH GRANT OPTION;
"""


def create_database(connect: Callable[[], Connection], name: str) -> None:
    """Create the database ``name`` if it does not exist."""
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {quote_name(name)}")


def quote_name(name: str) -> str:
    """Return ``name`` as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def _await_leftover(data: Path) -> None:
    """Wait for the server of a killed process, which its watch is ending."""
    deadline = time.monotonic() + _LEFTOVER_TIMEOUT
    while (pid := datadir.server_in(data)) is not None:
        if time.monotonic() > deadline:
            raise ServerError(f"{data} is in use by process {pid}; stop that first")
        time.sleep(0.05)
