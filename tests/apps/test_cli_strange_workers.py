"""``flask pool`` where something else answers on a worker's socket, or nobody does."""

from __future__ import annotations

import json
from pathlib import Path

import flask
import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool.context import folder_of
from flask_mysqlpool.stats.readings import PoolStats

from ..support.cli_runner import run
from ..support.control_workers import impostor
from ..support.flask_apps import MakeApp

WRONG = {"binds": {"default": PoolStats().pack() | {"size": "x", "max_size": None}}}
RUBBISH = [b"", b"}\n", json.dumps(WRONG).encode() + b"\n", b"[" * 2**22]


@pytest.fixture
def app(base: Path, make_app: MakeApp) -> flask.Flask:
    return make_app(runtime_dir=str(base))


@pytest.mark.parametrize(
    "said", RUBBISH, ids=["nothing", "no JSON", "types", "endless"]
)
@pytest.mark.parametrize(
    ("command", "status"),
    [("stats", 0), ("who", 0), ("check", 1), ("recycle", 1), ("resize 5", 1)],
)
def test_rubbish_is_a_line_and_the_others_are_shown(
    app: flask.Flask, said: bytes, command: str, status: int
) -> None:
    complaint = "orker 999: answered rubbish"
    if not said:
        complaint = "orker 999 is not answering"
    with app.app_context():
        get_db()
        with impostor(folder_of(app), said):
            text = run(app, *command.split(), columns=1000)
        with impostor(folder_of(app), said):
            as_json = run(app, *command.split(), "--json")
    assert text.exit_code == as_json.exit_code == status
    lines = [line for line in text.output.splitlines() if complaint in line]
    assert len(lines) == 1, text.output
    answer = json.loads(as_json.stdout)
    if command == "check":
        (finding,) = [f for f in answer["findings"] if f["verdict"] == "error"]
        assert complaint in finding["text"]
    else:
        strange, own = sorted(
            answer["workers"], key=lambda worker: worker["pid"] != 999
        )
        assert strange["binds"] == {} and strange["error"] in lines[0]
        assert own["binds"]["default"]
