"""A longer way to the server: a program that forwards every chunk a fixed time after
it was read. It is compiled from C where there is a compiler, since it shares the
processor with the load; else it is ``slow_forwarder``.

A connection costs it nothing to open, unlike on a line: who connects anew looks a
little better than it is.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import ExitStack
from pathlib import Path

SOURCE = Path(__file__).with_name("forwarder.c")
SLOW = [sys.executable, "-m", "benchmarks.slow_forwarder"]


@contextmanager
def forward(where: tuple[str, str], delay: float) -> Iterator[tuple[int, str]]:
    """Forward a free port of 127.0.0.1 to a server; yield the port and by what.

    :param where: the server's host and port, or the path of its Unix socket and ``-``.
    :param delay: seconds each way.
    """
    words = [*where, str(round(delay * 1_000_000))]
    with ExitStack() as stack:
        with tempfile.TemporaryDirectory() as folder:
            program = _compile(Path(folder, "forwarder"))
            process = stack.enter_context(
                subprocess.Popen(
                    [*(program or SLOW), *words],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    start_new_session=True,  # a terminal's Ctrl-C is for us: we end it
                )
            )
            assert process.stdin and process.stdout
            stack.callback(process.stdin.close)  # tells it to end
            line = process.stdout.readline()
        if not line:
            raise RuntimeError("the forwarder did not start: see above")
        yield int(line), "in C" if program else "in Python: too slow for this"


def _compile(target: Path) -> list[str] | None:
    """Return how to run what was compiled, nothing where that is not possible."""
    compiler = shutil.which("cc")
    if compiler is None:
        print("no C compiler (cc) found: forwarding in Python", file=sys.stderr)
        return None
    command = [compiler, "-O2", "-o", str(target), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"{done.stderr}cc failed: forwarding in Python", file=sys.stderr)
        return None
    return [str(target)]
