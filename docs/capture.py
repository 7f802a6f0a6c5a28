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
import threading
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
POOL = "flask --app example_app pool"
STATS = f"{POOL} stats"
RUNTIME_DIR = "FLASK_MYSQLPOOL_RUNTIME_DIR"  # keeps other people's workers out
REDRAWN = re.compile(r"\x1b\[\d*[AK]")  # a line up, a line erased
STYLE = re.compile(r"\x1b\[[\d;?]*[hlm]")
GUNICORN = "gunicorn --workers=2 --threads=5 --log-level=warning --no-control-socket"


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
            variables.get(RUNTIME_DIR, ""): f"/tmp/flask-mysqlpool-{os.geteuid()}",
        }
        self._shown_as.pop("", None)
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
        return self._shown(command, done.stdout)

    def keep_screen(self, name: str, command: str, seconds: int) -> None:
        """Write what stands on a terminal that was interrupted after a while."""
        typed = f"timeout --signal=INT {seconds} {command}"
        output = self.show(f"script --quiet --command '{typed}' /dev/null")
        screen = STYLE.sub("", REDRAWN.split(output)[-1])
        (CAPTURED / f"{name}.txt").write_text(self._shown(command, screen))

    def _shown(self, command: str, output: str) -> str:
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

    @contextmanager
    def visited(self) -> Iterator[None]:
        """Let eight visitors come again and again until the block ends."""
        over = threading.Event()

        def visit(path: str) -> None:
            while not over.wait(0.02):
                self.get(path)

        paths = ["/", "/accounts/1"] + ["/slow?seconds=0.4"] * 6
        with ThreadPoolExecutor(len(paths)) as visitors:
            visits = visitors.map(visit, paths)
            try:
                yield
            finally:
                over.set()
        list(visits)

    def get(self, path: str) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}").close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True


def capture_bank(url: str, runtime_dir: str) -> None:
    variables = {RUNTIME_DIR: runtime_dir, "FLASK_MYSQLPOOL_MAX_SIZE": "3"}
    bank = Shell(DOCS.parent, url, **variables)
    bank.keep("help", f"{POOL} --help")
    bank.keep("idle", STATS)
    bank.keep("init-db", "flask --app example_app init-db")
    with bank.serving(f"{GUNICORN} example_app:create_app()"), bank.visited():
        time.sleep(2)  # look in the middle of it
        bank.keep("stats", STATS)
        bank.keep("stats-json", f"{STATS} --json")
        bank.keep("endpoints", f"{STATS} --endpoints")
        bank.keep_screen("watch", f"{STATS} --watch", seconds=20)
        bank.keep("watch-plain", f"{STATS} --watch | head -10")
        bank.keep("who", f"{POOL} who")
        bank.keep("who-stack", f"{POOL} who --stack")
        bank.keep("who-json", f"{POOL} who --json")
        bank.keep("check", f"{POOL} check")
        bank.keep("recycle", f"{POOL} recycle")
        bank.keep("resize", f"{POOL} resize 4")


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
    with PrivateServer() as server, tempfile.TemporaryDirectory("mp") as runtime_dir:
        url = server.url("bank")
        capture_bank(url, runtime_dir)
        capture_config(url)
        capture_quickstart(server.url("quickstart"))
        server.stop()
        without_server = Shell(DOCS.parent, url, **{RUNTIME_DIR: runtime_dir})
        without_server.keep("down", STATS, f"{POOL} check")
    readme = DOCS.parent / "README.md"
    block = f"```console\n{(CAPTURED / 'stats.txt').read_text()}```"
    text = re.sub("(?s)```console\n.*?```", lambda _: block, readme.read_text())
    readme.write_text(text)


if __name__ == "__main__":
    main()
