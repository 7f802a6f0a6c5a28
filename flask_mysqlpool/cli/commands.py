"""The command line: ``flask pool``."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import click
from click.shell_completion import CompletionItem
from flask import current_app
from flask.cli import AppGroup
from flask.cli import ScriptInfo
from rich.console import Console
from rich.console import Group
from rich.live import Live
from rich.text import Text

from ..context import folder_of
from ..context import pools_of
from ..control.client import ask_holders
from ..control.client import ask_recycle
from ..control.client import ask_resize
from ..control.client import ask_stats
from ..control.client import find_elsewhere
from ..control.client import merged
from ..control.client import Reply
from ..diagnostics.checks import run_checks
from ..diagnostics.server_info import query_servers
from ..diagnostics.server_info import ServerInfo
from ..stats.holders import Holder
from ..stats.readings import PoolStats
from ..stats.text import printable
from . import tables
from .watch import pace
from .watch import Watch

_T = t.TypeVar("_T")

MIN_INTERVAL, MAX_INTERVAL = 0.1, 3600  # seconds

pool_cli = AppGroup("pool", help="Show the connection pools of the running workers.")


def _complete_bind(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    app = context.ensure_object(ScriptInfo).load_app()
    return [
        CompletionItem(name) for name in pools_of(app) if name.startswith(incomplete)
    ]


def _check_interval(
    context: click.Context, parameter: click.Parameter, seconds: float | None
) -> float | None:
    if seconds is None or MIN_INTERVAL <= seconds <= MAX_INTERVAL:  # NaN is refused
        return seconds
    allowed = f"{MIN_INTERVAL:g} to {MAX_INTERVAL} seconds"
    raise click.BadParameter(f"use {allowed}, not {seconds:g}")


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_bind = click.option(
    "--bind", metavar="NAME", help="Only this bind.", shell_complete=_complete_bind
)
_pid = click.option("--pid", type=int, metavar="PID", help="Only this worker.")
_watch = click.option(
    "--watch",
    type=float,
    is_flag=False,
    flag_value=1.0,
    metavar="[SECONDS]",
    callback=_check_interval,
    help="Refresh every SECONDS (default 1) until Ctrl-C.",
)


@pool_cli.command()
@_bind
@click.option("--endpoints", is_flag=True, help="Show endpoints instead of workers.")
@_watch
@_json
def stats(
    bind: str | None, endpoints: bool, watch: float | None, as_json: bool
) -> None:
    """Show the pools of each worker and the server's connections."""
    pools = pools_of(current_app)
    binds = _select_binds(pools, bind)
    if watch is not None:
        _watch_stats(watch, binds, endpoints, as_json)
        return
    workers = _ask_workers(ask_stats)
    totals = _totals(workers, binds)
    servers = {
        name: info.as_dict()
        if isinstance(info, ServerInfo)
        else {"error": f"cannot connect: {printable(info)}"}
        for name, info in query_servers({b: pools[b].settings for b in binds}).items()
    }
    if as_json:
        _print_json(_stats_json(workers, totals) | {"server": servers})
    else:
        _print_stats(workers, totals, servers, endpoints)
    if any("error" in server for server in servers.values()):
        sys.exit(1)


def _print_stats(
    workers: list[Reply[PoolStats]],
    totals: dict[str, PoolStats],
    servers: dict[str, dict[str, t.Any]],
    endpoints: bool,
) -> None:
    table = tables.endpoints_table if endpoints else tables.workers_table
    if not workers:
        _print(_no_workers())
    for name, total in totals.items():
        if workers:
            _print(table(name, workers, total))
        _print(tables.server_line(name, servers[name]), "error" in servers[name])


def _watch_stats(
    seconds: float, binds: list[str], endpoints: bool, as_json: bool
) -> None:
    """Show readings until Ctrl-C, redrawn in place if the output is a terminal."""
    watch = Watch(binds, endpoints)
    console = _console()
    in_place = sys.stdout.isatty() and not console.is_dumb_terminal and not as_json
    live = Live(console=console, auto_refresh=False) if in_place else None
    with contextlib.suppress(KeyboardInterrupt), live or contextlib.nullcontext():
        for now in pace(seconds):
            workers = _ask_workers(ask_stats)
            watch.add(workers, now)
            moment = datetime.now().astimezone()
            if as_json:
                reading = _stats_json(workers, _totals(workers, binds))
                click.echo(json.dumps({"time": moment.isoformat()} | reading))
                continue
            pacing = f"every {seconds:g} s, stop with Ctrl-C"
            heading = [Text(f"{moment:%H:%M:%S}, {pacing}")]
            if not workers:
                heading.append(_no_workers())
            if live:
                live.update(Group(*heading, watch), refresh=True)
            else:
                for line in (*heading, *watch.lines(), Text()):
                    _print(line)


@pool_cli.command()
@_bind
@click.option(
    "--stack",
    is_flag=True,
    help="Include the stack of the checkout and the holder's current stack.",
)
@_json
def who(bind: str | None, stack: bool, as_json: bool) -> None:
    """Show who holds each connection that is checked out."""
    binds = _select_binds(pools_of(current_app), bind)
    workers = _ask_workers(lambda folder: ask_holders(folder, stack))
    if as_json:
        _print_json({"workers": [_holders_json(each, binds) for each in workers]})
        return
    if not workers:
        _print(_no_workers())
    for name in binds if workers else []:
        _print(tables.holders_table(name, workers, stack))


