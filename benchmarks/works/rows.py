"""What a row of the benchmark is made of."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from dataclasses import field
from typing import TypeAlias

from ..contenders import Contender
from ..contenders import NAMES
from ..figures import Figure
from ..figures import Reading
from ..figures import Target
from ..site import Site

Measure: TypeAlias = Callable[[float], Reading]
"""Measure one slice of so many seconds."""

Stage: TypeAlias = Callable[[Site, type[Contender]], AbstractContextManager[Measure]]
"""Set up a contender: opened, warmed, ready to be measured slice by slice."""


def nothing_missing(site: Site) -> str:
    return ""


@dataclass(frozen=True)
class Row:
    """One kind of work, done by everybody in turn.

    :param figure: what the plot shows.
    :param compared: the figure whose ratio to the floor's, of the same round, is
        reported.
    :param stretch: how many times longer, and fewer, the slices are here.
    :param names: who takes part.
    :param instead: who stands in for whom in this row.
    :param obstacle: why the row cannot run here; empty where it can.
    """

    letter: str
    title: str
    stage: Stage
    figure: Figure
    targets: tuple[Target, ...]
    compared: Figure | None = None
    stretch: int = 1
    names: tuple[str, ...] = NAMES
    instead: Mapping[str, type[Contender]] = field(default_factory=dict)
    obstacle: Callable[[Site], str] = nothing_missing
