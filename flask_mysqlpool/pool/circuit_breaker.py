"""Spares an unreachable server: one caller tries, the others fail at once."""

from __future__ import annotations

import random

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0


class Outage:
    """What is known of a server that could not be reached.

    Whoever holds the pool's lock may call it.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self._pause = 0.0
        self._next_try = 0.0
        self._trying = False

    def begin_try(self, now: float) -> Exception | None:
        """Return why this caller must not try now, or ``None``: it may, and then
        calls :meth:`failed` or :meth:`ended`.
        """
        if self.error is None:
            return None
        if self._trying or now < self._next_try:
            return self.error
        self._trying = True
        return None

    def failed(self, error: Exception, now: float) -> None:
        self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        self._next_try = now + self._pause * random.uniform(0.5, 1.0)
        self.error = error
        self._trying = False

    def ended(self) -> None:
        self.error = None
        self._pause = 0.0
        self._trying = False

    def give_up_try(self) -> None:
        """The try ended without an answer to the question, as by an interrupt."""
        self._trying = False

    def pause(self, now: float) -> float:
        """Return the seconds until the next try may begin."""
        return max(0.0, self._next_try - now)
