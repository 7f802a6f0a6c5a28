"""Calls hooks when a process opens its first connection of a pool."""

from __future__ import annotations

import logging
import typing as t
import weakref
from collections.abc import Callable

logger = logging.getLogger(__name__)


class FirstUse:
    """Calls its hooks once in each process, before the first connection is opened.

    :param pool: what the hooks are given.
    """

    def __init__(self, pool: t.Any) -> None:
        self.hooks: list[Callable[[t.Any], None]] = []
        self._pool = weakref.ref(pool)
        self._begun = False

    def clear(self) -> None:
        """Start anew, as a new process does."""
        self._begun = False

    def begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        for hook in self.hooks:
            try:
                hook(self._pool())
            except Exception:
                logger.exception("a hook of the first use of a pool failed")
