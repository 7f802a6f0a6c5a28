"""Row H: whole requests, of a Flask app under gunicorn with wrk in front of it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..contenders import Contender
from ..figures import COMMANDS
from ..figures import RATE
from ..figures import Reading
from ..site import Site
from ..site import unparse
from . import app
from .rows import Measure

TOP = Path(__file__).resolve().parents[2]
CLIENTS = 16
ENDING = 10.0  # seconds that gunicorn may take to end


def obstacle(site: Site) -> str:
    if shutil.which("wrk") is None:
        return "wrk was not found: install it (Debian's package has the same name)"
    if find_spec("gunicorn") is None:
        return "gunicorn was not found: pip install gunicorn"
    return ""


@dataclass(frozen=True)
class Web:
    """One gunicorn worker with as many threads as there are clients."""

    far: bool

    @contextmanager
    def __call__(self, site: Site, entrant: type[Contender]) -> Iterator[Measure]:
        name = entrant.__module__.rpartition(".")[2]
        with serve(name, unparse(site.arguments(self.far))) as port:
            load(port, 1)  # opens the connections

            def measure(seconds: float) -> Reading:
                before = site.counts()
                count, rate = load(port, max(1, round(seconds)))
                commands = site.counts() - before - 1
                return {RATE: rate, COMMANDS: commands / count}

            yield measure


@contextmanager
def serve(name: str, url: str) -> Iterator[int]:
    """Run the app under gunicorn; yield its port, which takes connections already."""
    command = [sys.executable, "-m", "gunicorn", "--worker-class=gthread"]
    command += ["--workers=1", f"--threads={app.THREADS}", "--log-level=warning"]
    command += ["--no-control-socket"]
    command += [f"{app.__name__}:create_app()"]
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        number = listener.fileno()
        gunicorn = subprocess.Popen(
            [*command, f"--bind=fd://{number}"],
            cwd=TOP,
            env=os.environ | {app.NAME: name, app.URL: url},
            pass_fds=[number],
            start_new_session=True,  # a terminal's Ctrl-C is for us: we end it
        )
        stack.callback(_end, gunicorn)
        yield listener.getsockname()[1]


def load(port: int, seconds: int) -> tuple[int, float]:
    """Have wrk ask for that long; return how many requests, and how many a second."""
    command = ["wrk", "--threads=1", f"--connections={CLIENTS}", "--timeout=10s"]
    command += [f"--duration={seconds}s", f"http://127.0.0.1:{port}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if trouble := re.search(r"(Non-2xx|Socket errors).*", done.stdout):
        raise RuntimeError(f"wrk: {trouble[0]}")
    count = re.search(r"(\d+) requests in", done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if count is None or rate is None:
        raise RuntimeError(f"wrk printed something unknown:\n{done.stdout}")
    return int(count[1]), float(rate[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
