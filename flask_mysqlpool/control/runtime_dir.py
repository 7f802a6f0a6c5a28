"""The folder of the workers' sockets: one for each app, private to its user."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from pathlib import Path

from ..errors import ConfigError

MAX_PATH = 103  # bytes in a socket's address, on every system
_MAX_PID = 4_194_304
_MAX_NUMBER = 999


def runtime_folder(base: str | None, app_name: str, root_path: str) -> Path:
    """Return the folder for the sockets of an app's processes.

    Each app has its own, and the same one however the app was started. It does not
    depend on ``TMPDIR`` or ``XDG_RUNTIME_DIR``, which differ between a service and a
    login shell.

    :raise ConfigError: the path is too long for a Unix socket.
    """
    name = app_name.rpartition(".")[2]
    identity = f"{os.path.realpath(root_path)}\n{name}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    user = Path(base) if base else Path(f"/tmp/flask-mysqlpool-{os.geteuid()}")
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:20]
    folder = user / f"{readable}-{digest}"
    longest = unnamed(socket_path(folder, _MAX_PID, _MAX_NUMBER))
    if len(os.fsencode(longest)) > MAX_PATH:
        spare = MAX_PATH - len(os.fsencode(longest)) + len(os.fsencode(user))
        raise ConfigError(
            f"MYSQLPOOL_RUNTIME_DIR is too long for Unix sockets: use a path of"
            f" at most {spare} bytes, not {str(user)!r}"
        )
    return folder


def socket_path(folder: Path, pid: int, number: int) -> Path:
    """Return the path of a process' socket; ``number`` counts the apps in it."""
    return folder / f"{pid}.{number}.sock"


def unnamed(path: Path) -> Path:
    """Return the path that a socket has until it listens."""
    return path.with_suffix(".sock.new")


def socket_paths(folder: Path) -> list[Path]:
    """Return the sockets in a folder, in order of process id."""
    paths = [path for path in folder.glob("*.sock") if pid_of(path)]
    return sorted(paths, key=lambda path: (pid_of(path), path.name))


def pid_of(path: Path) -> int:
    """Return the process that has a socket; 0 if the name has no process id."""
    name = path.name.partition(".")[0]
    return int(name) if name.isdecimal() else 0


def make_private(folder: Path) -> None:
    """Make a folder that only this user can reach.

    :raise OSError: it exists and others can reach it.
    """
    for path in (folder.parent, folder):  # mkdir gives parents no mode of their own
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=True)
    check_private(folder)


def check_private(folder: Path) -> None:
    """Check that nobody else can reach ``folder``, or put another in its place.

    :raise OSError: somebody can, or it does not exist.
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
