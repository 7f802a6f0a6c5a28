"""The data folder of a private server, and the account that owns it.

A server does not run as root. If root starts it, the data belongs to an unprivileged
account, and the server runs as the owner of its data. If that account cannot reach the
folder (a checkout below ``/root``), the data is in :data:`ELSEWHERE`, under a name made
of the folder's path, and ``data`` in the folder is a link to it.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import ServerError
from .machine import find_program

ELSEWHERE = Path("/var/lib/flask-mysqlpool")
ACCOUNTS = ("mysql", "nobody")


def run_as_owner(data: Path) -> dict[str, Any]:
    """Return :mod:`subprocess` keywords to run a command as the owner of ``data``."""
    # The owner may have no access to the TMPDIR of this process.
    keywords: dict[str, Any] = {"cwd": "/", "env": os.environ | {"TMPDIR": str(data)}}
    if os.geteuid() == 0:
        owner = data.stat()
        keywords |= {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    return keywords


def hand_over(path: Path, data: Path) -> None:
    """Make the owner of ``data`` the owner of ``path``."""
    if os.geteuid() == 0:
        owner = data.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read. Replace whatever has its name."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def prepare(folder: Path) -> Path:
    """Return the data folder of ``folder``, created if it has none yet.

    It gets its name when it is complete, so that an interrupted installation is never
    used.
    """
    data = folder / "data"
    if data.is_symlink() and data.readlink() != _elsewhere(folder):
        data.unlink()  # copied with the folder: the data is another folder's
    if data.is_dir():
        data = data.resolve()
        if os.geteuid() == 0 and data.stat().st_uid == 0:  # copied by root
            _give_to_account(data)
        return data
    data.unlink(missing_ok=True)
    new = _new(folder)
    try:
        _install(new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if new.parent == folder:
        return new.rename(data)
    target = _elsewhere(folder)
    shutil.rmtree(target, ignore_errors=True)  # of a folder that was deleted
    data.symlink_to(new.rename(target))
    return target


def remove(folder: Path) -> None:
    """Remove ``folder`` and its data, wherever that is."""
    shutil.rmtree(_elsewhere(folder), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def server_in(data: Path) -> int | None:
    """Return the process id of the server that runs on ``data``, if /proc shows one."""
    with suppress(OSError, ValueError):
        pid = int((data / "pid").read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if os.fsencode(f"--datadir={data}") in arguments:
            return pid
    return None


def _elsewhere(folder: Path) -> Path:
    """Return where the data of ``folder`` is if the account cannot reach it there."""
    return ELSEWHERE / hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]


def _new(folder: Path) -> Path:
    data = Path(tempfile.mkdtemp(prefix="data-", dir=folder))
    if os.geteuid() != 0:
        return data
    _give_to_account(data)
    if _owner_reaches(data):
        return data
    data.rmdir()
    ELSEWHERE.mkdir(exist_ok=True)
    ELSEWHERE.chmod(0o711)
    data = Path(tempfile.mkdtemp(prefix="data-", dir=ELSEWHERE))
    _give_to_account(data)
    return data


def _give_to_account(data: Path) -> None:
    """Give ``data`` to the account that a server started by root runs as."""
    account = _server_account()
    try:
        for path in (data, *data.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    except OSError as error:  # a container that knows one user only
        raise ServerError(
            f"root may not give {data} to {account.pw_name} here ({error.strerror}),"
            " and a server does not run as root: start it as an ordinary user"
        ) from error


def _server_account() -> pwd.struct_passwd:
    for name in ACCOUNTS:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServerError(f"none of the accounts {', '.join(ACCOUNTS)} exists: add one")


def _owner_reaches(data: Path) -> bool:
    """Try it as the owner: file modes alone do not show it (ACLs, mounts)."""
    command = ["test", "-x", str(data)]
    return subprocess.run(command, **run_as_owner(data)).returncode == 0


def _install(data: Path) -> None:
    """Write the system tables into the empty folder ``data``."""
    command = [
        find_program("mariadb-install-db"),
        "--no-defaults",
        f"--datadir={data}",
        "--auth-root-authentication-method=socket",
        "--auth-root-socket-user=root",
        "--innodb-log-file-size=4M",
        "--force",  # where not even localhost has an entry in /etc/hosts
        "--skip-name-resolve",
        "--skip-test-db",
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **run_as_owner(data),
    ) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode != 0:
        text = output.decode(errors="replace").strip()
        raise ServerError(f"mariadb-install-db failed in {data}:\n{text}")
