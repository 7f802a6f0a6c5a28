"""A process that answers for two pools, and how to ask it."""

from __future__ import annotations

import contextlib
import os
import socket
import typing as t
from collections.abc import Iterator
from pathlib import Path

from flask_mysqlpool.control.client import ask_stats
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
