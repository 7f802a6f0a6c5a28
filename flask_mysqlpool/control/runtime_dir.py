"""The folder of the workers' sockets: one for each app, private to its user."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from pathlib import Path

from ..errors import ConfigError
from ..stats.text import printable

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
    user = Path(base) if base else default_base()
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


def default_base() -> Path:
    """Return where the folders of this user's apps are, unless a setting says so."""
    # Whoever made it is looked at before it is used.
    return Path(f"/tmp/flask-mysqlpool-{os.geteuid()}")  # nosec B108


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

    :raise OSError: it exists and others can reach it, or put another in its place.
    """
    # From the top down: nothing is made behind a link that was not looked at.
    for path in (*reversed(folder.parents), folder):
        if not os.path.lexists(path):
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
        _check(path, folder)


def check_private(folder: Path) -> None:
    """Check that nobody else can reach ``folder``, or put another in its place.

    :raise FileNotFoundError: it does not exist.
    :raise OSError: somebody can.
    """
    for path in (*reversed(folder.parents), folder):
        _check(path, folder)


def _check(path: Path, folder: Path) -> None:
    """Check one folder on the way to ``folder``, or that itself.

    Its parent is the app's user's, too, or root's. Of those above only the links are
    looked at: their owner may point them elsewhere.
    """
    status, shown = path.lstat(), printable(path)
    own = path in (folder, folder.parent)
    link = stat.S_ISLNK(status.st_mode)
    if (link and own) or not path.is_dir():
        raise NotADirectoryError(f"{shown} is a file or a link, not a folder")
    owners = {os.geteuid()} if path == folder else {os.geteuid(), 0}
    if (link or own) and status.st_uid not in owners:
        raise PermissionError(
            f"{shown} belongs to another user (uid {status.st_uid}): run this as"
            " that user or set MYSQLPOOL_RUNTIME_DIR to a folder of your own"
        )
    others = 0o077 if path == folder else 0o022
    shared = path != folder and bool(status.st_mode & stat.S_ISVTX)
    if own and status.st_mode & others and not shared:
        raise PermissionError(f"{shown} is open to others: chmod 700 {shown}")
