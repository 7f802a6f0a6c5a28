"""Real servers of an app: gunicorn, ``flask run`` and plain Python, and their end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import typing as t
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from flask_mysqlpool.control.client import ask_stats
from flask_mysqlpool.control.client import Reply
from flask_mysqlpool.control.runtime_dir import runtime_folder
from flask_mysqlpool.stats.readings import PoolStats

from .waiting import wait_until

APP = """
import os

from flask import Flask

from flask_mysqlpool import get_db
from flask_mysqlpool import MySQLPool


def create_app():
    app = Flask(__name__)
    app.config.from_prefixed_env()
    MySQLPool(app)

    @app.get("/pid")
    def pid():
        return str(os.getpid())

    @app.get("/")
    def use():
        with get_db().cursor() as cursor:
            cursor.execute("SELECT 1")
        return str(os.getpid())

    @app.get("/wait/<name>")
    def wait(name):
        with get_db().cursor() as cursor:
            cursor.execute("SELECT GET_LOCK(%s, 20)", (name,))
            cursor.execute("SELECT RELEASE_LOCK(%s)", (name,))
        return str(os.getpid())

    return app
"""
MODULE = (
    APP
    + """

app = create_app()

if __name__ == "__main__":
    app.run(port=0)
"""
)


class Site:
    """A folder with an app in it, and what runs and asks it.

    :param settings: of the pool, for all processes.
    """

    def __init__(self, folder: Path, name: str = "shop", **settings: t.Any) -> None:
        self.folder = folder
        self.name = name
        self.settings = settings
        (folder / f"{name}.py").write_text(MODULE)

    @property
    def runtime_folder(self) -> Path:
        base = self.settings.get("runtime_dir")
        return runtime_folder(base, self.name, str(self.folder))

    def environment(self, **settings: t.Any) -> dict[str, str]:
        """Return the variables of a process, with further settings in them."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FLASK_", "GUNICORN_", "MYSQLPOOL_", "WERKZEUG_"))
        }
        ours = {
            f"FLASK_MYSQLPOOL_{name.upper()}": str(value)
            for name, value in (self.settings | settings).items()
        }
        path = os.pathsep.join([str(self.folder), *filter(None, sys.path)])
        home = {"HOME": str(self.folder), "COLUMNS": "80", "PYTHONPATH": path}
        return kept | ours | home

    def workers(self) -> dict[int, Reply[PoolStats]]:
        """Return what each process says, by its pid."""
        return {worker.pid: worker for worker in ask_stats(self.runtime_folder)}

    def flask(
        self, *arguments: str, app: str = "", cwd: Path | None = None, **settings: t.Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a ``flask`` command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "flask", "--app", app or self.name, *arguments],
            cwd=cwd or self.folder,
            env=self.environment(**settings),
            capture_output=True,
            text=True,
            timeout=30,
        )

    def stats(self, *arguments: str, **options: t.Any) -> t.Any:
        """Return what ``flask pool stats --json`` prints."""
        done = self.flask("pool", "stats", "--json", *arguments, **options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def gunicorn(
        self, *options: str, app: str = "app"
    ) -> contextlib.AbstractContextManager[Server]:
        command = ["gunicorn", "--bind=127.0.0.1:0", *options, f"{self.name}:{app}"]
        return self.run("-m", *command)

    def flask_run(self, *options: str) -> contextlib.AbstractContextManager[Server]:
        command = ["flask", "--app", self.name, "run", "--port=0", *options]
        return self.run("-m", *command)

    @contextlib.contextmanager
    def run(self, *arguments: str, cwd: Path | None = None) -> Iterator[Server]:
        """Run a server until the block ends, and then end it, whatever it does."""
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=cwd or self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                yield Server(process, log)
            finally:
                end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and, as the leader of its session, all that it started."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Server:
    """A server process that answers on a port of its own choice."""

    def __init__(self, process: subprocess.Popen[bytes], log: t.TextIO) -> None:
        self.process = process
        self._log = log
        wait_until(self._listens, 20)
        wait_until(self._answers, 20)

    def get(self, path: str = "/") -> int:
        """Make a request; return the process that answered."""
        url = f"http://127.0.0.1:{self._port}{path}"
        with urllib.request.urlopen(url, timeout=20) as response:
            return int(response.read())

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.log())
        self._port = int(found[1]) if found else 0
        return found is not None

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log()
        try:
            return self.get("/pid") > 0
        except OSError:
            return False
