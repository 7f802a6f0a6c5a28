"""Measuring a row: many short slices, each contender in turn, so that whatever drifts
hits all alike.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from random import Random

from .contenders import Contender
from .figures import Figure
from .figures import RATIO
from .figures import Reading
from .figures import Spread
from .figures import spreads
from .figures import Target
from .site import Site
from .works.rows import Measure
from .works.rows import Row

ESSENTIAL = ("floor", "ours")


@dataclass(frozen=True)
class Verdict:
    """What ours reached of one target."""

    target: Target
    value: float

    @property
    def reached(self) -> bool:
        return self.target.reached(self.value)


@dataclass(frozen=True)
class Result:
    """One row of the benchmark, measured.

    :param labels: of the contenders, by name.
    :param figures: of the contenders, by name.
    :param failures: of those that could not do this work, by name.
    """

    row: Row
    labels: dict[str, str]
    figures: dict[str, dict[Figure, Spread]]
    failures: dict[str, str]

    @property
    def columns(self) -> list[Figure]:
        return list(self.figures["ours"])

    def verdicts(self) -> list[Verdict]:
        ours = self.figures["ours"]
        return [
            Verdict(target, ours[target.figure].middle) for target in self.row.targets
        ]


def measure(
    row: Row, site: Site, entrants: Mapping[str, type[Contender]], rounds: int
) -> Result:
    """Measure a row with those of the entrants that take part in it."""
    taking_part = {
        name: row.instead.get(name, entrants[name])
        for name in row.names
        if name in entrants
    }
    race = Race(row, site)
    with ExitStack() as stack:
        for name, entrant in taking_part.items():
            race.enter(stack, name, entrant)
        for turn in range(ceil(rounds / row.stretch)):
            for name in shuffled(list(race.stages), turn):
                race.run(name)
    if row.compared:
        compare(race.readings, row.compared)
    return Result(
        row,
        {name: entrant.label for name, entrant in taking_part.items()},
        {name: spreads(readings) for name, readings in race.readings.items()},
        race.failures,
    )


class Race:
    """The contenders of one row. A peer that fails is out of it, with its reason;
    without ours or the floor there is nothing to measure.
    """

    def __init__(self, row: Row, site: Site) -> None:
        self._row = row
        self._site = site
        self.stages: dict[str, Measure] = {}
        self.readings: dict[str, list[Reading]] = {}
        self.failures: dict[str, str] = {}

    def enter(self, stack: ExitStack, name: str, entrant: type[Contender]) -> None:
        try:
            stage = self._row.stage(self._site, entrant)
            self.stages[name] = stack.enter_context(stage)
            self.readings[name] = []
        except Exception as error:
            self._drop(name, error)

    def run(self, name: str) -> None:
        gc.collect()  # nobody pays for what another one left behind
        try:
            reading = self.stages[name](self._site.seconds * self._row.stretch)
            self.readings[name].append(reading)
        except Exception as error:
            self._drop(name, error)

    def _drop(self, name: str, error: Exception) -> None:
        if name in ESSENTIAL:
            raise error
        self.stages.pop(name, None)
        self.readings.pop(name, None)
        self.failures[name] = f"{type(error).__name__}: {error}"


def shuffled(names: list[str], turn: int) -> list[str]:
    """Return another order each round, but the same in each run: nobody always comes
    after the same one.
    """
    return Random(turn).sample(names, len(names))


def compare(readings: Mapping[str, list[Reading]], figure: Figure) -> None:
    """Add each reading's ratio to the floor's of the same round."""
    for name in readings:
        for reading, floor in zip(readings[name], readings["floor"], strict=True):
            reading[RATIO] = reading[figure] / floor[figure]
