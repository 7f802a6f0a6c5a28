"""Which binds there are: those of the app's settings, and those that its workers have
loaded on demand.
"""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Iterable
from collections.abc import Iterator

import click
from flask import current_app

from ..context import pools_of
from ..control.client import Reply
from ..diagnostics.findings import Finding
from ..stats.readings import LOADED
from ..stats.text import printable


def configured() -> list[str]:
    """Return the binds of the settings."""
    return list(pools_of(current_app).configured)


def summed_up() -> list[str]:
    """Return what is shown as one pool: each bind of the settings, and all others."""
    return [*configured(), *[LOADED] * pools_of(current_app).loads]


def loaded(workers: Iterable[Reply[t.Any]]) -> list[str]:
    """Return the binds that workers have loaded."""
    names = {name for worker in workers for name in worker.binds}
    return sorted(names - {*summed_up()}) if pools_of(current_app).loads else []


def if_loaded(bind: str | None) -> str | None:
    """Return the bind if it can only be a loaded one, else ``None``.

    :raise click.BadParameter: there is no such bind, and none can be loaded.
    """
    if bind is None or bind in summed_up():
        return None
    if not pools_of(current_app).loads:
        raise _no_such_bind(bind)
    return bind


def select(bind: str | None, workers: Iterable[Reply[t.Any]]) -> list[str]:
    """Return all binds, or only one.

    :raise click.BadParameter: there is no such bind.
    """
    known = [*configured(), *loaded(workers)]
    if bind is None:
        return known
    if bind not in (*known, *summed_up()):
        raise _no_such_bind(bind)
    return [bind]


def _no_such_bind(bind: str) -> click.BadParameter:
    loads = pools_of(current_app).loads
    return click.BadParameter(
        f"there is no bind {bind!r}, only {', '.join(map(repr, configured()))}"
        f"{', and no worker has loaded it' if loads else ''}",
        param_hint="--bind",
    )


def settings_of(
    binds: Iterable[str],
) -> tuple[dict[str, t.Any], dict[str, Exception]]:
    """Return the settings of the binds, and the errors of the ``bind_loader``, which is
    asked for those that workers have loaded.
    """
    pools = pools_of(current_app)
    settings: dict[str, t.Any] = {}
    errors: dict[str, Exception] = {}
    for name in binds:
        try:
            settings[name] = pools[name].settings
        except Exception as error:  # of the app's own function
            errors[name] = error
    return settings, errors


def loader_findings(errors: dict[str, Exception]) -> Iterator[Finding]:
    for name, error in errors.items():
        text = printable(f"its settings cannot be had: {error}")
        change = "the workers keep their pools of it until these are closed"
        yield Finding([name], "bind_loader", "error", text, change)


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding for all loaded binds of which the same was found."""
    known = configured()
    kept: dict[t.Any, Finding] = {}
    for number, each in enumerate(findings):
        alone = len(each.binds) > 1 or each.binds[0] in known
        key = number if alone else (each.check, each.verdict, each.text, each.change)
        binds = kept[key].binds if key in kept else []
        kept[key] = dataclasses.replace(each, binds=binds + each.binds)
    return list(kept.values())
