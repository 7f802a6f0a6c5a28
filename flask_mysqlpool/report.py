"""What the command line prints, made of plain data.

The rule of this room: it reads well at 80 columns, nothing is cut off where that is
too narrow, and no text of others is taken for markup.
"""

from __future__ import annotations

import os
import typing as t
from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.console import ConsoleOptions
from rich.console import RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from .control import Worker
from .doctor import Finding
from .stats import PoolStats

VERDICTS = {"ok": "green", "warning": "yellow", "error": "bold red"}
COLUMNS = (
    "worker",
    "in\nuse",
    "idle",
    "waiting",
    "max",
    "checkouts",
    "timeouts",
    "wait\np99",
    "use\np99",
    "held",
)
_UNLIMITED = 10_000  # columns


class Sheet:
    """A table under its title and above its notes, without the blanks with which
    rich fills each line.

    :param wrap: fit it into the terminal; else it is as wide as it needs to be.
    """

    def __init__(
        self, title: str, table: Table, notes: Sequence[Text] = (), wrap: bool = True
    ) -> None:
        self._title = Text(title, style="bold")
        self._table = table
        self._notes = notes
        self._wrap = wrap

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        yield self._title
        if not self._wrap:
            options = options.update(max_width=_UNLIMITED)
        if self._table.row_count:
            for line in console.render_lines(self._table, options, pad=False):
                yield from _stripped(line)
                yield Segment.line()
        yield from self._notes


def _stripped(line: list[Segment]) -> list[Segment]:
    while line and not line[-1].text.strip():
        line.pop()
    if line:
        line[-1] = Segment(line[-1].text.rstrip(), line[-1].style)
    return line


def duration(seconds: float) -> str:
    """Return a duration in six characters, up to 9,999 seconds."""
    for unit, size in (("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        amount = seconds / size
        if amount < 0.5:
            return "0"
        if unit != "µs" and amount < 9.95:
            return f"{amount:.1f} {unit}"
        if amount < (9999.5 if unit == "s" else 999.5):
            return f"{amount:.0f} {unit}"
    return f"{seconds / 3600:.1f} h"


def workers_table(bind: str, workers: Iterable[Worker], total: PoolStats) -> Sheet:
    """Return the workers of one bind, a row each, and the total."""
    workers = list(workers)
    table = Table(box=box.SIMPLE, show_footer=len(workers) > 1, **_PLAIN)
    for heading, sum_up in zip(COLUMNS, ("total", *_cells(total)), strict=True):
        table.add_column(heading, sum_up, justify="right", no_wrap=True)
    notes = []
    for worker in workers:
        if worker.error:
            notes.append(Text(f"Worker {worker.pid} is {worker.error}", style="red"))
        elif bind in worker.binds:
            table.add_row(str(worker.pid), *_cells(worker.binds[bind]))
    return Sheet(f"Pool {bind}", table, notes, wrap=False)


def _cells(reading: PoolStats) -> list[str]:
    return [
        str(reading.in_use),
        str(reading.idle),
        str(reading.waiting),
        str(reading.max_size),
        str(reading.checkouts),
        str(reading.timeouts),
        duration(reading.wait_seconds.percentile(0.99)),
        duration(reading.use_seconds.percentile(0.99)),
        duration(reading.oldest_use_seconds),
    ]


def no_workers(folder: Path) -> Text:
    """Return that nobody answers, and where they were looked for."""
    return Text(
        "No worker of this app is using its pools, as far as user"
        f" {os.geteuid()} can see in {folder}"
    )


def server_line(bind: str, view: dict[str, t.Any]) -> Text:
    """Return the server's own view of one bind."""
    if "error" in view:
        return Text(f"Server of {bind}: {view['error']}", style="red")
    return Text(
        f"Server of {bind}: {view['version']}, {view['threads_connected']} of"
        f" {view['max_connections']} connections open"
    )


def findings_table(findings: Iterable[Finding]) -> Sheet:
    table = Table(box=box.SIMPLE_HEAD, **_PLAIN)
    for heading in ("bind", "check", "verdict", "what was found"):
        table.add_column(heading)
    for finding in findings:
        verdict = Text(finding.verdict, style=VERDICTS[finding.verdict])
        bind, check, text = map(Text, (finding.bind, finding.check, finding.text))
        table.add_row(bind, check, verdict, text)
    return Sheet("Check", table)


def settings_table(bind: str, settings: dict[str, t.Any]) -> Sheet:
    table = Table(box=box.SIMPLE_HEAD, **_PLAIN)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    for name, value in settings.items():
        table.add_row(name, Text('""' if value == "" else str(value)))
    return Sheet(f"Settings of {bind}", table)


_PLAIN: dict[str, t.Any] = {
    "show_edge": False,
    "pad_edge": False,
    "collapse_padding": True,
}
