"""The command line: ``flask pool``."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import typing as t
from collections.abc import Callable
from collections.abc import Collection
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
from ..control.client import merged
from ..control.client import Reply
from ..diagnostics.checks import run_checks
from ..diagnostics.server_info import query_servers
from ..diagnostics.server_info import ServerInfo
from ..stats.holders import Holder
from ..stats.readings import PoolStats
from . import tables as report
from .watch import pace
from .watch import Watch

_T = t.TypeVar("_T")

SHORTEST, LONGEST = 0.1, 3600  # seconds between two readings

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
    if seconds is None or SHORTEST <= seconds <= LONGEST:  # which NaN is not
        return seconds
    raise click.BadParameter(f"use {SHORTEST:g} to {LONGEST} seconds, not {seconds:g}")


_json = click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
_bind = click.option(
    "--bind", metavar="NAME", help="This bind only.", shell_complete=_complete_bind
)
_pid = click.option("--pid", type=int, metavar="PID", help="This worker only.")
_watch = click.option(
    "--watch",
    type=float,
    is_flag=False,
    flag_value=1.0,
    metavar="[SECONDS]",
    callback=_check_interval,
    help="Go on, with a reading every second or so many, until Ctrl-C.",
)


@pool_cli.command()
@_bind
@click.option("--endpoints", is_flag=True, help="A row for each endpoint instead.")
@_watch
@_json
def stats(
    bind: str | None, endpoints: bool, watch: float | None, as_json: bool
) -> None:
    """Show each running worker, and the server's view."""
    pools = pools_of(current_app)
    binds = _chosen(pools, bind)
    if watch is not None:
        _go_on(watch, binds, endpoints, as_json)
        return
    workers = _asked(ask_stats)
    totals = _totals(workers, binds)
    servers = {
        name: info.as_dict()
        if isinstance(info, ServerInfo)
        else {"error": f"cannot be reached: {info}"}
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
    table = report.endpoints_table if endpoints else report.workers_table
    if not workers:
        _print(report.no_workers(folder_of(current_app)))
    for name, total in totals.items():
        if workers:
            _print(table(name, workers, total))
        _print(report.server_line(name, servers[name]), "error" in servers[name])


def _go_on(seconds: float, binds: list[str], endpoints: bool, as_json: bool) -> None:
    """Show one reading after the other, in place where the output is a terminal."""
    watch = Watch(binds, endpoints)
    console = _console()
    in_place = sys.stdout.isatty() and not console.is_dumb_terminal and not as_json
    live = Live(console=console, auto_refresh=False) if in_place else None
    with contextlib.suppress(KeyboardInterrupt), live or contextlib.nullcontext():
        for now in pace(seconds):
            workers = _asked(ask_stats)
            watch.add(workers, now)
            moment = datetime.now().astimezone()
            if as_json:
                reading = _stats_json(workers, _totals(workers, binds))
                click.echo(json.dumps({"time": moment.isoformat()} | reading))
                continue
            heading = [Text(f"{moment:%H:%M:%S}, every {seconds:g} s until Ctrl-C")]
            if not workers:
                heading.append(report.no_workers(folder_of(current_app)))
            if live:
                live.update(Group(*heading, watch), refresh=True)
            else:
                for line in (*heading, *watch.lines(), Text()):
                    _print(line)


@pool_cli.command()
@_bind
@click.option("--stack", is_flag=True, help="With where it was taken, and stands.")
@_json
def who(bind: str | None, stack: bool, as_json: bool) -> None:
    """Show who holds each connection that is lent now."""
    binds = _chosen(pools_of(current_app), bind)
    workers = _asked(lambda folder: ask_holders(folder, stack))
    if as_json:
        _print_json({"workers": [_holders_json(each, binds) for each in workers]})
        return
    if not workers:
        _print(report.no_workers(folder_of(current_app)))
    for name in binds if workers else []:
        _print(report.holders_table(name, workers, stack))


@pool_cli.command()
@_json
def check(as_json: bool) -> None:
    """Look for what is wrong; exit with 1 if something is."""
    settings = {name: each.settings for name, each in pools_of(current_app).items()}
    findings = list(run_checks(settings, lambda: _asked(ask_stats)))
    well = all(finding.verdict != "error" for finding in findings)
    if as_json:
        found = [finding.as_dict() for finding in findings]
        _print_json({"ok": well, "findings": found})
    else:
        _console().print(report.findings_table(findings))
    if not well:
        sys.exit(1)


@pool_cli.command()
@_bind
@_pid
@_json
def recycle(bind: str | None, pid: int | None, as_json: bool) -> None:
    """Retire all connections: idle ones now, others later."""
    _chosen(pools_of(current_app), bind)
    workers = _asked(lambda folder: ask_recycle(folder, bind, pid))
    _print_answers(workers, pid, as_json)


@pool_cli.command()
@click.argument("max_size", metavar="N", type=click.IntRange(min=1))
@_bind
@_pid
@_json
def resize(max_size: int, bind: str | None, pid: int | None, as_json: bool) -> None:
    """Let each worker have up to N connections.

    This lasts until the worker ends. MYSQLPOOL_MAX_SIZE is what the next one has.
    """
    _chosen(pools_of(current_app), bind)
    workers = _asked(lambda folder: ask_resize(folder, max_size, bind, pid))
    _print_answers(workers, pid, as_json)


def _print_answers(
    workers: list[Reply[dict[str, int]]], pid: int | None, as_json: bool
) -> None:
    """Print what each worker did; exit with 1 if one did not answer."""
    if pid is not None and not workers:
        raise click.BadParameter(
            f"no worker of this app that uses its pools has the process id {pid}:"
            " `flask pool stats` lists them",
            param_hint="--pid",
        )
    if as_json:
        _print_json({"workers": [_worker_json(each, each.binds) for each in workers]})
    elif not workers:
        _print(report.no_workers(folder_of(current_app)))
    elif any(worker.binds for worker in workers):
        _print(report.counts_table(workers))
    silent = report.silent(workers)
    for line in silent:
        _print(line, to_stderr=True)
    if silent:
        sys.exit(1)


@pool_cli.command()
@_json
def config(as_json: bool) -> None:
    """Show the settings in force, secrets masked."""
    binds = pools_of(current_app)
    settings = {name: pool.settings.masked() for name, pool in binds.items()}
    if as_json:
        _print_json(settings)
        return
    for name, values in settings.items():
        _console().print(report.settings_table(name, values))


def _chosen(pools: Collection[str], bind: str | None) -> list[str]:
    if bind is not None and bind not in pools:
        raise click.BadParameter(
            f"there is no bind {bind!r}, only {', '.join(map(repr, pools))}",
            param_hint="--bind",
        )
    return [bind] if bind is not None else list(pools)


def _asked(ask: Callable[[Path], list[Reply[_T]]]) -> list[Reply[_T]]:
    try:
        return ask(folder_of(current_app))
    except OSError as error:
        raise click.ClickException(f"the workers cannot be asked: {error}") from error


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
    click.echo(json.dumps(value, indent=2))


def _print(what: report.Sheet | Text, to_stderr: bool = False) -> None:
    _console(to_stderr).print(what, soft_wrap=True)


def _console(stderr: bool = False) -> Console:
    """Return where to print; what the terminal's encoding lacks becomes ``?``."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    return Console(stderr=stderr)
