"""Row J: what a pool's size costs, in memory and at each checkout.

Each contender is measured in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..contenders import Contender
from ..figures import Figure
from ..figures import Reading
from ..site import Site
from .alone import alone
from .rows import Measure

SIZES = (10, 100, 1000)
COSTS = [Figure(f"µs at {size:,}", "{:,.1f}") for size in SIZES]
GROWTH = Figure("dearest ÷ cheapest", "{:.2f}")
MEMORY = Figure("KiB per idle connection", "{:,.1f}")
PROCESS = "benchmarks.works.idle_process"


def obstacle(site: Site) -> str:
    needed, room = sum(SIZES) + 10, site.room()
    if room >= needed:
        return ""
    return f"the server has room for {room} of {needed}: raise its max_connections"


@contextmanager
def stage(site: Site, entrant: type[Contender]) -> Iterator[Measure]:
    name = entrant.__module__.rpartition(".")[2]

    def measure(seconds: float) -> Reading:
        *costs, memory = alone(PROCESS, name, str(seconds), arguments=site.arguments())
        growth = max(costs) / min(costs)
        figures = (*COSTS, GROWTH, MEMORY)
        return dict(zip(figures, (*costs, growth, memory), strict=True))

    yield measure
