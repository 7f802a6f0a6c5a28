"""The commands that a process carries out for those who ask it.

:mod:`.client` has the other side: what is sent, and how the answer is read.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ..pool.pool import Pool
from ..pool.pools import Pools
from ..stats.readings import LOADED

Request = dict[str, t.Any]
_KEYS = {"command", "bind", "stacks", "max_size"}


def answer(pools: Pools, request: Request) -> dict[str, t.Any]:
    """Carry out a command; return the answer of each pool by bind name.

    A bind that is loaded on demand, and not here, has no answer.

    :raise KeyError: there is no such command or bind.
    :raise ValueError: the request has a key that this version does not know. It is
        refused as a whole, and not carried out in part.
    :raise MySQLPoolError: the command cannot be carried out.
    """
    if request.keys() - _KEYS:
        raise ValueError("unknown key")
    carry_out = _COMMANDS[request["command"]]
    chosen = _chosen(pools, request.get("bind"))
    if carry_out is _resize:  # all pools or none
        for pool in chosen.values():
            pool.check_size(request["max_size"])
    answers = {name: carry_out(pool, request) for name, pool in chosen.items()}
    if pools.loads and request.get("bind") is None:
        _sum_up_loaded(pools, carry_out, answers)
    return answers


def _chosen(pools: Pools, bind: str | None) -> dict[str, Pool]:
    there = dict(pools)  # at once: others may be loaded meanwhile
    if bind is None:
        return there
    if bind not in there and pools.loads:
        return {}
    return {bind: there[bind]}


def _sum_up_loaded(
    pools: Pools, carry_out: Callable[..., t.Any], answers: dict[str, t.Any]
) -> None:
    """Count the loaded pools together, too. Their endpoints are counted there only, so
    that the answer does not become too long.
    """
    if carry_out not in (_stats, _snapshot):
        return
    for name in answers.keys() - pools.configured.keys():
        reading = answers[name]
        (reading if carry_out is _stats else reading["stats"])["endpoints"] = {}
    total = pools.loaded.stats().pack()
    answers[LOADED] = total if carry_out is _stats else {"stats": total, "holders": []}


def _stats(pool: Pool, request: Request) -> dict[str, t.Any]:
    return pool.stats().pack()


def _holders(pool: Pool, request: Request) -> list[dict[str, t.Any]]:
    return [holder.as_dict() for holder in pool.holders(request.get("stacks", False))]


def _snapshot(pool: Pool, request: Request) -> dict[str, t.Any]:
    return {"stats": _stats(pool, request), "holders": _holders(pool, request)}


def _recycle(pool: Pool, request: Request) -> dict[str, int]:
    before = pool.stats()
    pool.recycle()
    return {"closed": before.idle, "at_return": before.in_use}


def _resize(pool: Pool, request: Request) -> dict[str, int]:
    was = pool.stats().max_size
    pool.resize(request["max_size"])
    return {"was": was, "max_size": request["max_size"]}


_COMMANDS: dict[str, Callable[[Pool, Request], t.Any]] = {
    "stats": _stats,
    "who": _holders,
    "snapshot": _snapshot,
    "recycle": _recycle,
    "resize": _resize,
}
