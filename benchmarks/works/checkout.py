"""Row G: a checkout and a return and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager

from ..contenders import Contender
from ..figures import COMMANDS
from ..figures import Figure
from ..figures import Reading
from ..site import Site
from .rows import Measure

PAIR = Figure("µs", "{:,.1f}")
BATCH = 100
CONNECTIONS = 8


@contextmanager
def stage(site: Site, entrant: type[Contender]) -> Iterator[Measure]:
    with closing(entrant(site.arguments(), CONNECTIONS)) as contender:

        def measure(seconds: float) -> Reading:
            contender.warm(CONNECTIONS)
            before = site.counts()
            count, best = pairs(contender, seconds)
            commands = site.counts() - before - 1
            return {PAIR: best, COMMANDS: commands / count}

        yield measure


def pairs(contender: Contender, seconds: float) -> tuple[int, float]:
    """Take and return for that long; return how often, and the µs of a pair in the
    best of many short batches: what disturbs them only ever adds.
    """
    lend, clock = contender.lend, time.perf_counter
    count, best = 0, float("inf")
    now = clock()
    end = now + seconds
    while now < end:
        for _ in range(BATCH):
            with lend():
                pass
        count += BATCH
        began, now = now, clock()
        best = min(best, now - began)
    return count, best / BATCH * 1e6
