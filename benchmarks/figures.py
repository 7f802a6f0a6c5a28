"""What is measured, in which unit, and what it has to reach."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple
from typing import TypeAlias


@dataclass(frozen=True)
class Figure:
    """A quantity: the heading of a column and the format of its values."""

    name: str
    form: str = "{:,.0f}"

    def show(self, value: float) -> str:
        return self.form.format(value)


@dataclass(frozen=True)
class Target:
    """What our figure must reach."""

    figure: Figure
    limit: float
    at_least: bool = False

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{self.figure.name} {sign} {self.limit:g}"

    def reached(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


class Spread(NamedTuple):
    """One figure of one contender, over all rounds."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        values = sorted(values)
        return cls(median(values), values[0], values[-1])


Reading: TypeAlias = dict[Figure, float]  # of one slice

RATE = Figure("requests/s")
RATIO = Figure("× floor", "{:.2f}")
COMMANDS = Figure("commands", "{:.2f}")


def at_least(figure: Figure, limit: float) -> Target:
    return Target(figure, limit, at_least=True)


def at_most(figure: Figure, limit: float) -> Target:
    return Target(figure, limit)


def spreads(readings: Sequence[Reading]) -> dict[Figure, Spread]:
    """Return the figures of one contender's slices."""
    figures = readings[0]
    return {
        figure: Spread.of(reading[figure] for reading in readings) for figure in figures
    }
