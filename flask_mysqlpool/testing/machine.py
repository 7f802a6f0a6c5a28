"""Finds the programs and a free port for a private server."""

from __future__ import annotations

import os
import random
import shutil
import socket
from contextlib import suppress

from .errors import ServerError
from .errors import ServerNotFoundError

_SBIN = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")
# Below the ports that the kernel uses for outgoing connections, so that none of them
# takes the port of a server between stop() and start().
_PORTS = range(20000, 32000)


def find_program(program: str) -> str:
    """Return the path of ``program``, also if it is not in PATH."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SBIN))
    found = shutil.which(program, path=path)
    if found is None:
        raise ServerNotFoundError(
            f"no {program} on this machine; install MariaDB's server, on Debian:"
            " apt-get install --no-install-recommends mariadb-server-core"
            " mariadb-client-core"
        )
    return found


def free_port(last: int) -> int:
    """Return ``last`` if it is free, else any free port."""
    ports = [last] if last else []
    ports += random.SystemRandom().sample(_PORTS, 50)
    for port in ports:
        with socket.socket() as probe, suppress(OSError):
            # Closing connections of the last server do not block its port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerError("no free port on 127.0.0.1")
