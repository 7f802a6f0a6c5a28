"""Functions that are called once a transaction is committed.

Rule: each is called after the COMMIT of the outermost block was answered, or never.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..errors import OnCommitError
from .block import checked_result
from .block import kind_of_function

logger = logging.getLogger(__name__)

Hook = Callable[[], object]


class CommitHooks:
    """The functions that the blocks of a checkout have been given."""

    __slots__ = ("_before", "_hooks", "running")

    def __init__(self) -> None:
        self._hooks: list[Hook] = []
        self._before: list[int] = []  # how many there were when each block began
        self.running = False  # they are being called

    def begin(self, depth: int) -> None:
        """Take note that a block begins within ``depth`` others."""
        del self._before[depth:]
        self._before.append(len(self._hooks))

    def add(self, function: Hook) -> None:
        self._hooks.append(function)

    def drop(self, depth: int) -> None:
        """Forget what was added since that block began."""
        del self._hooks[self._before[depth] :]

    def run(self) -> None:
        """Call all, in the order in which they were added, and forget them."""
        hooks, self._hooks = self._hooks, []
        earlier, self.running = self.running, True  # a hook may have blocks of its own
        try:
            run(hooks)
        finally:
            self.running = earlier


def checked_hook(function: Hook) -> Hook:
    """Return a function that may be called after a commit.

    :raise TypeError: it is none, or its call would not run it.
    """
    if kind := kind_of_function(function):
        raise TypeError(f"on_commit() wants a plain function, not a {kind} function")
    return function


def run(hooks: list[Hook]) -> None:
    """Call all of them, after the commit.

    :raise OnCommitError: one of them raised; ``__cause__`` is the first such error.
    :raise BaseException: that interrupted one of them, such as ``KeyboardInterrupt``.
    """
    first: OnCommitError | None = None
    interrupt: BaseException | None = None
    for hook in hooks:
        try:
            checked_result(hook, hook())
        except Exception as error:
            text = f"the transaction was committed, then {hook!r} raised {error!r}"
            if first is None:
                first = OnCommitError(text)
                first.__cause__ = error
            else:
                logger.error("%s", text, exc_info=error)
        except BaseException as error:
            interrupt = error if interrupt is None else interrupt
    if interrupt is not None:
        raise interrupt from first
    if first is not None:
        raise first
