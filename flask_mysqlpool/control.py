"""Lets the command line see into running processes: each answers on a Unix socket.

The rule of this room: the folder belongs to the user alone, a question costs nobody
but its asker, and a worker that does not answer delays nothing by more than a second.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import json
import logging
import os
import re
import socket
import stat
import threading
import time
import typing as t
import weakref
from pathlib import Path

from .errors import ConfigError
from .pool import Pool
from .stats import PoolStats

logger = logging.getLogger(__name__)

PATIENCE = 1.0  # seconds that a process may take to answer
LONGEST_REQUEST = 4096  # bytes
LONGEST_PATH = 103  # bytes in a socket's address that every system takes
_LARGEST_PID = 4_194_304

_serial = itertools.count()


class Pools(dict[str, Pool]):
    """The pools of one app by bind name."""


def runtime_folder(base: str | None, app_name: str, root_path: str) -> Path:
    """Return the folder for the sockets of an app's processes.

    It is the same for an app however it was started, and another one for each app.
    It does not hang on ``TMPDIR`` or ``XDG_RUNTIME_DIR``, which differ between a
    service and a login shell.

    :raise ConfigError: the path is too long for a Unix socket.
    """
    name = app_name.rpartition(".")[2]
    identity = f"{os.path.realpath(root_path)}\n{name}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    user = Path(base) if base else Path(f"/tmp/flask-mysqlpool-{os.geteuid()}")
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:20]
    folder = user / f"{readable}-{digest}"
    longest = folder / f"{_LARGEST_PID}.999.sock.new"
    if len(os.fsencode(longest)) > LONGEST_PATH:
        spare = LONGEST_PATH - len(os.fsencode(longest)) + len(os.fsencode(user))
        raise ConfigError(
            f"MYSQLPOOL_RUNTIME_DIR is too long for Unix sockets: use a path of"
            f" at most {spare} bytes, not {str(user)!r}"
        )
    return folder


class Control:
    """Answers questions about the pools of one app in this process.

    :param folder: gives the folder of the socket, at the first use: by then a process
        that was started by root may have become another user's.
    """

    def __init__(self, folder: t.Callable[[], Path], pools: Pools) -> None:
        self._folder = folder
        self._path = Path()
        self._pools = weakref.ref(pools)
        self._number = next(_serial)
        self._pid = 0
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        _controls.add(self)
        weakref.finalize(pools, self.withdraw)

    def publish(self, pool: Pool) -> None:
        """Open this process' socket at the first use of one of its pools. What goes
        wrong is logged, not raised.
        """
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            try:
                folder = self._folder()
                make_private(folder)
                self._path = folder / f"{self._pid}.{self._number}.sock"
                self._listener = self._listen()
            except OSError as error:
                logger.warning("this process will not show in `flask pool`: %s", error)
                return
            threading.Thread(
                target=self._serve,
                args=(self._listener,),
                name="mysqlpool-control",
                daemon=True,
            ).start()

    def withdraw(self) -> None:
        """Close the socket and remove it."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        if self._pid == os.getpid():
            self._path.unlink(missing_ok=True)
            try:  # ends the thread that waits in accept()
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # nobody was waiting
        listener.close()

    def _listen(self) -> socket.socket:
        # Listening before it has its name: a sweep must not take it for a dead one.
        new = self._path.with_suffix(".sock.new")
        new.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(os.fspath(new))
            listener.listen(16)
            new.rename(self._path)
        except BaseException:
            listener.close()
            raise
        return listener

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                asker, _ = listener.accept()
            except OSError:
                if self._listener is not listener:
                    return  # withdrawn
                time.sleep(PATIENCE / 10)  # the process has no descriptor to spare
                continue
            with asker:
                try:
                    self._answer(asker)
                except Exception as error:  # whatever was sent, the next can ask
                    logger.debug("a question was not answered: %s", error)

    def _answer(self, asker: socket.socket) -> None:
        asker.settimeout(PATIENCE / 2)
        request = json.loads(_read(asker, LONGEST_REQUEST))
        pools = self._pools()
        if request != {"command": "stats"} or pools is None:
            raise ValueError("unknown command")
        binds = {name: pool.stats().pack() for name, pool in pools.items()}
        answer = {"pid": os.getpid(), "binds": binds}
        asker.sendall(json.dumps(answer).encode() + b"\n")


