"""What the command line prints, made of plain data."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable

from rich import box
from rich.table import Table
from rich.text import Text

from .control import Worker
from .doctor import Finding
from .stats import PoolStats

VERDICTS = {"ok": "green", "warning": "yellow", "error": "bold red"}
COLUMNS = (
    ("worker", "right"),
    ("in use", "right"),
    ("idle", "right"),
    ("waiting", "right"),
    ("max", "right"),
    ("checkouts", "right"),
    ("timeouts", "right"),
    ("wait p99", "right"),
    ("use p99", "right"),
    ("held", "right"),
)


def duration(seconds: float) -> str:
    """Return a duration in three digits or so."""
    if seconds < 0.0000005:
        return "0"
    if seconds < 0.001:
        return f"{seconds * 1_000_000:.0f} µs"
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def workers_table(bind: str, workers: Iterable[Worker], total: PoolStats) -> Table:
    """Return the workers of one bind, a row each, and the total."""
    workers = list(workers)
    table = _table(f"Pool {bind}")
    for heading, side in COLUMNS:
        table.add_column(heading, justify=t.cast(t.Any, side), no_wrap=True)
    for worker in workers:
        if worker.error:
            table.add_row(str(worker.pid), Text(worker.error, style="red"))
        elif bind in worker.binds:
            table.add_row(str(worker.pid), *_cells(worker.binds[bind]))
    if len(workers) > 1:
        table.add_section()
        table.add_row("total", *_cells(total), style="bold")
    return table


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


def server_line(bind: str, view: dict[str, t.Any]) -> Text:
    """Return the server's own view of one bind."""
    if "error" in view:
        return Text(f"Server of {bind}: {view['error']}", style="red")
    return Text(
        f"Server of {bind}: {view['version']}, {view['threads_connected']} of"
        f" {view['max_connections']} connections open"
    )


def findings_table(findings: Iterable[Finding]) -> Table:
    table = _table("Check")
    for heading in ("bind", "check", "verdict", "what was found"):
        table.add_column(heading)
    for finding in findings:
        verdict = Text(finding.verdict, style=VERDICTS[finding.verdict])
        table.add_row(finding.bind, finding.check, verdict, finding.text)
    return table


def settings_table(bind: str, settings: dict[str, t.Any]) -> Table:
    table = _table(f"Settings of {bind}")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    for name, value in settings.items():
        table.add_row(name, Text(str(value)))
    return table


def _table(title: str) -> Table:
    return Table(
        title=Text(title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
