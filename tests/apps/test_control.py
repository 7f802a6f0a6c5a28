"""An app answers on a socket of its own, from its first checkout on."""

from __future__ import annotations

import logging
import os
import typing as t
from pathlib import Path

import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool.control.client import ask_stats
from flask_mysqlpool.control.runtime_dir import runtime_folder

from ..support.flask_apps import MakeApp
from ..support.runtime_folders import NOBODY
from ..support.runtime_folders import stand_in


def test_app_answers_from_its_first_checkout_on(
    base: Path, make_app: MakeApp, mysql_url: str
) -> None:
    app = make_app(runtime_dir=str(base), binds={"reports": {"max_size": 4}})
    folder = runtime_folder(str(base), app.name, app.root_path)
    assert ask_stats(folder) == []
    with app.app_context():
        get_db()
        get_db("reports")
        (worker,) = ask_stats(folder)
        assert len(list(folder.iterdir())) == 1
    assert worker.binds["default"].in_use == worker.binds["reports"].in_use == 1


@pytest.mark.parametrize("what", ["a file", "a link", "open to others"])
def test_worker_without_a_socket_goes_on_working(
    what: str, base: Path, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(runtime_dir=str(base))
    stand_in(runtime_folder(str(base), app.name, app.root_path), what)
    for _ in range(2):
        with app.app_context(), get_db().cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchall() == ((1,),)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("this process will not show in `flask pool`")
    assert str(base) in record.getMessage()


def test_folder_is_that_of_the_user_at_the_first_use(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, base: Path
) -> None:
    users: list[int] = []

    def find(*args: t.Any) -> Path:
        users.append(os.geteuid())
        return base / "shop"

    monkeypatch.setattr("flask_mysqlpool.extension.runtime_folder", find)
    app = make_app()
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with app.app_context():
        get_db()
    assert users[-1] == NOBODY
