"""Run the commands that the pages show; keep what they print in ``captured/``.

Once by hand, before a release: ``.venv/bin/python docs/capture.py``. Building the pages
needs no server. The private server's address and the folders of this machine are
replaced by those that the pages speak of.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from flask_mysqlpool.testing import PrivateServer

DOCS = Path(__file__).resolve().parent
CAPTURED = DOCS / "captured"
URL = "mysql://app:secret@127.0.0.1/bank"
SITE = "http://127.0.0.1:5000"
STATS = "flask --app example_app pool stats"
GUNICORN = "gunicorn --workers=2 --threads=4 --log-level=warning --no-control-socket"


class Shell:
    """Runs commands as the pages show them, in one folder and environment."""

    def __init__(self, folder: Path, url: str, **variables: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._folder = folder
        self._shown_as = {
            url: URL,
            url.rpartition(":")[2].partition("/")[0]: "3306",
            f":{self.port}": ":5000",
        }
        self._environment = {
            **os.environ,
            **variables,
            "COLUMNS": "80",
            "FLASK_MYSQLPOOL_URL": url,
            "FLASK_RUN_PORT": str(self.port),
            "GUNICORN_CMD_ARGS": f"--bind=127.0.0.1:{self.port}",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def keep(self, name: str, *commands: str) -> None:
        """Write the commands and what they print to ``captured/<name>.txt``."""
        text = "\n".join(self.show(command) for command in commands)
        (CAPTURED / f"{name}.txt").write_text(text)

    def show(self, command: str) -> str:
        done = subprocess.run(
            command.replace(":5000", f":{self.port}"),
            shell=True,
            cwd=self._folder,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output = done.stdout
        for actual, shown in self._shown_as.items():
            output = output.replace(actual, shown)
        lines = [line.rstrip() for line in output.strip().splitlines()]
        return "\n".join([f"$ {command}", *lines, ""])

    @contextmanager
    def serving(self, command: str) -> Iterator[None]:
        """Run an app until the block ends; wait for its first answer."""
        server = subprocess.Popen(
            shlex.split(command),
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # flask run logs each request
        )
        try:
            while not self.get("/"):
                if server.poll() is not None:
                    sys.exit(f"{command} ended with status {server.returncode}")
                time.sleep(0.1)
            yield
        finally:
            server.terminate()
            server.wait(30)

    def get(self, path: str) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}").close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True


def capture_bank(url: str) -> None:
    bank = Shell(DOCS.parent, url, FLASK_MYSQLPOOL_MAX_SIZE="3")
    bank.keep("help", "flask --app example_app pool --help")
    bank.keep("idle", STATS)
    bank.keep("init-db", "flask --app example_app init-db")
    with bank.serving(f"{GUNICORN} example_app:create_app()"):
        with ThreadPoolExecutor(8) as visitors:
            list(visitors.map(bank.get, ["/", "/accounts/1"] * 400))
            slow = visitors.map(bank.get, ["/slow?seconds=0.4"] * 40)
            time.sleep(1.3)  # look in the middle of it
            bank.keep("stats", STATS)
            bank.keep("stats-json", f"{STATS} --json")
            list(slow)
        bank.keep("check", "flask --app example_app pool check")


def capture_config(url: str) -> None:
    variables = {
        "FLASK_MYSQLPOOL_MAX_SIZE": "20",
        "FLASK_MYSQLPOOL_BINDS": '{"reports": {"host": "replica", "max_size": 4}}',
    }
    shown = {"FLASK_MYSQLPOOL_URL": URL} | variables
    exports = [f"$ export {name}={shlex.quote(shown[name])}\n" for name in shown]
    config = Shell(DOCS.parent, url, **variables)
    output = config.show("flask --app example_app pool config")
    (CAPTURED / "config.txt").write_text("".join(exports) + output)


def capture_quickstart(url: str) -> None:
    page = (DOCS / "quickstart.rst").read_text()
    code = re.findall(r"code-block:: python\n\n((?:   .*\n|\n)+)", page)[0]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(textwrap.dedent(code))
        app = Shell(Path(folder), url)
        shown = [f"$ export FLASK_MYSQLPOOL_URL={URL}", app.show("flask init-db")]
        with app.serving("flask run"):
            shown.append("$ flask run\n")
            shown.append(app.show(f"curl --silent {SITE}/accounts"))
            shown.append(app.show(f"curl --silent --data amount=30 {SITE}/transfers"))
            shown.append(app.show(f"curl --silent {SITE}/accounts"))
    (CAPTURED / "quickstart.txt").write_text("\n".join(shown))


def main() -> None:
    with PrivateServer() as server:
        url = server.url("bank")
        capture_bank(url)
        capture_config(url)
        capture_quickstart(server.url("quickstart"))
    without_server = Shell(DOCS.parent, url)
    without_server.keep("down", STATS, "flask --app example_app pool check")
    readme = DOCS.parent / "README.md"
    block = f"```console\n{(CAPTURED / 'stats.txt').read_text()}```"
    text = re.sub("(?s)```console\n.*?```", lambda _: block, readme.read_text())
    readme.write_text(text)


if __name__ == "__main__":
    main()
