"""What the processes of an app can be asked, and what they answer.

The rule of this room: for each command the two sides, who answers and who asks, are
next to each other.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..pool.pool import Pool
from ..stats.holders import Holder
from ..stats.readings import PoolStats
from .server import ask
from .server import PATIENCE
from .server import Pools
from .server import Reply

# To close connections takes longer than to count them.
PATIENCE_FOR_CLOSING = 3 * PATIENCE

Request = dict[str, t.Any]
_KEYS = {"command", "bind", "stacks", "max_size"}


def answer(pools: Pools, request: Request) -> dict[str, t.Any]:
    """Return what this process answers.

    :raise KeyError: there is no such command or bind.
    :raise ValueError: the request has what this version does not know: to carry out
        half of it would be wrong.
    :raise MySQLPoolError: the command cannot be carried out.
    """
    if request.keys() - _KEYS:
        raise ValueError("unknown key")
    carry_out = _COMMANDS[request["command"]]
    bind = request.get("bind")
    chosen = dict(pools) if bind is None else {bind: pools[bind]}
    if carry_out is _resize:  # all or none
        for pool in chosen.values():
            pool.check_size(request["max_size"])
    # At once: to close connections may take a second for each pool.
    with ThreadPoolExecutor(len(chosen)) as executor:
        answers = executor.map(lambda pool: carry_out(pool, request), chosen.values())
        return dict(zip(chosen, answers, strict=True))


# stats


def _stats(pool: Pool, request: Request) -> dict[str, t.Any]:
    return pool.stats().pack()


def ask_stats(folder: Path) -> list[Reply[PoolStats]]:
    """Ask every process of the app for the readings of its pools.

    :raise OSError: the folder is not this user's alone.
    """
    return ask(folder, {"command": "stats"}, PoolStats.unpack)


def merged(replies: Iterable[Reply[PoolStats]]) -> dict[str, PoolStats]:
    """Return the totals by bind name."""
    readings: dict[str, list[PoolStats]] = {}
    for reply in replies:
        for name, reading in reply.binds.items():
            readings.setdefault(name, []).append(reading)
    return {name: PoolStats.merged(each) for name, each in readings.items()}


# who


def _holders(pool: Pool, request: Request) -> list[dict[str, t.Any]]:
    return [holder.as_dict() for holder in pool.holders(request["stacks"])]


def ask_holders(folder: Path, stacks: bool = False) -> list[Reply[list[Holder]]]:
    """Ask every process of the app who holds its connections.

    :param stacks: and where their threads stand.
    :raise OSError: the folder is not this user's alone.
    """
    request = {"command": "who", "stacks": stacks}
    return ask(folder, request, lambda packed: [Holder.unpack(each) for each in packed])


# recycle


def _recycle(pool: Pool, request: Request) -> dict[str, int]:
    before = pool.stats()
    pool.recycle()
    return {"closed": before.idle, "at_return": before.in_use}


def ask_recycle(
    folder: Path, bind: str | None = None, pid: int | None = None
) -> list[Reply[dict[str, int]]]:
    """Let every process of the app, or one, retire its connections; return how many
    were idle and are closed, and how many will be at their return.

    :raise OSError: the folder is not this user's alone.
    """
    request = {"command": "recycle", "bind": bind}
    return ask(folder, request, _counts, pid, PATIENCE_FOR_CLOSING)


# resize


def _resize(pool: Pool, request: Request) -> dict[str, int]:
    was = pool.stats().max_size
    pool.resize(request["max_size"])
    return {"was": was, "max_size": request["max_size"]}


def ask_resize(
    folder: Path, max_size: int, bind: str | None = None, pid: int | None = None
) -> list[Reply[dict[str, int]]]:
    """Let every process of the app, or one, change ``max_size`` of its pools; return
    what it was and is.

    :raise OSError: the folder is not this user's alone.
    """
    request = {"command": "resize", "bind": bind, "max_size": max_size}
    return ask(folder, request, _counts, pid, PATIENCE_FOR_CLOSING)


def _counts(packed: dict[str, int]) -> dict[str, int]:
    return {str(name): int(count) for name, count in packed.items()}


_COMMANDS: dict[str, Callable[[Pool, Request], t.Any]] = {
    "stats": _stats,
    "who": _holders,
    "recycle": _recycle,
    "resize": _resize,
}
