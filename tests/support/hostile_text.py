"""Text that is written to do harm where it is shown, and a worker that answers it."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import typing as t
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from flask_mysqlpool.control.runtime_dir import make_private
from flask_mysqlpool.stats.holders import Holder
from flask_mysqlpool.stats.readings import PoolStats

# A link, a title and a colour for the terminal, two lines of its own in the log, a text
# in reverse, half a character, and rich's markup.
HOSTILE = (
    "\x1b]8;;http://evil/\x07here\x1b]8;;\x07\x1b]0;title\x07\x9b31m\r\nFORGED 1\n"
    "FORGED 2\x00\x08\x7f\x85\u2028FORGED 3\u202ereverse\u2066\ufeff\ud83d"
    "[red]a[/red][link=http://evil/]b[/link]"
)
MARKUP = "[red]a[/red][link=http://evil/]b[/link]"
_COLOURS = re.compile(r"\x1b\[[\d;]*m")  # of rich's own


def assert_harmless(text: str, colours: bool = False) -> None:
    """Check that a text has nothing that a terminal or a log obeys, and that no line of
    it is another's.
    """
    text = _COLOURS.sub("", text) if colours else text
    found = {
        hex(ord(each))
        for each in text
        if each != "\n" and unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }
    assert not found, f"{found} in {text!r}"
    assert not [line for line in text.splitlines() if line.startswith("FORGED")]


def strings(value: t.Any) -> Iterator[str]:
    """Yield each text in what was read from JSON, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)


def hostile_reading(endpoint: str = HOSTILE) -> dict[str, t.Any]:
    packed = PoolStats(size=1, in_use=1, max_size=1).pack()
    one = {"counts": {"60": 1}, "max": 0.1}
    packed["closed"] = {HOSTILE: 1}
    packed["endpoints"] = {
        endpoint: {
            "checkouts": 1,
            "timeouts": 0,
            "wait_seconds": one,
            "use_seconds": one,
        }
    }
    return packed


def hostile_holder() -> dict[str, t.Any]:
    stack = [HOSTILE, HOSTILE]
    return Holder(1.0, HOSTILE, HOSTILE, HOSTILE, True, 7, stack, stack).as_dict()


ANSWERS: dict[str, t.Any] = {
    "stats": {"default": hostile_reading()},
    "who": {"default": [hostile_holder()]},
    "snapshot": {
        "default": {"stats": hostile_reading(), "holders": [hostile_holder()]}
    },
    "recycle": {"default": {HOSTILE: 1, MARKUP: 1}},
    "resize": {"default": {HOSTILE: 1, MARKUP: 1}},
}


@contextlib.contextmanager
def hostile_worker(folder: Path, error: bool = False, pid: int = 999) -> Iterator[None]:
    """A process that answers each question, or fails, with :data:`HOSTILE`."""
    make_private(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        path = folder / f"{pid}.0.sock"
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    asker, _ = listener.accept()
                except OSError:
                    return
                with asker, contextlib.suppress(OSError, ValueError):
                    asker.settimeout(5)
                    command = json.loads(asker.makefile().readline())["command"]
                    answer = (
                        {"error": HOSTILE} if error else {"binds": ANSWERS[command]}
                    )
                    asker.sendall(json.dumps(answer).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            path.unlink(missing_ok=True)
