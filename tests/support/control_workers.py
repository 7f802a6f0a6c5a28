"""A process that answers for two pools, and how to ask it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import typing as t
from collections.abc import Iterator
from pathlib import Path

from flask_mysqlpool.control.client import ask_stats
from flask_mysqlpool.control.runtime_dir import make_private
from flask_mysqlpool.control.server import Control
from flask_mysqlpool.pool.pools import Pools
from flask_mysqlpool.stats.readings import PoolStats


class Worker(t.NamedTuple):
    pools: Pools
    control: Control


@contextlib.contextmanager
def connect(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as asker:
        asker.settimeout(5)
        asker.connect(address)
        yield asker


def assert_well(folder: Path) -> None:
    (worker,) = ask_stats(folder)
    assert worker.error == ""
    assert worker.pid == os.getpid()
    assert worker.binds["default"].pack() == PoolStats(max_size=10).pack()
    assert worker.binds["reports"].max_size == 4


@contextlib.contextmanager
def impostor(folder: Path, *parts: bytes, pid: int = 999) -> Iterator[list[int]]:
    """A process of another version, or somebody's joke: it answers one question with
    these parts, as far as they are read. Yield the numbers of bytes that were sent.
    """
    make_private(folder)
    sent: list[int] = []
    with socket.socket(socket.AF_UNIX) as listener:
        path = folder / f"{pid}.0.sock"
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(5)

        def serve() -> None:
            asker, _ = listener.accept()
            with asker, contextlib.suppress(OSError):
                asker.settimeout(5)
                asker.recv(100)
                for part in parts:
                    asker.sendall(part)
                    sent.append(len(part))

        thread = threading.Thread(target=serve)
        thread.start()
        yield sent
        thread.join()
        path.unlink(missing_ok=True)
