"""The command line: ``flask pool``."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import sys
import typing as t
from collections.abc import Callable
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
from ..stats.readings import LOADED
from ..stats.readings import PoolStats
from ..stats.text import printable
from . import binds
from . import tables
from .watch import pace
from .watch import Watch

_T = t.TypeVar("_T")

MIN_INTERVAL, MAX_INTERVAL = 0.1, 3600  # seconds
MAX_SIZE = 2**31 - 1  # as of the setting

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
    only = binds.if_loaded(bind)
    ask = functools.partial(ask_stats, bind=only)
    workers = _ask_workers(ask)
    chosen = binds.select(bind, workers)
    shown = binds.summed_up() if bind is None else chosen
    if watch is not None:
        _watch_stats(watch, shown, ask, endpoints, as_json)
        return
    totals = _totals(workers, [*shown, *chosen])
    servers = _servers([only] if only else [b for b in shown if b != LOADED])
    if as_json:
        _print_json(_stats_json(workers, totals) | {"server": servers})
    else:
        _print_stats(workers, {b: totals[b] for b in shown}, servers, endpoints)
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
        if workers and name == LOADED and not endpoints:
            _print(tables.loaded_table(binds.loaded(workers), workers, total))
        elif workers:
            _print(table(name, workers, total))
        if name in servers:
            _print(tables.server_line(name, servers[name]), "error" in servers[name])


def _servers(names: list[str]) -> dict[str, dict[str, t.Any]]:
    settings, errors = binds.settings_of(names)
    return {
        name: info.as_dict()
        if isinstance(info, ServerInfo)
        else {"error": f"cannot connect: {printable(info)}"}
        for name, info in (query_servers(settings) | errors).items()
    }


def _watch_stats(
    seconds: float,
    names: list[str],
    ask: Callable[[Path], list[Reply[PoolStats]]],
    endpoints: bool,
    as_json: bool,
) -> None:
    """Show readings until Ctrl-C, redrawn in place if the output is a terminal."""
    watch = Watch(names, endpoints)
    console = _console()
    in_place = sys.stdout.isatty() and not console.is_dumb_terminal and not as_json
    live = Live(console=console, auto_refresh=False) if in_place else None
    with contextlib.suppress(KeyboardInterrupt), live or contextlib.nullcontext():
        for now in pace(seconds):
            workers = _ask_workers(ask)
            watch.add(workers, now)
            moment = datetime.now().astimezone()
            if as_json:
                reading = _stats_json(workers, _totals(workers, names))
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
    binds.if_loaded(bind)
    workers = _ask_workers(lambda folder: ask_holders(folder, stack))
    chosen = binds.select(bind, workers)
    if as_json:
        _print_json({"workers": [_holders_json(each, chosen) for each in workers]})
        return
    if not workers:
        _print(_no_workers())
    shown = {*binds.configured(), bind}  # the others if somebody holds a connection
    for name in chosen if workers else []:
        if name in shown or any(each.binds.get(name) for each in workers):
            _print(tables.holders_table(name, workers, stack))


@pool_cli.command()
@_json
def check(as_json: bool) -> None:
    """Check settings, workers and servers; exit with 1 on an error."""
    workers = _ask_who_loads()
    settings, errors = binds.settings_of(binds.select(None, workers))
    pids = {worker.pid for worker in workers}

    def ask() -> list[Reply[PoolStats]]:
        # A bind_loader that uses a pool made this process one of the workers.
        replies = _ask_workers(ask_stats)
        return [each for each in replies if each.pid in pids] if pids else replies

    findings = list(run_checks(settings, ask))
    findings += binds.loader_findings(errors)
    verdicts = {finding.verdict for finding in findings}
    passed = verdicts <= {"ok", "warning"}
    if as_json:
        found = [finding.as_dict() for finding in findings]
        _print_json({"ok": passed, "findings": found})
    else:
        _console().print(tables.findings_table(binds.merged(findings)))
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
    only = binds.if_loaded(bind)
    workers = _ask_workers(lambda folder: ask_recycle(folder, bind, pid))
    _print_answers(workers, pid, only, as_json)


@pool_cli.command()
@click.argument("max_size", metavar="N", type=click.IntRange(1, MAX_SIZE))
@_bind
@_pid
@_json
def resize(max_size: int, bind: str | None, pid: int | None, as_json: bool) -> None:
    """Set the maximum pool size of each running worker to N.

    It lasts until the worker ends. A new worker starts with MYSQLPOOL_MAX_SIZE.
    """
    only = binds.if_loaded(bind)
    workers = _ask_workers(lambda folder: ask_resize(folder, max_size, bind, pid))
    _print_answers(workers, pid, only, as_json)


def _print_answers(
    workers: list[Reply[dict[str, int]]],
    pid: int | None,
    loaded: str | None,
    as_json: bool,
) -> None:
    """Print what each worker did; exit with 1 if one failed or did not answer, or if
    there is none: whether anything was done is then unknown.

    :param loaded: the bind, if a worker has it only if it was loaded.
    """
    if workers and not any(each.error for each in workers):
        binds.select(loaded, workers)
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
    settings, errors = binds.settings_of(binds.select(None, _ask_who_loads()))
    masked = {name: each.masked() for name, each in settings.items()}
    if as_json:
        _print_json(masked)
    else:
        for name, values in masked.items():
            _console().print(tables.settings_table(name, values))
    for finding in binds.loader_findings(errors):
        text = f"Settings of {finding.binds[0]}: {finding.text}"
        _print(Text(text, style="red"), to_stderr=True)
    if errors:
        sys.exit(1)


def _ask_who_loads() -> list[Reply[PoolStats]]:
    """Ask the workers for what they have loaded, if they can."""
    return _ask_workers(ask_stats) if pools_of(current_app).loads else []


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