_controls: weakref.WeakSet[Control] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for control in list(_controls):
        control._lock = threading.Lock()
        control.withdraw()


os.register_at_fork(after_in_child=_after_fork_in_child)


def make_private(folder: Path) -> None:
    """Make a folder that is this user's alone.

    :raise OSError: it is there already and is not.
    """
    for path in (folder.parent, folder):  # parents have no mode but the umask's
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=True)
    check_private(folder)


def check_private(folder: Path) -> None:
    """Make sure that nobody else can reach ``folder``, or put another in its place.

    :raise OSError: somebody could, or it is missing.
    """
    for path, others in ((folder, 0o077), (folder.parent, 0o022)):
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(f"{path} is a file or a link, not a folder")
        owners = {os.geteuid()} if path == folder else {os.geteuid(), 0}
        shared = path != folder and bool(status.st_mode & stat.S_ISVTX)
        if status.st_uid not in owners:  # the owner may rename what is in it
            raise PermissionError(
                f"{path} belongs to another user (uid {status.st_uid}): run this as"
                " that user or set MYSQLPOOL_RUNTIME_DIR to a folder of your own"
            )
        if status.st_mode & others and not shared:
            raise PermissionError(f"{path} is open to others: chmod 700 {path}")


@dataclasses.dataclass(frozen=True)
class Worker:
    """What a process said of its pools, by bind name; an error where it did not."""

    pid: int
    binds: dict[str, PoolStats] = dataclasses.field(default_factory=dict)
    error: str = ""


def ask_workers(folder: Path) -> list[Worker]:
    """Ask every process of the app, all at once; return them in order of their pid.
    Sockets of dead processes are removed.

    :raise OSError: the folder is not this user's alone.
    """
    if not folder.exists():
        return []
    check_private(folder)
    paths = [path for path in folder.glob("*.sock") if _pid(path)]
    if not paths:
        return []
    with concurrent.futures.ThreadPoolExecutor(len(paths)) as executor:
        answers = executor.map(_ask, paths)
        return sorted((a for a in answers if a is not None), key=lambda a: a.pid)


def _ask(path: Path) -> Worker | None:
    pid = _pid(path)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
            asker.settimeout(PATIENCE)
            asker.connect(os.fspath(path))
            asker.sendall(b'{"command": "stats"}\n')
            answer = _read(asker)
    except (ConnectionRefusedError, FileNotFoundError):
        path.unlink(missing_ok=True)  # its process is dead
        return None
    except OSError as error:
        return Worker(pid, error=f"not answering ({error})")
    try:
        binds = json.loads(answer)["binds"].items()
        return Worker(pid, {name: PoolStats.unpack(packed) for name, packed in binds})
    except Exception as error:  # another version runs there, or somebody's joke
        logger.debug("process %d answered %r", pid, answer[:100], exc_info=error)
        return Worker(pid, error="not answering in a way that this version reads")


def _pid(path: Path) -> int:
    """Return the process that a socket is of, 0 where its name says none."""
    name = path.name.partition(".")[0]
    return int(name) if name.isdecimal() else 0


def _read(connection: socket.socket, longest: int | None = None) -> bytes:
    """Read a line.

    :raise ValueError: it is longer than ``longest`` bytes.
    """
    line = bytearray()
    while not line.endswith(b"\n"):
        chunk = connection.recv(65536)
        if not chunk:
            break
        line += chunk
        if longest is not None and len(line) > longest:
            raise ValueError("too long")
    return bytes(line)


def merged(workers: t.Iterable[Worker]) -> dict[str, PoolStats]:
    """Return the totals by bind name."""
    readings: dict[str, list[PoolStats]] = {}
    for worker in workers:
        for name, reading in worker.binds.items():
            readings.setdefault(name, []).append(reading)
    return {name: PoolStats.merged(each) for name, each in readings.items()}
