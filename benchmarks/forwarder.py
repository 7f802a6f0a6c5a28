"""A longer way to the server: a C program that forwards each chunk a fixed time after
it was read. It is compiled at each run, and runs on Linux.

To open a connection through it costs no round trip, unlike on a real line: who connects
for each request looks a little better than it is.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import ExitStack
from pathlib import Path

SOURCE = Path(__file__).with_name("forwarder.c")


class ForwarderError(RuntimeError):
    """The forwarder cannot be compiled, or does not start."""


@contextmanager
def forward(where: tuple[str, str], delay: float) -> Iterator[int]:
    """Forward a free port of 127.0.0.1 to a server; yield the port.

    :param where: the server's host and port, or the path of its Unix socket and ``-``.
    :param delay: seconds each way.
    :raise ForwarderError: there is no C compiler, or the forwarder does not start.
    """
    with ExitStack() as stack:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, "forwarder")
            _compile(program)
            process = stack.enter_context(
                subprocess.Popen(
                    [program, *where, str(round(delay * 1_000_000))],
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
            raise ForwarderError("the forwarder did not start: see above")
        yield int(line)


def _compile(program: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise ForwarderError(
            "no C compiler (cc) on this machine; on Debian: apt-get install"
            " --no-install-recommends gcc libc6-dev"
        )
    command = [compiler, "-O2", "-o", str(program), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ForwarderError(f"cc cannot compile {SOURCE}:\n{done.stderr}")
