"""Rows A to F: threads that take a connection, use it and give it back."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from threading import Barrier
from typing import Any

from ..contenders import Contender
from ..figures import COMMANDS
from ..figures import Figure
from ..figures import RATE
from ..figures import Reading
from ..site import ROWS
from ..site import Site
from .rows import Measure

LONGEST = Figure("longest wait, ms", "{:,.1f}")
WAITS = Figure("longest ÷ median wait", "{:,.1f}")
TAKES = Figure("takes, max ÷ min", "{:,.2f}")
REFUSED = Figure("refused", "{:.0f}")

Request = Callable[[Any, int], None]


def select_one(connection: Any, thread: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchall()


def update_and_commit(connection: Any, thread: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE benchmark_account SET balance = balance + 1 WHERE id = %s",
            (thread % ROWS,),  # a row per thread: locks are not what is measured
        )
    connection.commit()


def select_row(connection: Any, thread: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT balance FROM benchmark_account WHERE id = %s", (thread % ROWS,)
        )
        cursor.fetchall()


@dataclass
class Tally:
    """What one thread did in one slice."""

    waits: list[float]
    refused: int = 0
    ended: float = 0.0


@dataclass(frozen=True)
class Load:
    """Threads that make the same request over and over.

    :param think: seconds between a return and the next checkout.
    :param fair: measure how evenly the connections are shared, too.
    """

    request: Request
    threads: int = 16
    connections: int = 16
    far: bool = True
    autocommit: bool = True
    think: float = 0.0
    fair: bool = False

    @contextmanager
    def __call__(self, site: Site, entrant: type[Contender]) -> Iterator[Measure]:
        arguments = site.arguments(self.far, self.autocommit)
        # A contender's threads stay the same: some keep a connection for each.
        with (
            closing(entrant(arguments, self.connections)) as contender,
            ThreadPoolExecutor(self.threads) as executor,
        ):
            yield lambda seconds: self._slice(site, contender, executor, seconds)

    def _slice(
        self,
        site: Site,
        contender: Contender,
        executor: ThreadPoolExecutor,
        seconds: float,
    ) -> Reading:
        contender.warm(self.connections)
        gates = [Barrier(self.threads + 1, timeout=30) for _ in range(2)]
        work = [
            executor.submit(self._thread, contender, number, gates, seconds)
            for number in range(self.threads)
        ]
        gates[0].wait()  # every thread has a connection of its own, if it needs one
        before = site.counts()
        gates[1].wait()
        began = time.perf_counter()
        tallies = [each.result() for each in work]
        commands = site.counts() - before - 1
        took = max(tally.ended for tally in tallies) - began
        return self._read(tallies, took, commands)

    def _thread(
        self, contender: Contender, number: int, gates: list[Barrier], seconds: float
    ) -> Tally:
        lend, request, think = contender.lend, self.request, self.think
        refusals, clock = contender.refusals, time.perf_counter
        tally = Tally([])
        note = tally.waits.append
        with suppress(*refusals), lend():
            pass
        for gate in gates:
            gate.wait()
        now = clock()
        end = now + seconds
        while now < end:
            try:
                with lend() as connection:
                    note(clock() - now)
                    request(connection, number)
            except refusals:
                tally.refused += 1
            if think:
                time.sleep(think)
            now = clock()
        tally.ended = now
        return tally

    def _read(self, tallies: list[Tally], took: float, commands: int) -> Reading:
        waits = [wait for tally in tallies for wait in tally.waits]
        reading = {RATE: len(waits) / took, COMMANDS: commands / len(waits)}
        if self.fair:
            takes = [len(tally.waits) for tally in tallies]
            reading[LONGEST] = max(waits) * 1000
            reading[WAITS] = max(waits) / median(waits)
            reading[TAKES] = max(takes) / max(min(takes), 1)
            reading[REFUSED] = sum(tally.refused for tally in tallies)
        return reading
