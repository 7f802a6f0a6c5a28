"""Asks the processes of an app about their pools, or to change them.

All processes are asked at once and have one deadline together. So a process that does
not answer does not delay the others, and the caller only until the deadline.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import selectors
import socket
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path

from ..stats import received
from ..stats.holders import Holder
from ..stats.readings import PoolStats
from ..stats.text import printable
from .runtime_dir import check_private
from .runtime_dir import default_base
from .runtime_dir import pid_of
from .runtime_dir import socket_paths

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT = 1.0  # seconds
CLOSE_TIMEOUT = 3 * ANSWER_TIMEOUT  # closing connections takes longer than counting
MAX_ANSWER = 2 * 1024 * 1024  # bytes, of one process
MAX_ANSWERS = 8 * MAX_ANSWER  # that are kept of all together
MAX_ERROR = 500  # characters of an error that a process answers
_RUBBISH = "answered rubbish (is it of another version?)"

_T = t.TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Reply(t.Generic[_T]):
    """What a process answered for its pools, by bind name; or why it did not."""

    pid: int
    binds: dict[str, _T] = dataclasses.field(default_factory=dict)
    error: str = ""

    @property
    def complaint(self) -> str:
        """What is wrong with the process, as a sentence; empty if it answered."""
        if not self.error:
            return ""
        verb = " is" if self.error.startswith("not ") else ":"
        return f"worker {self.pid}{verb} {self.error}"


def ask_stats(folder: Path, bind: str | None = None) -> list[Reply[PoolStats]]:
    """Ask every process of the app for the readings of its pools.

    :param bind: only that of this one.
    :raise OSError: others can reach the folder.
    """
    return ask(folder, {"command": "stats", "bind": bind}, PoolStats.unpack)


def ask_holders(folder: Path, stacks: bool = False) -> list[Reply[list[Holder]]]:
    """Ask every process of the app who holds its connections.

    :param stacks: include the holders' current stacks.
    :raise OSError: others can reach the folder.
    """
    request = {"command": "who", "stacks": stacks}
    return ask(folder, request, _holders)


class PoolSnapshot(t.NamedTuple):
    """A pool at one moment: its reading, and who holds its connections."""

    stats: PoolStats
    holders: list[Holder]

    @classmethod
    def unpack(cls, packed: dict[str, t.Any]) -> PoolSnapshot:
        return cls(PoolStats.unpack(packed["stats"]), _holders(packed["holders"]))


def ask_snapshots(folder: Path) -> list[Reply[PoolSnapshot]]:
    """Ask every process of the app for both at once.

    :raise OSError: others can reach the folder.
    """
    return ask(folder, {"command": "snapshot"}, PoolSnapshot.unpack)


def ask_recycle(
    folder: Path, bind: str | None = None, pid: int | None = None
) -> list[Reply[dict[str, int]]]:
    """Let every process of the app, or one, retire its connections. Return how many
    were idle and are closed, and how many will be closed at their return.

    :raise OSError: others can reach the folder.
    """
    request = {"command": "recycle", "bind": bind}
    return ask(folder, request, received.counts, pid, CLOSE_TIMEOUT)


def ask_resize(
    folder: Path, max_size: int, bind: str | None = None, pid: int | None = None
) -> list[Reply[dict[str, int]]]:
    """Let every process of the app, or one, change ``max_size`` of its pools. Return
    the old and the new one.

    :raise OSError: others can reach the folder.
    """
    request = {"command": "resize", "bind": bind, "max_size": max_size}
    return ask(folder, request, received.counts, pid, CLOSE_TIMEOUT)


def _holders(packed: list[dict[str, t.Any]]) -> list[Holder]:
    return [Holder.unpack(each) for each in received.items(packed)]


def merged(replies: Iterable[Reply[PoolStats]]) -> dict[str, PoolStats]:
    """Return the totals by bind name."""
    readings: dict[str, list[PoolStats]] = {}
    for reply in replies:
        for name, reading in reply.binds.items():
            readings.setdefault(name, []).append(reading)
    return {name: PoolStats.merged(each) for name, each in readings.items()}


def find_elsewhere(folder: Path) -> dict[Path, int]:
    """Return the other folders of this user in which processes listen, and how many."""
    found = {}
    for base in {folder.parent, default_base()}:
        for other in sorted(base.glob("*/")):
            with contextlib.suppress(OSError):  # others can reach it: nobody listens
                check_private(other)
                pids = {pid_of(path) for path in socket_paths(other) if _listens(path)}
                if pids and other != folder:
                    found[other] = len(pids)
    return found


def _listens(path: Path) -> bool:
    try:
        _send(path, b"").close()
    except BlockingIOError:
        pass  # it is busy
    except OSError:
        return False
    return True


def ask(
    folder: Path,
    request: dict[str, t.Any],
    unpack: Callable[[t.Any], _T],
    pid: int | None = None,
    timeout: float = ANSWER_TIMEOUT,
) -> list[Reply[_T]]:
    """Ask every process of the app, all at once; return the replies in order of pid.
    Sockets of dead processes are removed.

    :param unpack: converts the answer for one bind, and raises if it is not one.
    :param pid: ask only this process.
    :param timeout: seconds until all must have answered.
    :raise OSError: others can reach the folder.
    """
    try:
        check_private(folder)
    except FileNotFoundError:  # no process has made it
        return []
    paths = [path for path in socket_paths(folder) if pid in (None, pid_of(path))]
    line = json.dumps(request).encode() + b"\n"
    return [answer.reply(unpack) for answer in _exchange(paths, line, timeout)]


def _exchange(paths: list[Path], request: bytes, timeout: float) -> list[_Answer]:
    """Send a request to all sockets and read the answers as they come in."""
    answers: list[_Answer] = []
    deadline = time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for path in paths:
            answer = _Answer(pid_of(path))
            try:
                connection = stack.enter_context(_send(path, request))
            except (ConnectionRefusedError, FileNotFoundError):
                with contextlib.suppress(OSError):
                    path.unlink()  # its process is dead
                continue
            except OSError as error:
                answer.error = f"not answering ({printable(error)})"
            else:
                selector.register(connection, selectors.EVENT_READ, answer)
            answers.append(answer)
        left, room = timeout, MAX_ANSWERS
        while selector.get_map() and left > 0:
            # The last time without waiting, for what came in while this process slept.
            left = deadline - time.monotonic()
            for key, _ in selector.select(max(0.0, left)):
                room -= key.data.receive(key.fileobj, room)
                if key.data.ended:
                    selector.unregister(key.fileobj)
    return answers


def _send(path: Path, request: bytes) -> socket.socket:
    """Send a request; return the connection, which does not block."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.connect(os.fspath(path))
        connection.sendall(request)  # its buffer is empty and has room for it
    except BaseException:
        connection.close()
        raise
    return connection


