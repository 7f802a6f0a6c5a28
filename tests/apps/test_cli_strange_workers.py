"""``flask pool`` where something else answers on a worker's socket, or nobody does."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path

import flask
import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool.context import folder_of
from flask_mysqlpool.control import client
from flask_mysqlpool.control.runtime_dir import make_private
from flask_mysqlpool.stats.readings import PoolStats

from ..support.cli_runner import run
from ..support.control_workers import impostor
from ..support.flask_apps import MakeApp
from ..support.runtime_folders import short_folder

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


# Nobody


@pytest.mark.parametrize("command", ["recycle", "resize 3", "check"])
def test_what_nobody_answered_is_unknown_and_a_failure(
    app: flask.Flask, command: str
) -> None:
    text = run(app, *command.split(), columns=1000)
    as_json = run(app, *command.split(), "--json")
    assert text.exit_code == as_json.exit_code == 1
    for result in (text, as_json):
        assert "No worker of this app is using its pools (looked in " in result.stderr
        assert str(folder_of(app)) in result.stderr
        assert "nknown" in result.output
    answer = json.loads(as_json.stdout)
    if command != "check":
        assert answer == {"workers": []}
        return
    assert answer["ok"] is False
    verdicts = {each["check"]: each["verdict"] for each in answer["findings"]}
    assert verdicts["connect"] == "ok"
    for check in ("workers", "exhausted", "leaks"):
        assert verdicts[check] == "unknown"


@pytest.mark.parametrize("command", ["stats", "who", "recycle", "resize 3", "check"])
def test_workers_in_other_folders_of_this_user_are_named(
    app: flask.Flask,
    command: str,
    base: Path,
    make_app: MakeApp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near = base / "near"
    with short_folder() as usual, contextlib.ExitStack() as stack:
        monkeypatch.setattr(client, "default_base", lambda: usual)
        far = usual / "far"
        for folder, pid in ((near, 901), (near, 902), (far, 903)):
            make_private(folder)
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(folder / f"{pid}.0.sock"))
            listener.listen()
        for folder in (base / "dead", base / "open", base / "empty"):
            make_private(folder)
        for folder in (base / "dead", base / "open"):
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(folder / "904.0.sock"))
        (base / "open").chmod(0o755)
        (base / "file").touch()
        (base / "link").symlink_to(near)
        result = run(app, *command.split(), columns=1000)
    lines = [
        line for line in result.output.splitlines() if ": is that this app" in line
    ]
    assert sorted(line.partition(":")[0] for line in lines) == [
        f"1 worker is in {far}",
        f"2 workers are in {near}",
    ]
