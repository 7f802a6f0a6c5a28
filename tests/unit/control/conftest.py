"""A process that answers for two pools."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_mysqlpool import Pool
from flask_mysqlpool.config.settings import Settings
from flask_mysqlpool.control.commands import answer
from flask_mysqlpool.control.server import Control
from flask_mysqlpool.pool.pools import Pools

from ...support.control_workers import Worker


@pytest.fixture
def publish(folder: Path) -> Iterator[Callable[[], Worker]]:
    """Let this process answer, with two pools that connect to nothing."""
    workers: list[Worker] = []

    def publish() -> Worker:
        config = {"MYSQLPOOL_BINDS": {"reports": {"max_size": 4}}}
        binds = Settings.from_config(config)
        pools = Pools({name: Pool(each, name) for name, each in binds.items()})
        control = Control(lambda: folder, pools, answer)
        control.publish(pools["default"])
        workers.append(Worker(pools, control))
        return workers[-1]

    yield publish
    for worker in workers:
        worker.control.withdraw()


@pytest.fixture
def address(publish: Callable[[], Worker], folder: Path) -> str:
    """Of this process, which answers."""
    publish()
    (path,) = folder.iterdir()
    return str(path)
