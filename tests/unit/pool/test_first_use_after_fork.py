"""The first uses of two pools at once, in a forked child."""

from __future__ import annotations

import threading
import typing as t

from flask_mysqlpool import Pool
from flask_mysqlpool.pool.housekeeper import Housekeeper

from ...support.fake_session import fake_pool
from ...support.forked_child import ForkedChild


class MeetingDict(dict[int, t.Any]):
    """Lets two threads find nothing before one of them can enter something."""

    def __init__(self, rounds: dict[int, t.Any]) -> None:
        super().__init__(rounds)
        self._both = threading.Barrier(2)

    def get(self, key: int, default: t.Any = None) -> t.Any:
        found = super().get(key, default)
        if threading.current_thread().name.startswith("first use"):
            self._both.wait(10)
        return found


def test_two_first_uses_at_once_in_a_child_are_both_watched() -> None:
    keeper, inherited = Housekeeper(), fake_pool()
    keeper.watch(inherited)

    def use_both() -> list[bool]:
        pools = [fake_pool(), fake_pool()]
        for pool in pools:
            pool.on_first_use.append(keeper.watch)
        keeper._rounds = MeetingDict(keeper._rounds)
        threads = [
            threading.Thread(target=use, args=(pool,), name=f"first use {number}")
            for number, pool in enumerate(pools)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        watched = keeper.watched()
        return [pool in watched for pool in [*pools, inherited]]

    assert ForkedChild(use_both).join() == [True, True, False]
    assert keeper.watched() == [inherited]
    inherited.close()


def use(pool: Pool) -> None:
    pool.connection().close()
