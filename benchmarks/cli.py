"""The command: measures the rows, shows and writes what came out."""

from __future__ import annotations

import resource
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
from rich.console import Console

from flask_mysqlpool.testing import ServerError

from . import report
from .contenders import load
from .contenders import NAMES
from .forwarder import ForwarderError
from .measuring import ESSENTIAL
from .measuring import measure
from .measuring import Result
from .site import open_site
from .works import ROWS

LETTERS = sorted({row.letter for row in ROWS})
WIDTH = 140  # of the tables in a file or a pipe
PEERS = [name for name in NAMES if name not in ESSENTIAL]


@click.command()
@click.argument(
    "rows",
    nargs=-1,
    metavar=f"[{LETTERS[0]}…{LETTERS[-1]}]...",
    type=click.Choice(LETTERS, case_sensitive=False),
)
@click.option(
    "--seconds",
    default=0.2,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Of one slice.",
)
@click.option(
    "--rounds",
    default=11,
    show_default=True,
    type=click.IntRange(1),
    help="Slices of each contender; some rows take fewer and longer ones.",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(PEERS),
    help="A peer to take part; may be repeated. Ours and the floor always do.",
)
@click.option(
    "--output",
    default=Path("build/benchmarks"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the tables and the plot.",
)
@click.option(
    "--url",
    help="A server that runs already, mysql://user:password@host/database;"
    " without one, a private MariaDB is started.",
)
def main(
    rows: tuple[str, ...],
    seconds: float,
    rounds: int,
    only: tuple[str, ...],
    output: Path,
    url: str | None,
) -> None:
    """Measure our pool and its peers at the same work; all rows if none is named.

    Ends with status 1 if one of our targets was missed.
    """
    signal.signal(signal.SIGTERM, _leave)
    _allow_many_files()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    try:
        results, notes = _run(console, rows, seconds, rounds, only, url)
    except (ServerError, ForwarderError) as error:
        raise click.ClickException(str(error)) from error
    report.show_verdicts(console, results)
    slices = {"slices": f"{rounds} rounds of {seconds:g} s"}
    _write(console, output, results, report.environment() | notes | slices)
    missed = sum(not each.reached for result in results for each in result.verdicts())
    console.print(f"{missed} missed" if missed else "every target reached")
    sys.exit(missed > 0)


def _run(
    console: Console,
    rows: tuple[str, ...],
    seconds: float,
    rounds: int,
    only: tuple[str, ...],
    url: str | None,
) -> tuple[list[Result], dict[str, str]]:
    """Return what was measured, and where."""
    entrants, missing = load([*ESSENTIAL, *(only or PEERS)])
    for name, why in missing.items():
        console.print(f"{name} left out: {why}", style="yellow", soft_wrap=True)
    results = []
    with open_site(url, seconds) as site:
        for name, value in site.notes.items():
            console.print(f"{name}: {value}", highlight=False)
        for row in ROWS:
            if rows and row.letter not in rows:
                continue
            console.print(f"\n{report.title(row)}", style="bold", soft_wrap=True)
            if why := row.obstacle(site):
                console.print(f"left out: {why}", style="yellow", soft_wrap=True)
                continue
            results.append(measure(row, site, entrants, rounds))
            report.show(console, results[-1])
    return results, site.notes


def _write(
    console: Console, folder: Path, results: list[Result], facts: dict[str, str]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    report.write(folder / "results.inc", results, facts)
    console.print(f"\ntables: {folder / 'results.inc'}", soft_wrap=True)
    if find_spec("matplotlib") is None:
        console.print("no plot: pip install matplotlib", style="yellow")
    elif results:
        from . import plot  # needs matplotlib

        plot.draw(folder / "plot.svg", results)
        console.print(f"plot: {folder / 'plot.svg'}", soft_wrap=True)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End as after an error, so that what was started is ended too."""
    sys.exit(128 + number)


def _allow_many_files() -> None:
    """Row J alone has more connections than many systems' soft limit of open files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
