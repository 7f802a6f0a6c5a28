"""Lets other processes ask this one about its pools, through a Unix socket.

Nothing is shared with the parent process, whichever way a child was forked. A request
that is malformed, slow or never ends delays nobody but its sender.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import socket
import threading
import time
import typing as t
import weakref
from collections.abc import Callable
from pathlib import Path

from ..errors import MySQLPoolError
from ..pool.pool import Pool
from ..pool.pools import Pools
from .client import ANSWER_TIMEOUT
from .runtime_dir import make_private
from .runtime_dir import socket_path
from .runtime_dir import unnamed

logger = logging.getLogger(__name__)

MAX_REQUEST = 4096  # bytes
READ_TIMEOUT = SEND_TIMEOUT = ANSWER_TIMEOUT / 2
MAX_ASKERS = 32  # that are served at once, each in a thread

_serial = itertools.count()


class Control:
    """Answers questions about the pools of one app in this process.

    :param folder: returns the folder of the socket. It is called at the first use: by
        then a process that was started by root may run as another user.
    :param answer: carries out a request on the pools.
    """

    def __init__(
        self,
        folder: Callable[[], Path],
        pools: Pools,
        answer: Callable[[Pools, dict[str, t.Any]], t.Any],
    ) -> None:
        self._folder = folder
        self._answer_to = answer
        self._pools = weakref.ref(pools)
        self._number = next(_serial)
        # By process id. There is no lock, which a fork could copy while it is held:
        # uWSGI forks without the hook below. `setdefault` is atomic.
        self._listeners: dict[int, _Listener] = {}
        _controls.add(self)
        weakref.finalize(pools, self.withdraw)

    def publish(self, pool: Pool) -> None:
        """Open this process' socket, at the first use of one of its pools. Errors are
        logged, not raised.
        """
        pools = self._pools()  # kept alive until the socket is open
        if pools is None:
            return
        pid, listener = os.getpid(), _Listener()
        if self._listeners.setdefault(pid, listener) is not listener:
            return  # it is open, or another thread opens it
        self._drop_inherited()
        try:
            folder = self._folder()
            make_private(folder)
            listener.open(socket_path(folder, pid, self._number))
            threading.Thread(
                target=self._serve,
                args=(listener,),
                name="mysqlpool-control",
                daemon=True,
            ).start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread to be had
            listener.close()
            logger.warning("this process will not show in `flask pool`: %s", error)

    def withdraw(self) -> None:
        """Close the socket and remove it. A copy of the parent's is only closed."""
        self._drop_inherited()
        listener = self._listeners.get(os.getpid())
        if listener is not None:
            listener.close()

    def _drop_inherited(self) -> None:
        pid = os.getpid()
        for owner in list(self._listeners):
            if owner != pid:
                listener = self._listeners.pop(owner, None)
                if listener is not None:
                    listener.drop()

    def _serve(self, listener: _Listener) -> None:
        while True:
            try:
                asker = listener.accept()
            except OSError:
                if listener.closed:
                    return
                time.sleep(ANSWER_TIMEOUT / 10)  # no file descriptor is free
                continue
            listener.seats.acquire()  # one that says nothing leaves soon
            self._serve_one(asker, listener.seats)

    def _serve_one(self, asker: socket.socket, seats: threading.Semaphore) -> None:
        """Answer in a thread, so that a slow asker or command delays nobody else."""
        thread = threading.Thread(
            target=self._converse,
            args=(asker, seats),
            name="mysqlpool-answer",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError as error:  # no thread to be had
            logger.debug("a question was not answered: %s", error)
            asker.close()
            seats.release()

    def _converse(self, asker: socket.socket, seats: threading.Semaphore) -> None:
        with asker:
            try:
                self._answer(asker)
            except Exception as error:  # whatever was sent
                logger.debug("a question was not answered: %s", error)
            finally:
                seats.release()

    def _answer(self, asker: socket.socket) -> None:
        answer = self._carry_out(json.loads(_read_request(asker)))
        if answer is not None:
            asker.settimeout(SEND_TIMEOUT)
            asker.sendall(json.dumps(answer).encode() + b"\n")

    def _carry_out(self, request: dict[str, t.Any]) -> dict[str, t.Any] | None:
        """Return what this process answers; nothing if its pools are gone.

        The pools are referred to in here only, so that they can end while an answer
        is sent.
        """
        pools = self._pools()
        if pools is None:
            return None
        answer: dict[str, t.Any] = {"pid": os.getpid()}
        try:
            answer["binds"] = self._answer_to(pools, request)
        except MySQLPoolError as error:
            answer["error"] = str(error)
        return answer


class _Listener:
    """The listening socket of one process."""

    def __init__(self) -> None:
        self.closed = False
        self.seats = threading.Semaphore(MAX_ASKERS)
        self._path = Path()
        self._socket: socket.socket | None = None

    def open(self, path: Path) -> None:
        """Listen under ``path``.

        :raise OSError: that is not possible.
        """
        # It gets its name when it listens: an asker removes sockets that do not.
        new = unnamed(path)
        new.unlink(missing_ok=True)
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(os.fspath(new))
            self._socket.listen(128)
            new.rename(path)
        except BaseException:
            self.drop()
            raise

    def accept(self) -> socket.socket:
        """Wait for an asker.

        :raise OSError: the socket is closed, or no file descriptor is free.
        """
        listening = self._socket
        if listening is None:
            raise OSError("closed")
        return listening.accept()[0]

    def close(self) -> None:
        """Close the socket and remove it, in the process that opened it."""
        self.closed = True
        listening, self._socket = self._socket, None
        if listening is None:
            return
        self._path.unlink(missing_ok=True)
        try:  # wakes the thread that waits in accept()
            listening.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # nobody was waiting
        listening.close()

    def drop(self) -> None:
        """Close the socket, and leave its name to the process that opened it."""
        self.closed = True
        listening, self._socket = self._socket, None
        if listening is not None:
            listening.close()


_controls: weakref.WeakSet[Control] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """Close the copies of the parent's sockets early: while one is open, the parent
    seems to live.
    """
    for control in list(_controls):
        control.withdraw()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _read_request(asker: socket.socket) -> bytes:
    """Read a line.

    :raise TimeoutError: it did not come in time.
    :raise ValueError: it is too long.
    """
    deadline = time.monotonic() + READ_TIMEOUT
    line = bytearray()
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        asker.settimeout(left)
        chunk = asker.recv(MAX_REQUEST + 1)
        if not chunk:
            break
        line += chunk
        if len(line) > MAX_REQUEST:
            raise ValueError("too long")
    return bytes(line)
