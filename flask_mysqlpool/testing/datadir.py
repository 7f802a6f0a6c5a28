"""Where a private server keeps its data, and which account owns and enters it.

A server does not run as root. Where root starts it, the data belongs to an
unprivileged account and the server runs as the owner of its data. If that account
cannot reach the folder (a checkout below ``/root``), the data goes to
:data:`ELSEWHERE` and ``data`` in the folder is a link to it.
"""

from __future__ import annotations

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
    """Return what makes :mod:`subprocess` run a command as the owner of ``data``."""
    # The TMPDIR of this process may be closed to the owner.
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
    """Write a file that only its owner may read, whoever put what in its place."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def prepare(folder: Path) -> Path:
    """Return the data folder of ``folder``, made if it has none yet.

    It gets its name when it is complete, so that one whose making was interrupted is
    never taken for a good one.
    """
    link = folder / "data"
    if _belongs(link, folder):
        data = link.resolve()
        if os.geteuid() == 0 and data.stat().st_uid == 0:  # copied by root
            _give_to_account(data)
        return data
    link.unlink(missing_ok=True)
    data = _new(folder)
    try:
        _install(data)
    except BaseException:
        _discard(data)
        raise
    if data.parent == folder:
        return data.rename(link)
    link.symlink_to(data)
    return data


def remove(folder: Path) -> None:
    """Remove ``folder`` and its data, wherever that is."""
    link = folder / "data"
    if link.is_symlink() and _belongs(link, folder):
        _discard(link.resolve())
    shutil.rmtree(folder, ignore_errors=True)


def server_in(data: Path) -> int | None:
    """Return the process id of a server that runs on ``data``, where /proc tells."""
    with suppress(OSError, ValueError):
        pid = int((data / "pid").read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if os.fsencode(f"--datadir={data}") in arguments:
            return pid
    return None


def _belongs(data: Path, folder: Path) -> bool:
    if data.is_symlink():  # a copied folder has the link, but the data is not its own
        return data.is_dir() and _mark(data.resolve()).resolve() == folder
    return data.is_dir()


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
    _sweep()
    data = Path(tempfile.mkdtemp(prefix="data-", dir=ELSEWHERE))
    _mark(data).symlink_to(folder)
    _give_to_account(data)
    return data


def _give_to_account(data: Path) -> None:
    """Hand ``data`` to the account that a server runs as where root starts it."""
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
    """Ask the kernel, as the owner: modes alone do not tell (ACLs, mounts)."""
    command = ["test", "-x", str(data)]
    return subprocess.run(command, **run_as_owner(data)).returncode == 0


def _sweep() -> None:
    """Discard data at :data:`ELSEWHERE` whose folder is gone."""
    for mark in ELSEWHERE.glob("*.of"):
        if not mark.exists():
            _discard(mark.with_suffix(""))


def _mark(data: Path) -> Path:
    """Return the link that tells which folder the data at ELSEWHERE is of."""
    return data.with_name(f"{data.name}.of")


def _discard(data: Path) -> None:
    shutil.rmtree(data, ignore_errors=True)
    _mark(data).unlink(missing_ok=True)


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
