"""Wait for a condition, and no longer than a test may last."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable


def wait_until(condition: Callable[[], t.Any], seconds: float = 10.0) -> None:
    """Wait for ``condition`` to hold; fail the test if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.005)
