"""Who holds a connection, where it was checked out, and the holder's current stack.

A checkout only keeps code objects and instruction numbers. Text is made of them when
somebody asks.
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

from . import received
from .text import printable

StackEntry = tuple[CodeType, int]  # a frame's code, and its current instruction

MAX_FRAMES = 200  # of a stack that is captured

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARIES = tuple(
    os.path.abspath(path) + os.sep
    for name, path in sysconfig.get_paths().items()
    if name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_STARTED_IN = os.path.abspath(os.curdir)  # it may be deleted later
_DEBIAN = f"{os.sep}dist-packages{os.sep}"


@dataclasses.dataclass(frozen=True)
class Holder:
    """A connection that is checked out, and who holds it.

    ``holder`` is the endpoint with its method, the command, or the ``holder`` that was
    passed to ``pool.connection()``. ``statement`` is the last one that was executed,
    with its parameters as ``%s`` and without the values in it. ``taken`` is the stack
    of the checkout, ``stands`` the holder's current stack, empty if it was not asked
    for or is not known. Both have the application's frames only, outermost first.
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
        """Return what another process sent.

        :raise AttributeError, LookupError, TypeError, ValueError: it is no holder.
        """
        return cls(
            seconds=received.seconds(packed["seconds"]),
            holder=received.text(packed["holder"]),
            thread=received.text(packed["thread"]),
            statement=received.text(packed["statement"]),
            in_transaction=received.flag(packed["in_transaction"]),
            connection_id=received.count(packed["connection_id"]),
            taken=received.lines(packed["taken"]),
            stands=received.lines(packed["stands"]),
        )


def capture_stack(
    frame: FrameType | None, limit: int = MAX_FRAMES, end: CodeType | None = None
) -> tuple[StackEntry, ...]:
    """Return the stack of a frame, innermost first.

    :param limit: capture so many frames at most.
    :param end: stop before the frame that runs this code.
    """
    stack: list[StackEntry] = []
    for _ in range(limit):
        if frame is None or (code := frame.f_code) is end:
            break
        stack.append((code, frame.f_lasti))
        frame = frame.f_back
    return tuple(stack)


def format_stack(stack: Iterable[StackEntry]) -> list[str]:
    """Return a line of text for each of the application's frames, outermost first; for
    all frames if none is the application's.
    """
    stack = list(stack)
    shown = [entry for entry in stack if _is_of_application(entry[0].co_filename)]
    return [_format_entry(entry) for entry in reversed(shown or stack)]


def current_stack(thread: threading.Thread | None) -> list[str]:
    """Return the current stack of a thread as text; nothing if it has ended or its
    stack is not known, as for a greenlet.
    """
    if thread is None or not thread.is_alive():
        return []
    frame = sys._current_frames().get(t.cast(int, thread.ident))
    return format_stack(capture_stack(frame))


def thread_name(thread: threading.Thread | None) -> str:
    """Return the name of a thread, with a note if it has ended."""
    if thread is None:
        return "unknown"
    name = printable(thread.name)
    return name if thread.is_alive() else f"{name} (ended)"


def _is_of_application(path: str) -> bool:
    if path.startswith("<"):  # code without a file, such as <string>
        return False
    path = os.path.join(_STARTED_IN, path)
    return not path.startswith((_PACKAGE, *_LIBRARIES)) and _DEBIAN not in path


def _format_entry(entry: StackEntry) -> str:
    code, instruction = entry
    path = code.co_filename
    inside = os.path.join(_STARTED_IN, "")
    if path.startswith(inside):
        path = path[len(inside) :]
    return printable(f"{path}:{_line(code, instruction)} in {code.co_name}")


def _line(code: CodeType, instruction: int) -> int:
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= instruction < end and number is not None:
            line = number
    return line
