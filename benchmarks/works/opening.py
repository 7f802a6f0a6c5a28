"""Row I: opening connections, TLS as it comes: preferred, used if the server can.

In a process of its own for each slice: what a hundred SSLContexts leave behind in
memory slows down whoever comes next.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from pymysql.connections import Connection

from ..contenders import Arguments
from ..contenders import Contender
from ..contenders import reconnect
from ..figures import Figure
from ..figures import Reading
from ..site import Site
from .alone import alone
from .rows import Measure

EACH = Figure("ms per connection", "{:.2f}")
FIRST = Figure("ms, the first", "{:.2f}")
FURTHER = Figure("ms, each further one", "{:.2f}")
COUNT = 100
PROCESS = "benchmarks.works.opening_process"


class OneContext(Connection):
    """PyMySQL's connection, but the first one's SSLContext serves all."""

    context: ssl.SSLContext | None = None

    def _create_ssl_ctx(self, options: Any) -> ssl.SSLContext:  # PyMySQL's own
        if OneContext.context is None:
            OneContext.context = super()._create_ssl_ctx(options)  # type: ignore[misc]  # not in the stubs
        return OneContext.context


class Floor(Contender):
    """What the row is compared with."""

    label = "PyMySQL with one SSLContext"

    def __init__(self, arguments: Arguments, size: int) -> None:
        self.lend = partial(OneContext, **arguments)


class AsItComes(reconnect.Entrant):
    """What every pool on PyMySQL does that leaves TLS to it."""

    label = "PyMySQL as it comes"


INSTEAD: dict[str, type[Contender]] = {"floor": Floor, "reconnect": AsItComes}


@contextmanager
def stage(site: Site, entrant: type[Contender]) -> Iterator[Measure]:
    stand_ins = {value: name for name, value in INSTEAD.items()}
    name = stand_ins.get(entrant) or entrant.__module__.rpartition(".")[2]

    def measure(seconds: float) -> Reading:
        arguments = site.arguments(tls=True)
        first, *further = alone(PROCESS, name, arguments=arguments)
        return {
            EACH: (first + sum(further)) / COUNT * 1000,
            FIRST: first * 1000,
            FURTHER: sum(further) / len(further) * 1000,
        }

    yield measure
