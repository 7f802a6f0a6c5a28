"""``flask`` prints what is wrong with a setting in one line; elsewhere the same error
has its traceback.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from flask_mysqlpool import ConfigError

SECRET = "hunter2"
SAID = "MYSQLPOOL_PORT must be a whole number from 1 to 65535"
APP = """\
import flask
from flask_mysqlpool import MySQLPool


def create_app():
    app = flask.Flask("shop")
    app.config.from_prefixed_env()
    MySQLPool(app)
    return app


{}
"""
TOP = Path(__file__).parents[2]


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={
            **os.environ,
            "FLASK_MYSQLPOOL_URL": f"mysql://app:{SECRET}@db/bank",
            "FLASK_MYSQLPOOL_PORT": SECRET,
            "PYTHONPATH": str(TOP),
        },
        text=True,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize("made", ["app = create_app()", ""], ids=["module", "factory"])
@pytest.mark.parametrize(
    "command",
    ["pool stats", "pool check", "pool --help", "run", "--debug run", "shell"],
)
def test_wrong_setting_is_one_line(command: str, made: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP.format(made))
    done = run_python(tmp_path, "-m", "flask", "--app", "shop", *command.split())
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"Error: {SAID}\n"


def test_wrong_setting_has_a_traceback_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP.format("app = create_app()"))
    done = run_python(tmp_path, "-c", "import shop")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith(f"\nflask_mysqlpool.errors.ConfigError: {SAID}\n")
    assert SECRET not in done.stderr


def test_error_of_a_setting_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(ConfigError(SAID)))
    assert isinstance(error, ValueError)
    assert str(error) == SAID
