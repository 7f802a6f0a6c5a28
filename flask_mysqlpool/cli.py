"""The command line: ``flask pool``."""

from __future__ import annotations

import concurrent.futures
import json
import sys
import typing as t
from pathlib import Path

import click
from flask import current_app
from flask.cli import AppGroup
from rich.console import Console

from . import report
from .context import EXTENSION
from .control import ask_workers
from .control import merged
from .control import Pools
from .control import runtime_folder
from .control import Worker
from .doctor import examine
from .doctor import view_server
from .stats import PoolStats

pool_cli = AppGroup("pool", help="Show the connection pools of the running workers.")

_json = click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")


@pool_cli.command()
@click.option("--bind", metavar="NAME", help="Show this bind only.")
@_json
def stats(bind: str | None, as_json: bool) -> None:
    """Show every running worker of this app, the total, and the server's view."""
    pools = _pools()
    binds = _chosen(pools, bind)
    workers = _workers()
    merged_by_bind = merged(workers)
    totals = {name: merged_by_bind.get(name, PoolStats()) for name in binds}
    servers = _servers(pools, binds)
    if as_json:
        _print_json(
            {
                "workers": [_worker_json(worker, binds) for worker in workers],
                "totals": {name: total.as_dict() for name, total in totals.items()},
                "server": servers,
            }
        )
    else:
        _print_stats(workers, totals, servers)
    if any("error" in view for view in servers.values()):
        sys.exit(1)


def _print_stats(
    workers: list[Worker],
    totals: dict[str, PoolStats],
    servers: dict[str, dict[str, t.Any]],
) -> None:
    console = Console()
    if not workers:
        console.print(report.no_workers(_folder()), highlight=False, soft_wrap=True)
    for name, total in totals.items():
        if workers:
            table = report.workers_table(name, workers, total)
            console.print(table, soft_wrap=True)
        error = "error" in servers[name]
        line = report.server_line(name, servers[name])
        Console(stderr=error).print(line, soft_wrap=True)


@pool_cli.command()
@_json
def check(as_json: bool) -> None:
    """Look for what is wrong; exit with status 1 if something is."""
    settings = {name: pool.settings for name, pool in _pools().items()}
    findings = list(examine(settings, merged(_workers())))
    well = all(finding.verdict != "error" for finding in findings)
    if as_json:
        _print_json({"ok": well, "findings": [vars(finding) for finding in findings]})
    else:
        Console().print(report.findings_table(findings))
    if not well:
        sys.exit(1)


@pool_cli.command()
@_json
def config(as_json: bool) -> None:
    """Show the settings in force, secrets masked."""
    settings = {name: pool.settings.masked() for name, pool in _pools().items()}
    if as_json:
        _print_json(settings)
        return
    for name, values in settings.items():
        Console().print(report.settings_table(name, values))


def _pools() -> Pools:
    return t.cast(Pools, current_app.extensions[EXTENSION])


def _chosen(pools: Pools, bind: str | None) -> list[str]:
    if bind is not None and bind not in pools:
        raise click.BadParameter(
            f"there is no bind {bind!r}, only {', '.join(map(repr, pools))}",
            param_hint="--bind",
        )
    return [bind] if bind is not None else list(pools)


def _folder() -> Path:
    settings = _pools()["default"].settings
    return runtime_folder(settings.runtime_dir, current_app.name, current_app.root_path)


def _workers() -> list[Worker]:
    try:
        return ask_workers(_folder())
    except OSError as error:
        raise click.ClickException(f"the workers cannot be asked: {error}") from error


def _servers(pools: Pools, binds: list[str]) -> dict[str, dict[str, t.Any]]:
    """Return what each bind's server says, or why it says nothing."""

    def view(name: str) -> dict[str, t.Any]:
        try:
            return view_server(pools[name].settings).as_dict()
        except Exception as error:  # a password callable may raise anything
            return {"error": f"cannot be reached: {error}"}

    with concurrent.futures.ThreadPoolExecutor(len(binds)) as executor:
        return dict(zip(binds, executor.map(view, binds), strict=True))


def _worker_json(worker: Worker, binds: list[str]) -> dict[str, t.Any]:
    readings = {
        name: reading.as_dict()
        for name, reading in worker.binds.items()
        if name in binds
    }
    answer: dict[str, t.Any] = {"pid": worker.pid, "binds": readings}
    return answer | {"error": worker.error} if worker.error else answer


def _print_json(value: t.Any) -> None:
    click.echo(json.dumps(value, indent=2))
