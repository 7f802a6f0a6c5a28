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

from ..errors import ConfigError
from ..errors import MySQLPoolError
from ..pool.pool import Pool

logger = logging.getLogger(__name__)

PATIENCE = 1.0  # seconds that a process may take to answer
LONGEST_REQUEST = 4096  # bytes
LONGEST_PATH = 103  # bytes in a socket's address that every system takes
_LARGEST_PID = 4_194_304

_T = t.TypeVar("_T")

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
    :param answer: what this process says to a request.
    """

    def __init__(
        self,
        folder: t.Callable[[], Path],
        pools: Pools,
        answer: t.Callable[[Pools, dict[str, t.Any]], t.Any],
    ) -> None:
        self._folder = folder
        self._answer_to = answer
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
            listener.listen(128)
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
            self._serve_one(asker)

    def _serve_one(self, asker: socket.socket) -> None:
        """Answer in a thread: who says nothing, or asks for what takes long, keeps
        nobody waiting.
        """
        thread = threading.Thread(
            target=self._converse, args=(asker,), name="mysqlpool-answer", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no thread to be had
            logger.debug("a question was not answered: %s", error)
            asker.close()

    def _converse(self, asker: socket.socket) -> None:
        with asker:
            try:
                self._answer(asker)
            except Exception as error:  # whatever was sent
                logger.debug("a question was not answered: %s", error)

    def _answer(self, asker: socket.socket) -> None:
        deadline = time.monotonic() + PATIENCE / 2
        request = json.loads(_read(asker, deadline, LONGEST_REQUEST))
        pools = self._pools()
        if pools is None:
            return
        answer: dict[str, t.Any] = {"pid": os.getpid()}
        try:
            answer["binds"] = self._answer_to(pools, request)
        except MySQLPoolError as error:
            answer["error"] = str(error)
        asker.settimeout(PATIENCE / 2)
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
class Reply(t.Generic[_T]):
    """What a process answered for its pools, by bind name; an error where it did
    not.
    """

    pid: int
    binds: dict[str, _T] = dataclasses.field(default_factory=dict)
    error: str = ""


def ask(
    folder: Path,
    request: dict[str, t.Any],
    unpack: t.Callable[[t.Any], _T],
    pid: int | None = None,
    patience: float = PATIENCE,
) -> list[Reply[_T]]:
    """Ask every process of the app, all at once; return the replies in order of pid.
    Sockets of dead processes are removed.

    :param unpack: makes of what a process sends for a bind what the caller wants.
    :param pid: ask this one only.
    :param patience: seconds that a process may take.
    :raise OSError: the folder is not this user's alone.
    """
    if not folder.exists():
        return []
    check_private(folder)
    paths = [path for path in folder.glob("*.sock") if _pid(path)]
    if pid is not None:
        paths = [path for path in paths if _pid(path) == pid]
    if not paths:
        return []
    line = json.dumps(request).encode() + b"\n"
    with concurrent.futures.ThreadPoolExecutor(len(paths)) as executor:
        answers = executor.map(lambda path: _ask(path, line, unpack, patience), paths)
        return sorted((a for a in answers if a is not None), key=lambda a: a.pid)


def _ask(
    path: Path, request: bytes, unpack: t.Callable[[t.Any], _T], patience: float
) -> Reply[_T] | None:
    pid = _pid(path)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
            asker.settimeout(patience)
            asker.connect(os.fspath(path))
            asker.sendall(request)
            line = _read(asker, time.monotonic() + patience)
    except (ConnectionRefusedError, FileNotFoundError):
        path.unlink(missing_ok=True)  # its process is dead
        return None
    except OSError as error:
        return Reply(pid, error=f"not answering ({error})")
    try:
        answer = json.loads(line)
        if "error" in answer:
            return Reply(pid, error=str(answer["error"]))
        binds = answer["binds"].items()
        return Reply(pid, {name: unpack(packed) for name, packed in binds})
    except Exception as error:  # another version runs there, or somebody's joke
        logger.debug("process %d answered %r", pid, line[:100], exc_info=error)
        return Reply(pid, error="not answering in a way that this version reads")


def _pid(path: Path) -> int:
    """Return the process that a socket is of, 0 where its name says none."""
    name = path.name.partition(".")[0]
    return int(name) if name.isdecimal() else 0


def _read(
    connection: socket.socket, deadline: float, longest: int | None = None
) -> bytes:
    """Read a line by ``deadline``, on the monotonic clock.

    :raise TimeoutError: there was none by then.
    :raise ValueError: it is longer than ``longest`` bytes.
    """
    line = bytearray()
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left)
        chunk = connection.recv(65536)
        if not chunk:
            break
        line += chunk
        if longest is not None and len(line) > longest:
            raise ValueError("too long")
    return bytes(line)
