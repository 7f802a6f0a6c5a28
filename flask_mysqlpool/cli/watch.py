"""What ``stats --watch`` shows: the workers now, and the recent past as bars.

The rule of this room: it keeps readings and draws them; asking and time are others'.
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
from .tables import Sheet
from .tables import workers_table

LONGEST_PAST = 500  # samples
BARS = "▁▂▃▄▅▆▇█"  # the first one is nothing
ASCII_BARS = "_.:-=+*#"
# Lines of a bind besides its workers: a blank, title, headings, total, bars.
_FRAME = 11
_LABEL, _VALUE, _SCALE = 11, 7, 13  # columns beside the bars

Replies = list[Reply[PoolStats]]


def pace(seconds: float) -> Iterator[float]:
    """Yield the time now, every so many seconds; what the caller does in between
    counts.
    """
    due = time.monotonic()
    while True:
        now = time.monotonic()
        yield now
        due = max(due + seconds, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


@dataclasses.dataclass
class Past:
    """The recent past of one bind, the latest last."""

    in_use: deque[float] = dataclasses.field(default_factory=lambda: _samples())
    waiting: deque[float] = dataclasses.field(default_factory=lambda: _samples())
    rate: deque[float] = dataclasses.field(default_factory=lambda: _samples())


class Watch:
    """What the workers said last, and what came of it before.

    :param endpoints: show a row for each endpoint, not for each worker.
    """

    def __init__(self, binds: Sequence[str], endpoints: bool = False) -> None:
        self.binds = {bind: Past() for bind in binds}
        self._table = endpoints_table if endpoints else workers_table
        self._replies: Replies = []
        self._totals: dict[str, PoolStats] = {}
        self._asked_at: float | None = None
        self._checkouts: dict[tuple[int, str], int] = {}

    def add(self, replies: Replies, now: float) -> None:
        """Take a reading of all workers."""
        self._replies = replies
        totals = merged(replies)
        self._totals = {bind: totals.get(bind, PoolStats()) for bind in self.binds}
        for bind, past in self.binds.items():
            past.in_use.append(self._totals[bind].in_use)
            past.waiting.append(self._totals[bind].waiting)
            lent = sum(self._lent_since(reply, bind) for reply in replies)
            if self._asked_at is not None:
                past.rate.append(lent / max(1e-3, now - self._asked_at))
        self._asked_at = now

    def _lent_since(self, reply: Reply[PoolStats], bind: str) -> int:
        """Return what a worker lent since it last answered, all if it never did."""
        if bind not in reply.binds:
            return 0
        before = self._checkouts.get((reply.pid, bind), 0)
        checkouts = reply.binds[bind].checkouts
        self._checkouts[reply.pid, bind] = checkouts
        return checkouts - before if checkouts >= before else checkouts

    def lines(self) -> Iterator[Sheet | Text]:
        """Return the present, and a line for the rate, as plain text."""
        for bind, past in self.binds.items():
            yield self._table(bind, self._replies, self._totals[bind])
            yield Text(
                f"{past.in_use[-1]:.0f} of {self._totals[bind].max_size} in use,"
                f" {past.waiting[-1]:.0f} waiting, {_last(past.rate)} checkouts/s"
            )

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        silent = sum(bool(reply.error) for reply in self._replies)
        share = options.size.height // max(1, len(self.binds))
        rows = max(0, share - _FRAME - silent)
        ramp = ASCII_BARS if options.ascii_only else BARS
        for number, (bind, past) in enumerate(self.binds.items()):
            if number:
                yield Text()
            total = self._totals[bind]
            yield self._table(bind, self._replies, total, rows)
            yield from _past(past, total.max_size, options.max_width, ramp)


def _past(past: Past, max_size: int, width: int, ramp: str) -> Iterator[Text]:
    room = max(8, width - _LABEL - _VALUE - _SCALE - 3)
    for label, samples, top in (
        ("in use", past.in_use, max_size),
        ("waiting", past.waiting, 0),
        ("checkouts/s", past.rate, 0),
    ):
        shown = list(samples)[-room:]
        peak = max(shown, default=0.0)
        scale = f"of {top}" if top else f"peak {_number(peak)}"
        line = Text(f"{label:>{_LABEL}} {_last(samples):>{_VALUE}} ")
        line.append(bars(shown, top or peak, ramp).rjust(room), style="cyan")
        line.append(f" {scale}")
        yield line


def bars(samples: Iterable[float], top: float, ramp: str = BARS) -> str:
    """Return a bar for each sample. Only nothing looks like nothing."""
    most = len(ramp) - 1
    heights = (math.ceil(most * each / top) if top else 0 for each in samples)
    return "".join(ramp[max(0, min(most, height))] for height in heights)


def _last(samples: deque[float]) -> str:
    return _number(samples[-1]) if samples else "-"


def _number(amount: float) -> str:
    return f"{amount:.1f}" if 0 < amount < 9.95 and amount % 1 else f"{amount:.0f}"


def _samples() -> deque[float]:
    return deque(maxlen=LONGEST_PAST)
