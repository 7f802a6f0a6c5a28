"""The tables and lines that the command line prints.

Invariants: a table fits 80 columns where its data allows it, a narrower terminal cuts
nothing off, and text from elsewhere is never read as markup.
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

from ..control.client import merged
from ..control.client import Reply
from ..diagnostics.findings import Finding
from ..stats.holders import Holder
from ..stats.readings import EndpointStats
from ..stats.readings import PoolStats
from ..stats.text import printable

VERDICTS = {
    "ok": "green",
    "warning": "yellow",
    "unknown": "bold red",
    "error": "bold red",
}
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
ENDPOINT_COLUMNS = (
    "checkouts",
    "timeouts",
    "wait\np99",
    "use\np50",
    "use\np99",
    "use\nmax",
    "share",
)
MAX_NAMES = 5  # of binds that one finding concerns
_UNLIMITED = 10_000  # columns
_MIN_DETAIL_WIDTH = 40  # columns
_DETAIL_INDENT = 8


class TitledTable:
    """A table below its title and above its notes, without trailing blanks.

    :param wrap: fit it into the terminal; else it is as wide as it needs to be.
    :param details: one for each row, shown below it; each row must be one line.
    """

    def __init__(
        self,
        title: str,
        table: Table,
        notes: Sequence[Text] = (),
        wrap: bool = True,
        details: Sequence[Table] = (),
    ) -> None:
        self._title = Text(title, style="bold")
        self._table = table
        self._notes = notes
        self._wrap = wrap
        self._details = details

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        yield self._title
        wide = options if self._wrap else options.update(max_width=_UNLIMITED)
        if self._table.row_count:
            lines = console.render_lines(self._table, wide, pad=False)
            heading = len(lines) - len(self._details)
            for number, line in enumerate(lines):
                yield from _stripped(line)
                yield Segment.line()
                if self._details and number >= heading:
                    yield from self._detail(number - heading, console, options)
        yield from self._notes

    def _detail(
        self, row: int, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        width = max(_MIN_DETAIL_WIDTH, options.max_width) - _DETAIL_INDENT
        options = options.update(max_width=width)
        for line in console.render_lines(self._details[row], options, pad=False):
            yield Segment(" " * _DETAIL_INDENT)
            yield from _stripped(line)
            yield Segment.line()


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


def workers_table(
    bind: str,
    workers: Iterable[Reply[PoolStats]],
    total: PoolStats,
    rows: int | None = None,
) -> TitledTable:
    """Return a row for each worker of one bind, and the total.

    :param rows: the most rows to show: the busiest workers.
    """
    workers = list(workers)
    table = Table(box=box.SIMPLE, show_footer=len(workers) > 1, **_PLAIN)
    for heading, sum_up in zip(COLUMNS, ("total", *_cells(total)), strict=True):
        table.add_column(heading, sum_up, justify="right", no_wrap=True)
    readings = {each.pid: each.binds[bind] for each in workers if bind in each.binds}
    busiest = sorted(readings, key=lambda pid: _busiest_first(readings[pid]))[:rows]
    for pid in (pid for pid in readings if pid in busiest):
        table.add_row(str(pid), *_cells(readings[pid]))
    notes = _not_shown(len(readings) - len(busiest), "worker") + error_lines(workers)
    return TitledTable(f"Pool {bind}", table, notes, wrap=False)


def loaded_table(
    binds: Iterable[str], workers: Iterable[Reply[PoolStats]], total: PoolStats
) -> TitledTable:
    """Return a row for each loaded bind, summed over its workers, and the total.

    :param total: of all of them, with those that were closed.
    """
    workers = list(workers)
    totals = merged(workers)
    table = Table(box=box.SIMPLE, show_footer=True, **_PLAIN)
    table.add_column("bind", "total", no_wrap=True)
    for heading, sum_up in zip(COLUMNS[1:], _cells(total), strict=True):
        table.add_column(heading, sum_up, justify="right", no_wrap=True)
    for bind in binds:
        table.add_row(Text(bind), *_cells(totals[bind]))
    note = "The total includes pools that were closed"
    if not table.row_count:
        note = "No worker has loaded one"
    notes = [Text(note), *error_lines(workers)]
    return TitledTable("Loaded pools", table, notes, wrap=False)


def _busiest_first(reading: PoolStats) -> tuple[float, ...]:
    return -reading.waiting, -reading.in_use, -reading.oldest_use_seconds


def _not_shown(number: int, noun: str) -> list[Text]:
    if not number:
        return []
    return [Text(f"{number} more {noun}{'s' * (number > 1)} not shown")]


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


def endpoints_table(
    bind: str,
    workers: Iterable[Reply[PoolStats]],
    total: PoolStats,
    rows: int | None = None,
) -> TitledTable:
    """Return a row for each endpoint of one bind, the longest holder first.

    :param rows: the most rows to show.
    """
    table = Table(box=box.SIMPLE_HEAD, **_PLAIN)
    for heading in ENDPOINT_COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("endpoint", no_wrap=True)
    held = {name: each.use_seconds.sum for name, each in total.endpoints.items()}
    all_held = sum(held.values()) or 1.0
    for name in sorted(held, key=lambda name: (-held[name], name))[:rows]:
        cells = _endpoint_cells(total.endpoints[name])
        table.add_row(*cells, f"{held[name] / all_held:.0%}", Text(name))
    notes = _not_shown(len(held) - table.row_count, "endpoint") + error_lines(workers)
    return TitledTable(f"Pool {bind}", table, notes, wrap=False)


def _endpoint_cells(reading: EndpointStats) -> list[str]:
    uses = reading.use_seconds
    return [
        str(reading.checkouts),
        str(reading.timeouts),
        duration(reading.wait_seconds.percentile(0.99)),
        duration(uses.percentile(0.50)),
        duration(uses.percentile(0.99)),
        duration(uses.max),
    ]


def holders_table(
    bind: str, workers: Iterable[Reply[list[Holder]]], stacks: bool = False
) -> TitledTable:
    """Return a row for each holder of one bind, the longest first, with its thread
    and statement below.

    :param stacks: also the stack of the checkout and the current stack.
    """
    workers = list(workers)
    held = [
        (each.pid, holder) for each in workers for holder in each.binds.get(bind, ())
    ]
    held.sort(key=lambda each: -each[1].seconds)
    table = Table(box=box.SIMPLE_HEAD, **_PLAIN)
    for heading in ("worker", "held", "connection"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("transaction", no_wrap=True)
    table.add_column("holder", no_wrap=True)
    for pid, holder in held:
        table.add_row(
            str(pid),
            duration(holder.seconds),
            str(holder.connection_id),
            "open" if holder.in_transaction else "none",
            Text(holder.holder),
        )
    notes = error_lines(workers)
    if not held:
        notes.insert(0, Text("No connection is checked out"))
    details = [_details(holder, stacks) for _, holder in held]
    return TitledTable(f"Pool {bind}", table, notes, wrap=False, details=details)


def _details(holder: Holder, stacks: bool) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("thread", Text(holder.thread))
    if holder.statement:
        table.add_row("statement", Text(holder.statement))
    if stacks:
        for label, stack in (("checkout", holder.taken), ("current", holder.stands)):
            table.add_row(label, Text("\n".join(stack) or "unknown"))
    return table


def counts_table(workers: Iterable[Reply[dict[str, int]]]) -> TitledTable:
    """Return the counts that each worker reported; their names are the headings."""
    answered = [worker for worker in workers if worker.binds]
    names = dict.fromkeys(
        name
        for worker in answered
        for counts in worker.binds.values()
        for name in counts
    )
    table = Table(box=box.SIMPLE_HEAD, **_PLAIN)
    table.add_column("worker", justify="right", no_wrap=True)
    table.add_column("pool", no_wrap=True)
    for name in names:
        table.add_column(Text(name.replace("_", " ")), justify="right", no_wrap=True)
    for worker in answered:
        for bind, counts in worker.binds.items():
            cells = [str(counts.get(name, "")) for name in names]
            table.add_row(str(worker.pid), Text(bind), *cells)
    return TitledTable("Workers", table, wrap=False)


def error_lines(workers: Iterable[Reply[t.Any]]) -> list[Text]:
    """Return a line for each worker that did not answer or reported an error."""
    complaints = (each.complaint for each in workers if each.error)
    return [Text(each[:1].upper() + each[1:], style="red") for each in complaints]


def no_workers(folder: Path, elsewhere: dict[Path, int]) -> Text:
    """Return in which folder no worker was found, and where others are.

    :param elsewhere: the number of workers in other folders.
    """
    text = Text(
        f"No worker of this app is using its pools (looked in {printable(folder)} as"
        f" user {os.geteuid()})"
    )
    for other, number in elsewhere.items():
        workers = f"{number} worker{'s are' if number > 1 else ' is'}"
        text.append(f"\n{workers} in {printable(other)}: is that this app, started")
        text.append(" with another MYSQLPOOL_RUNTIME_DIR, name or path?")
    return text


def server_line(bind: str, server: dict[str, t.Any]) -> Text:
    """Return the version and the open connections of a bind's server."""
    if "error" in server:
        return Text(f"Server of {bind}: {server['error']}", style="red")
    return Text(
        f"Server of {bind}: {server['version']}, {server['threads_connected']} of"
        f" {server['max_connections']} connections open"
    )


def findings_table(findings: Iterable[Finding]) -> TitledTable:
    table = Table(box=box.SIMPLE_HEAD, **_PLAIN)
    for heading in ("bind", "check", "verdict", "what was found"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        verdict = Text(finding.verdict, style=VERDICTS[finding.verdict])
        text = Text(finding.text)
        if finding.change:
            text.append(f"\n→ {finding.change}", style="bold")
        table.add_row(Text(_names(finding.binds)), finding.check, verdict, text)
    return TitledTable("Check", table)


def _names(binds: list[str]) -> str:
    rest = len(binds) - MAX_NAMES
    names = ", ".join(binds[:MAX_NAMES])
    return f"{names} and {rest} more" if rest > 0 else names


def settings_table(bind: str, settings: dict[str, t.Any]) -> TitledTable:
    table = Table(box=box.SIMPLE_HEAD, **_PLAIN)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    for name, value in settings.items():
        table.add_row(name, Text('""' if value == "" else printable(value)))
    return TitledTable(f"Settings of {bind}", table)


_PLAIN: dict[str, t.Any] = {
    "show_edge": False,
    "pad_edge": False,
    "collapse_padding": True,
}
