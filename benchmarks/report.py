"""The results for readers: tables for the terminal and for the documentation."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterator
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .measuring import Result
from .measuring import Verdict
from .works.rows import Row

PACKAGES = (
    "flask-mysqlpool",
    "PyMySQL",
    "DBUtils",
    "SQLAlchemy",
    "pymysql-pool",
    "mysql-connector-python",
    "Flask",
    "gunicorn",
)


def show(console: Console, result: Result) -> None:
    """Print one row's figures."""
    table = Table(box=SIMPLE_HEAD)
    for number, heading in enumerate(headings(result)):
        if number:
            table.add_column(heading, justify="right", overflow="fold")
        else:
            table.add_column(heading, no_wrap=True)
    for line in lines(result):
        table.add_row(*line)
    console.print(table)
    for failure in failures(result):
        console.print(failure, style="yellow", soft_wrap=True)


def show_verdicts(console: Console, results: Sequence[Result]) -> None:
    """Print what ours reached of its targets."""
    for result in results:
        for verdict in result.verdicts():
            style = "green" if verdict.reached else "red"
            text = f"{title(result.row)}\n   {judgement(verdict)}"
            console.print(text, style=style, highlight=False, soft_wrap=True)


def write(path: Path, results: Sequence[Result], facts: dict[str, str]) -> None:
    """Write reStructuredText to be included in a section of the documentation."""
    blocks = []
    for result in results:
        letter, _, rest = title(result.row).partition(": ")
        judgements = [judgement(verdict) for verdict in result.verdicts()]
        notes = [f"* {note}\n" for note in (*judgements, *failures(result))]
        table = list_table([headings(result), *lines(result)])
        blocks.append(f"**{letter}:** {rest}\n\n{table}\n{''.join(notes)}")
    blocks.append("".join(f":{name}: {value}\n" for name, value in facts.items()))
    path.write_text("\n".join(blocks), encoding="utf-8")


def title(row: Row) -> str:
    return f"{row.letter}: {row.title}"


def headings(result: Result) -> list[str]:
    return ["", *(figure.name for figure in result.columns)]


def lines(result: Result) -> Iterator[list[str]]:
    """Yield each contender's cells: medians, and the extremes of what is judged."""
    judged = {target.figure for target in result.row.targets}
    for name, spreads in result.figures.items():
        cells = [result.labels[name]]
        for figure in result.columns:
            middle, low, high = (figure.show(value) for value in spreads[figure])
            varies = figure in judged and low != high
            cells.append(f"{middle} ({low}–{high})" if varies else middle)
        yield cells


def judgement(verdict: Verdict) -> str:
    value = verdict.target.figure.show(verdict.value)
    return f"{verdict.target}: {value}, {'reached' if verdict.reached else 'MISSED'}"


def failures(result: Result) -> Iterator[str]:
    for name, why in result.failures.items():
        yield f"{result.labels[name]} failed: {why}"


def environment() -> dict[str, str]:
    """Return on what kind of machine this runs, and with what."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "packages": ", ".join(versions),
    }


def list_table(rows: Sequence[Sequence[str]]) -> str:
    text = ".. list-table::\n   :header-rows: 1\n\n"
    for row in rows:
        for number, value in enumerate(row):
            text += f"   {' ' if number else '*'} - {value}".rstrip() + "\n"
    return text