@pool_cli.command()
@_json
def check(as_json: bool) -> None:
    """Check settings, workers and servers; exit with 1 on an error."""
    settings = {name: each.settings for name, each in pools_of(current_app).items()}
    findings = list(run_checks(settings, lambda: _ask_workers(ask_stats)))
    verdicts = {finding.verdict for finding in findings}
    passed = verdicts <= {"ok", "warning"}
    if as_json:
        found = [finding.as_dict() for finding in findings]
        _print_json({"ok": passed, "findings": found})
    else:
        _console().print(tables.findings_table(findings))
    if "unknown" in verdicts:
        _print(_no_workers(), to_stderr=True)
    if not passed:
        sys.exit(1)


@pool_cli.command()
@_bind
@_pid
@_json
def recycle(bind: str | None, pid: int | None, as_json: bool) -> None:
    """Retire all connections: close idle ones now, others on return."""
    _select_binds(pools_of(current_app), bind)
    workers = _ask_workers(lambda folder: ask_recycle(folder, bind, pid))
    _print_answers(workers, pid, as_json)


@pool_cli.command()
@click.argument("max_size", metavar="N", type=click.IntRange(min=1))
@_bind
@_pid
@_json
def resize(max_size: int, bind: str | None, pid: int | None, as_json: bool) -> None:
    """Set the maximum pool size of each running worker to N.

    It lasts until the worker ends. A new worker starts with MYSQLPOOL_MAX_SIZE.
    """
    _select_binds(pools_of(current_app), bind)
    workers = _ask_workers(lambda folder: ask_resize(folder, max_size, bind, pid))
    _print_answers(workers, pid, as_json)


def _print_answers(
    workers: list[Reply[dict[str, int]]], pid: int | None, as_json: bool
) -> None:
    """Print what each worker did; exit with 1 if one failed or did not answer, or if
    there is none: whether anything was done is then unknown.
    """
    if pid is not None and not workers:
        raise click.BadParameter(
            f"no worker with process id {pid} uses the pools of this app:"
            " `flask pool stats` lists the workers",
            param_hint="--pid",
        )
    if as_json:
        _print_json({"workers": [_worker_json(each, each.binds) for each in workers]})
    elif any(worker.binds for worker in workers):
        _print(tables.counts_table(workers))
    errors = tables.error_lines(workers)
    if not workers:
        errors = [Text("Unknown: nobody was reached", style="red"), _no_workers()]
    for line in errors:
        _print(line, to_stderr=True)
    if errors:
        sys.exit(1)


@pool_cli.command()
@_json
def config(as_json: bool) -> None:
    """Show the settings, with secrets masked."""
    binds = pools_of(current_app)
    settings = {name: pool.settings.masked() for name, pool in binds.items()}
    if as_json:
        _print_json(settings)
        return
    for name, values in settings.items():
        _console().print(tables.settings_table(name, values))


def _select_binds(known: Iterable[str], bind: str | None) -> list[str]:
    binds = list(known)
    if bind is not None and bind not in binds:
        raise click.BadParameter(
            f"there is no bind {bind!r}, only {', '.join(map(repr, binds))}",
            param_hint="--bind",
        )
    return [bind] if bind is not None else binds


def _ask_workers(ask: Callable[[Path], list[Reply[_T]]]) -> list[Reply[_T]]:
    try:
        return ask(folder_of(current_app))
    except OSError as error:
        raise click.ClickException(f"the workers cannot be asked: {error}") from error


def _no_workers() -> Text:
    folder = folder_of(current_app)
    return tables.no_workers(folder, find_elsewhere(folder))


def _totals(workers: list[Reply[PoolStats]], binds: list[str]) -> dict[str, PoolStats]:
    totals = merged(workers)
    return {name: totals.get(name, PoolStats()) for name in binds}


def _stats_json(
    workers: list[Reply[PoolStats]], totals: dict[str, PoolStats]
) -> dict[str, t.Any]:
    each = [
        _worker_json(
            worker,
            {
                b: reading.as_dict()
                for b, reading in worker.binds.items()
                if b in totals
            },
        )
        for worker in workers
    ]
    summed = {name: total.as_dict() for name, total in totals.items()}
    return {"workers": each, "totals": summed}


def _holders_json(worker: Reply[list[Holder]], binds: list[str]) -> dict[str, t.Any]:
    holders = {
        bind: [holder.as_dict() for holder in held]
        for bind, held in worker.binds.items()
        if bind in binds
    }
    return _worker_json(worker, holders)


def _worker_json(worker: Reply[t.Any], binds: dict[str, t.Any]) -> dict[str, t.Any]:
    answer: dict[str, t.Any] = {"pid": worker.pid, "binds": binds}
    return answer | {"error": worker.error} if worker.error else answer


def _print_json(value: t.Any) -> None:
    # DEL is the only control character that JSON leaves as it is.
    click.echo(json.dumps(value, indent=2).replace("\x7f", "\\u007f"))


def _print(what: tables.TitledTable | Text, to_stderr: bool = False) -> None:
    _console(to_stderr).print(what, soft_wrap=True)


def _console(stderr: bool = False) -> Console:
    """Return a console that replaces what the terminal cannot encode with ``?``."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    return Console(stderr=stderr)
