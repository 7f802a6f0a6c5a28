"""A Python process that the tests interrupt by signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

from .interrupted_sockets import plan as plan
from .waiting import wait_until

# Real signals, real greenlets


class InterruptedProcess:
    """A Python process that runs ``tests.support.interrupted_script``."""

    def __init__(self, *arguments: str) -> None:
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.interrupted_script", *arguments],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> InterruptedProcess:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        self.process.communicate()

    def await_line(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{line}\n"

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def interrupt(self) -> None:
        """Send SIGINT when the main thread waits for something."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S")
        self.process.send_signal(signal.SIGINT)

    def report(self) -> dict[str, t.Any]:
        output, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors
        report: dict[str, t.Any] = json.loads(output)
        return report
