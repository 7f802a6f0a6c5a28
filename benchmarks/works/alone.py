"""Measuring in a process of its own, where no other contender has been before."""

from __future__ import annotations

import json
import subprocess
import sys

from ..contenders import Arguments


def alone(module: str, *words: str, arguments: Arguments) -> list[float]:
    """Run a module of ours and return the numbers that it prints as JSON.

    :param words: its command line.
    :param arguments: how to connect; not on the command line, which others can see.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        input=json.dumps(arguments),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    numbers: list[float] = json.loads(done.stdout)
    return numbers
