"""The screen of ``stats --watch``: the workers, and a bar chart of recent readings.

It keeps and draws the readings that it is given; it asks no worker.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections import deque
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

from rich.console import Console
from rich.console import ConsoleOptions
from rich.console import RenderResult
from rich.text import Text

from ..control.client import merged
from ..control.client import Reply
from ..stats.readings import PoolStats
from .tables import endpoints_table
from .tables import TitledTable
from .tables import workers_table

MAX_SAMPLES = 500
BARS = "▁▂▃▄▅▆▇█"  # the first is for 0
ASCII_BARS = "_.:-=+*#"
# Lines of a bind besides its rows: a blank, title, headings, total, bars.
_FIXED_LINES = 11
_LABEL_WIDTH, _VALUE_WIDTH, _SCALE_WIDTH = 11, 7, 13

Replies = list[Reply[PoolStats]]


def pace(seconds: float) -> Iterator[float]:
    """Yield the time once per interval, the caller's own time included. An interval
    that was missed is not made up for.
    """
    due = time.monotonic()
    while True:
        now = time.monotonic()
        yield now
        due = max(due + seconds, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


@dataclasses.dataclass
class History:
    """The recent samples of one bind, the latest last."""

    in_use: deque[float] = dataclasses.field(default_factory=lambda: _samples())
    waiting: deque[float] = dataclasses.field(default_factory=lambda: _samples())
    rate: deque[float] = dataclasses.field(default_factory=lambda: _samples())


class Watch:
    """The last reading of all workers, and the history of each bind.

    :param endpoints: show endpoints instead of workers.
    """

    def __init__(self, binds: Sequence[str], endpoints: bool = False) -> None:
        self.binds = {bind: History() for bind in binds}
        self._table = endpoints_table if endpoints else workers_table
        self._replies: Replies = []
        self._totals: dict[str, PoolStats] = {}
        self._asked_at: float | None = None
        self._checkouts: dict[tuple[int, str], int] = {}

    def add(self, replies: Replies, now: float) -> None:
        """Add a reading of all workers, taken at ``now``."""
        self._replies = replies
        totals = merged(replies)
        self._totals = {bind: totals.get(bind, PoolStats()) for bind in self.binds}
        for bind, history in self.binds.items():
            history.in_use.append(self._totals[bind].in_use)
            history.waiting.append(self._totals[bind].waiting)
            checkouts = sum(self._new_checkouts(reply, bind) for reply in replies)
            if self._asked_at is not None:
                history.rate.append(checkouts / max(1e-3, now - self._asked_at))
        self._asked_at = now

    def _new_checkouts(self, reply: Reply[PoolStats], bind: str) -> int:
        """Return a worker's checkouts since it last answered, all if it never did."""
        if bind not in reply.binds:
            return 0
        before = self._checkouts.get((reply.pid, bind), 0)
        checkouts = reply.binds[bind].checkouts
        self._checkouts[reply.pid, bind] = checkouts
        return checkouts - before if checkouts >= before else checkouts

    def lines(self) -> Iterator[TitledTable | Text]:
        """Return the tables and a line with the rates, without bars."""
        for bind, history in self.binds.items():
            yield self._table(bind, self._replies, self._totals[bind])
            yield Text(
                f"{history.in_use[-1]:.0f} of {self._totals[bind].max_size} in use,"
                f" {history.waiting[-1]:.0f} waiting, {_last(history.rate)} checkouts/s"
            )

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        errors = sum(bool(reply.error) for reply in self._replies)
        share = options.size.height // max(1, len(self.binds))
        rows = max(0, share - _FIXED_LINES - errors)
        symbols = ASCII_BARS if options.ascii_only else BARS
        for number, (bind, history) in enumerate(self.binds.items()):
            if number:
                yield Text()
            total = self._totals[bind]
            yield self._table(bind, self._replies, total, rows)
            yield from _bar_lines(history, total.max_size, options.max_width, symbols)


def _bar_lines(
    history: History, max_size: int, width: int, symbols: str
) -> Iterator[Text]:
    room = max(8, width - _LABEL_WIDTH - _VALUE_WIDTH - _SCALE_WIDTH - 3)
    for label, samples, top in (
        ("in use", history.in_use, max_size),
        ("waiting", history.waiting, 0),
        ("checkouts/s", history.rate, 0),
    ):
        shown = list(samples)[-room:]
        peak = max(shown, default=0.0)
        scale = f"of {top}" if top else f"peak {_number(peak)}"
        line = Text(f"{label:>{_LABEL_WIDTH}} {_last(samples):>{_VALUE_WIDTH}} ")
        line.append(bars(shown, top or peak, symbols).rjust(room), style="cyan")
        line.append(f" {scale}")
        yield line


def bars(samples: Iterable[float], top: float, symbols: str = BARS) -> str:
    """Return a bar for each sample; only 0 has the lowest one."""
    highest = len(symbols) - 1
    heights = (math.ceil(highest * each / top) if top else 0 for each in samples)
    return "".join(symbols[max(0, min(highest, height))] for height in heights)


def _last(samples: deque[float]) -> str:
    return _number(samples[-1]) if samples else "-"


def _number(amount: float) -> str:
    return f"{amount:.1f}" if 0 < amount < 9.95 and amount % 1 else f"{amount:.0f}"


def _samples() -> deque[float]:
    return deque(maxlen=MAX_SAMPLES)
