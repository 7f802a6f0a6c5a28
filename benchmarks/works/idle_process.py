"""The process of row J: one contender with more and more connections.
``python -m benchmarks.works.idle_process NAME SECONDS``, arguments on standard input.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from contextlib import closing
from contextlib import ExitStack
from pathlib import Path

from ..contenders import Arguments
from ..contenders import Contender
from ..contenders import load
from .checkout import pairs
from .idle import SIZES


def main(name: str, seconds: str) -> None:
    entrant = load([name])[0][name]
    arguments = json.load(sys.stdin)
    print(json.dumps(grow(entrant, arguments, float(seconds))))


def grow(entrant: type[Contender], arguments: Arguments, seconds: float) -> list[float]:
    """Return the µs of a checkout at each size, then the KiB of a connection."""
    costs = []
    with ExitStack() as opened:
        for size in SIZES:
            if size == SIZES[1]:
                began = memory()  # what is needed once, however many connections
            contender = opened.enter_context(closing(entrant(arguments, size)))
            contender.warm(size)
            costs.append(pairs(contender, seconds / len(SIZES))[1])
        return [*costs, (memory() - began) / sum(SIZES[1:]) / 1024]


def memory() -> float:
    """Return the bytes that this process has in memory (proc(5), statm)."""
    gc.collect()
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main(*sys.argv[1:])
