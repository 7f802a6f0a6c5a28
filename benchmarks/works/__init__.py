"""The rows of the benchmark."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..contenders import by_hand
from ..contenders import NAMES
from ..figures import at_least
from ..figures import at_most
from ..figures import COMMANDS
from ..figures import RATE
from ..figures import RATIO
from . import checkout
from . import idle
from . import load
from . import opening
from . import web
from .load import Load
from .rows import Row

POOLS = tuple(name for name in NAMES if name not in ("floor", "reconnect"))
# mysql-connector refuses at once where no connection is free, and has 32 at most.
QUEUES = tuple(name for name in POOLS if not name.startswith("connector"))


def _speed(letter: str, title: str, stage: Load, limit: float, **fields: Any) -> Row:
    targets = (at_least(RATIO, limit),)
    return Row(letter, title, stage, RATIO, targets, compared=RATE, **fields)


_near = Row(
    "H",
    "Flask under gunicorn, 1 worker × 16 threads, a row by primary key; loopback",
    web.Web(far=False),
    RATIO,
    (at_least(RATIO, 0.97),),
    compared=RATE,
    stretch=3,
    obstacle=web.obstacle,
)

ROWS = (
    _speed(
        "A",
        "autocommit, SELECT 1; 16 threads, 16 connections, 1 ms round trip",
        Load(load.select_one),
        0.95,
    ),
    _speed(
        "B",
        "autocommit, SELECT 1; 1 thread, 16 connections, 1 ms round trip",
        Load(load.select_one, threads=1),
        0.98,
    ),
    _speed(
        "C",
        "no autocommit, UPDATE and commit; 16 threads, 16 connections, 1 ms round trip",
        Load(load.update_and_commit, autocommit=False),
        0.95,
        stretch=2,
    ),
    _speed(
        "D",
        "no autocommit, SELECT and no commit; 16 threads, 32 connections,"
        " 2 ms of think time, 1 ms round trip",
        Load(load.select_row, connections=32, autocommit=False, think=0.002),
        0.95,
        stretch=2,
        instead={"reconnect": by_hand.Entrant},
    ),
    Row(
        "E",
        "autocommit, SELECT 1; 32 threads, 8 connections, 1 ms round trip",
        Load(load.select_one, threads=32, connections=8, fair=True),
        load.WAITS,
        (at_most(load.WAITS, 3), at_most(load.TAKES, 1.1)),
        stretch=4,
        names=QUEUES,
    ),
    _speed(
        "F",
        "autocommit, SELECT 1; 8 threads, 8 connections, loopback",
        Load(load.select_one, threads=8, connections=8, far=False),
        0.9,
    ),
    Row(
        "G",
        "checkout and return alone; 1 thread, nothing to reset, loopback",
        checkout.stage,
        checkout.PAIR,
        (at_most(checkout.PAIR, 4), at_most(COMMANDS, 0)),
        names=POOLS,
    ),
    _near,
    replace(
        _near,
        title=_near.title.replace("loopback", "1 ms round trip"),
        stage=web.Web(far=True),
    ),
    Row(
        "I",
        "opening 100 connections, TLS as it comes; loopback",
        opening.stage,
        RATIO,
        (at_most(RATIO, 1.2),),
        compared=opening.EACH,
        stretch=3,
        names=("floor", "ours", "reconnect"),
        instead=opening.INSTEAD,
    ),
    Row(
        "J",
        "10, 100 and 1,000 idle connections; 1 thread, loopback",
        idle.stage,
        idle.GROWTH,
        (at_most(idle.GROWTH, 1.5),),
        stretch=4,
        names=QUEUES,
        obstacle=idle.obstacle,
    ),
)
