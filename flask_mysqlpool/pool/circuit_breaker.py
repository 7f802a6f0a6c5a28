"""Keeps callers from trying an unreachable server: while it is down one of them probes,
and the others fail at once.
"""

from __future__ import annotations

import random
import threading
import weakref

MIN_PAUSE = 0.05  # seconds between two probes, doubled each time
MAX_PAUSE = 1.0


class Probe:
    """The right to try a server that was found unreachable.

    It ends with the attempt, when its owner drops it, or when it expires.
    """

    __slots__ = ("__weakref__", "expires_at")

    def __init__(self, expires_at: float) -> None:
        self.expires_at = expires_at


class CircuitBreaker:
    """What is known of a server that could not be reached.

    Closed: everybody may try. Open: nobody may, until the pause ends. Half-open: one
    caller has a :class:`Probe`.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start closed, as a new process does."""
        self._lock = threading.RLock()  # a finalizer may check out while it is held
        self.error: Exception | None = None  # why the server could not be reached
        self._pause = 0.0
        self._next_probe = 0.0
        self._probe: weakref.ref[Probe] | None = None

    def admit(self, now: float, deadline: float) -> Probe | Exception | None:
        """Return ``None`` where the breaker is closed, a probe where this caller is to
        try, or the error because of which it must not.

        :param deadline: of the caller, when the probe expires.
        """
        if self.error is None:
            return None
        with self._lock:
            probe = self._probe and self._probe()
            if now < self._next_probe or (probe and now < probe.expires_at):
                return self.error
            probe = Probe(deadline)
            self._probe = weakref.ref(probe)
            return probe

    def note_unreachable(self, error: Exception, now: float) -> None:
        with self._lock:
            self._pause = min(MAX_PAUSE, self._pause * 2 or MIN_PAUSE)
            self._next_probe = now + self._pause * random.uniform(0.5, 1.0)
            self.error = _without_traceback(error)
            self._probe = None

    def note_reachable(self) -> None:
        if self.error is None:
            return
        with self._lock:
            self.error = None
            self._pause = 0.0
            self._probe = None

    def end_probe(self, probe: Probe) -> None:
        """End a probe that found out nothing, as after an interrupt."""
        with self._lock:
            if self._probe is not None and self._probe() is probe:
                self._probe = None

    def pause(self, now: float) -> float:
        """Return the seconds until the next probe may begin."""
        return max(0.0, self._next_probe - now)


def _without_traceback(error: Exception) -> Exception:
    """Return a copy of an error. The traceback of the original would keep alive what
    the frames of its caller hold, connections too.
    """
    try:
        return type(error)(*error.args)
    except Exception:  # a class of its own mind
        return OSError(str(error))