class _Answer:
    """The answer of one process, as far as it has come in."""

    def __init__(self, pid: int) -> None:
        self.error = "not answering (timed out)"  # until there is an answer
        self.ended = False  # nothing more is expected
        self._pid = pid
        self._line = bytearray()

    def receive(self, connection: socket.socket, room: int) -> int:
        """Read what has come in; return how many bytes more are kept of the answer.

        :param room: how many more may be.
        """
        before = len(self._line)
        try:
            chunk = connection.recv(65536)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._end(f"not answering ({error})")
            return 0
        self._line += chunk
        if len(self._line) > MAX_ANSWER or len(chunk) > room:
            self._end(_RUBBISH)
        elif not self._line:
            self._end("not answering (it closed the connection)")
        elif not chunk or chunk.endswith(b"\n"):
            self._end("")
        return len(self._line) - before

    def _end(self, error: str) -> None:
        self.ended, self.error = True, error
        if error:
            self._line.clear()

    def reply(self, unpack: Callable[[t.Any], _T]) -> Reply[_T]:
        """Return what the process answered, or why it did not."""
        if self.error:
            return Reply(self._pid, error=self.error)
        try:
            answer = json.loads(self._line)
            if "error" in answer:
                error = received.text(answer["error"])[:MAX_ERROR]
                return Reply(self._pid, error=error or _RUBBISH)
            binds = answer["binds"].items()
            return Reply(
                self._pid,
                {received.text(name): unpack(packed) for name, packed in binds},
            )
        except Exception as error:  # another version, or another program
            start = bytes(self._line[:100])
            logger.debug("process %d answered %r", self._pid, start, exc_info=error)
            return Reply(self._pid, error=_RUBBISH)
