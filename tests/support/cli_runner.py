"""``flask pool`` run in the tests' own process, which is a worker of the app, too."""

from __future__ import annotations

import json
import typing as t

import click.testing
import flask

PLAIN: dict[str, str | None] = dict.fromkeys(
    ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "CLICOLOR_FORCE")
)


def run(app: flask.Flask, *arguments: str, columns: int = 80) -> click.testing.Result:
    """Run ``flask pool``, and look at what any output must be like."""
    environment = PLAIN | {"COLUMNS": str(columns)}
    runner = app.test_cli_runner()
    result = runner.invoke(args=["pool", *arguments], env=environment)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    for line in result.output.splitlines():
        assert line == line.rstrip()
        assert "…" not in line and "\x1b" not in line
    return result


def run_json(app: flask.Flask, *arguments: str, status: int = 0) -> t.Any:
    result = run(app, *arguments, "--json")
    assert result.exit_code == status
    return json.loads(result.stdout)
