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
            count, took = pairs(contender, seconds)
            commands = site.counts() - before - 1
            return {PAIR: took / count * 1e6, COMMANDS: commands / count}

        yield measure


def pairs(contender: Contender, seconds: float) -> tuple[int, float]:
    """Take and return for that long; return how often, and in which time."""
    lend, clock = contender.lend, time.perf_counter
    count = 0
    began = now = clock()
    while now < began + seconds:
        for _ in range(BATCH):
            with lend():
                pass
        count += BATCH
        now = clock()
    return count, now - began
