"""A terminal for a command: what it writes, what stands on its screen, and its keys."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

SIZE = (24, 80)
_CODE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\r|\n")


class Terminal:
    """A command in a terminal of 80 columns and 24 lines."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self.written = ""

    def press(self, key: str) -> None:
        os.write(self._descriptor, key.encode())

    def read(self, until: t.Callable[[], t.Any], seconds: float = 20.0) -> None:
        """Read what is written until a condition holds."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, f"not within {seconds} s: {self.written!r}"
            if select.select([self._descriptor], [], [], 0.05)[0]:
                try:
                    self.written += os.read(self._descriptor, 65536).decode()
                except OSError:  # how Linux says that the other side has closed
                    return

    def end(self) -> int:
        """Read the rest; return the exit status."""
        self.read(lambda: self.process.poll() is not None)
        self.read(lambda: not select.select([self._descriptor], [], [], 0)[0])
        return self.process.wait(10)

    @property
    def screen(self) -> list[str]:
        """The lines that stand on the screen, for the few codes that rich writes to
        redraw: up, erase the line, colours.
        """
        lines, row, column, start = [""], 0, 0, 0
        for code in [*_CODE.finditer(self.written), None]:
            text = self.written[start : code.start() if code else None]
            lines[row] = (
                lines[row][:column].ljust(column)
                + text
                + (lines[row][column + len(text) :])
            )
            column += len(text)
            if code is None:
                break
            start = code.end()
            if code[0] == "\n":
                row += 1
                lines += [""] * (row == len(lines))
            elif code[0] == "\r":
                column = 0
            elif code[2] == "A":
                row -= int(code[1] or 1)
                assert row >= 0, "above the first line"
            elif code[2] == "K":
                lines[row] = ""
            else:
                assert code[2] in "mhl", f"an unknown code: {code[0]!r}"
        return lines


@contextlib.contextmanager
def terminal(
    command: list[str], folder: Path, environment: dict[str, str]
) -> Iterator[Terminal]:
    """Run a Python command line in a terminal of its own; end it with the block."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
    kept = {
        name: value
        for name, value in environment.items()
        if name not in ("COLUMNS", "LINES", "FORCE_COLOR")
    }
    script = (  # so that Ctrl-C reaches it
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        " os.execv(sys.executable, sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, sys.executable, *command],
        cwd=folder,
        env=kept | {"TERM": "xterm-256color"},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
