"""Forked children of the process of the tests."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import typing as t
from collections.abc import Callable


class ForkedChild:
    """A forked process that does one thing and tells its outcome."""

    def __init__(self, do: Callable[[], t.Any]) -> None:
        self._outcome, its_end = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(its_end)
            return
        try:
            signal.alarm(20)  # it cannot outlive the test
            outcome = _outcome(do)
            gc.collect()  # which must not reach the parent's sessions either
            os.write(its_end, json.dumps(outcome).encode())
        finally:
            os._exit(0)

    def join(self) -> t.Any:
        with os.fdopen(self._outcome, "rb") as file:
            data = file.read()
        os.waitpid(self._pid, 0)
        return json.loads(data)


def _outcome(do: Callable[[], t.Any]) -> t.Any:
    try:
        return do()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def in_child(action: Callable[[], None]) -> None:
    """Run ``action`` in a forked child and collect its garbage; fail if that does."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            action()
            gc.collect()
            status = 0
        finally:
            os._exit(status)
    deadline = threading.Timer(30, os.kill, (pid, 9))
    deadline.start()
    _, status = os.waitpid(pid, 0)
    deadline.cancel()
    deadline.join()
    assert status == 0
