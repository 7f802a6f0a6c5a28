"""The process of row I: one contender opens its connections.
``python -m benchmarks.works.opening_process NAME``, arguments on standard input.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from contextlib import ExitStack

import pymysql

from ..contenders import Contender
from ..contenders import load
from .opening import COUNT
from .opening import INSTEAD


def main(name: str) -> None:
    entrant = INSTEAD.get(name) or load([name])[0][name]
    arguments = json.load(sys.stdin)
    # What the first connection of a process costs, whoever makes it.
    pymysql.connect(**arguments, ssl_disabled=True).close()
    with closing(entrant(arguments, COUNT)) as contender:
        print(json.dumps(open_all(contender)))


def open_all(contender: Contender) -> list[float]:
    """Return the seconds of each connection."""
    with ExitStack() as held:
        times = [time.perf_counter()]
        for _ in range(COUNT):
            held.enter_context(contender.lend())
            times.append(time.perf_counter())
    return [after - before for before, after in zip(times, times[1:], strict=False)]


if __name__ == "__main__":
    main(*sys.argv[1:])
