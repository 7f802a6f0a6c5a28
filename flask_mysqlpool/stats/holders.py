"""Who holds a connection, where it was taken and where its holder stands now.

The rule of this room: it reads what is there, when it is asked; a checkout only notes
the code that it came from.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import sysconfig
import threading
import typing as t
from collections.abc import Iterable
from types import CodeType
from types import FrameType

Spot = tuple[CodeType, int]  # and the instruction in it

DEEPEST_STACK = 200  # frames that are looked at

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARIES = tuple(
    os.path.abspath(path) + os.sep
    for name, path in sysconfig.get_paths().items()
    if name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_STARTED_IN = os.path.abspath(os.curdir)  # later it may be gone
_DEBIAN = f"{os.sep}dist-packages{os.sep}"


@dataclasses.dataclass(frozen=True)
class Holder:
    """A connection that is lent, and who holds it.

    ``holder`` is the endpoint with its method, the command, or what
    ``pool.connection()`` was told. ``statement`` is the last one that was executed,
    without the values in it. The stacks have the application's frames only, outermost
    first; ``stands`` is empty where it is not known.
    """

    seconds: float
    holder: str
    thread: str
    statement: str
    in_transaction: bool
    connection_id: int  # at the server, as in SHOW PROCESSLIST
    taken: list[str]
    stands: list[str]

    def as_dict(self) -> dict[str, t.Any]:
        return dataclasses.asdict(self) | {"seconds": round(self.seconds, 6)}

    @classmethod
    def unpack(cls, packed: dict[str, t.Any]) -> Holder:
        return cls(**{f.name: packed[f.name] for f in dataclasses.fields(cls)})


def spots(
    frame: FrameType | None, most: int = DEEPEST_STACK, end: CodeType | None = None
) -> tuple[Spot, ...]:
    """Return where a frame and those that called it stand, innermost first.

    :param end: the code whose frame is not of interest any more.
    """
    found: list[Spot] = []
    for _ in range(most):
        if frame is None or (code := frame.f_code) is end:
            break
        found.append((code, frame.f_lasti))
        frame = frame.f_back
    return tuple(found)


def described(stack: Iterable[Spot]) -> list[str]:
    """Return the application's frames of a stack in words, outermost first; all where
    none is the application's.
    """
    stack = list(stack)
    ours = [spot for spot in stack if _is_of_application(spot[0].co_filename)]
    return [_in_words(spot) for spot in reversed(ours or stack)]


def standing(thread: threading.Thread | None) -> list[str]:
    """Return where a thread stands now, in words; nothing where it has ended, and
    where that is not known, as of a greenlet.
    """
    if thread is None or not thread.is_alive():
        return []
    return described(spots(sys._current_frames().get(t.cast(int, thread.ident))))


def thread_name(thread: threading.Thread | None) -> str:
    """Return the name of a thread, and whether it has ended."""
    if thread is None:
        return "unknown"
    return thread.name if thread.is_alive() else f"{thread.name} (ended)"


def _is_of_application(path: str) -> bool:
    if path.startswith("<"):  # of no file
        return False
    path = os.path.join(_STARTED_IN, path)
    return not path.startswith((_PACKAGE, *_LIBRARIES)) and _DEBIAN not in path


def _in_words(spot: Spot) -> str:
    code, instruction = spot
    path = code.co_filename
    inside = os.path.join(_STARTED_IN, "")
    if path.startswith(inside):
        path = path[len(inside) :]
    return f"{path}:{_line(code, instruction)} in {code.co_name}"


def _line(code: CodeType, instruction: int) -> int:
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= instruction < end and number is not None:
            line = number
    return line
