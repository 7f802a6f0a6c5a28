"""Faults that the pool once had, or might get: each a change of its source text."""

from __future__ import annotations

import inspect
import sys
import textwrap
import typing as t
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flask_mysqlpool.pool.checkout import Checkout
from flask_mysqlpool.pool.dropped import Dropped
from flask_mysqlpool.pool.pool import Pool
from flask_mysqlpool.pool.slots import Slots
from flask_mysqlpool.pool.waiter import WaitQueue


class Change(t.NamedTuple):
    """Another text for a part of a method."""

    owner: t.Any
    method: str
    old: str
    new: str


FAULTS: dict[str, list[Change]] = {
    "argument checked after a place was reserved": [
        Change(
            Checkout,
            "acquire",
            "request = _request_of(grant)",
            "if timeout == 0.02: raise TypeError('timeout must be a number')\n"
            "    request = _request_of(grant)",
        ),
        Change(
            Pool,
            "connection",
            "self._checkout.return_unused(grant, monotonic())",
            "pass",
        ),
    ],
    "return that raises after the place was freed": [
        Change(
            Slots,
            "put_back",
            "self._note_return(entry, now)",
            "if entry.holder == 'two': raise TypeError('unhashable holder')",
        )
    ],
    "notes read without the lock": [
        Change(Slots, "discarded", "with self.lock:", "if True:"),
    ],
    "notes read while they are true": [
        Change(
            Dropped,
            "remove_from",
            "while self.noted:",
            "while self.noted and self.noted[0]:",
        )
    ],
    "no notes of what was dropped": [
        Change(Dropped, "note", "self.noted.append(checkout_id)", "return"),
    ],
    "waiter taken out before it is served": [
        Change(
            Slots,
            "_wake_next",
            "waiter = self._waiters.first()",
            "waiter = self._waiters.popleft()()",
        ),
        Change(
            Slots,
            "_wake_next",
            "waiter.wake()\n        self._waiters.popleft()",
            "waiter.wake()",
        ),
    ],
    "connection idle before it is no longer lent": [
        Change(
            Slots,
            "put_back",
            "if self._lent.pop(checkout_id, None) is None:",
            "if checkout_id not in self._lent:",
        ),
        Change(
            Slots,
            "put_back",
            "reason = self._admit(entry, now, reason)",
            "reason = self._admit(entry, now, reason)\n"
            "                self._lent.pop(checkout_id, None)",
        ),
        Change(
            Slots,
            "put_back",
            "self._idle.append(entry)",
            "self._idle.append(entry)\n"
            "                self._lent.pop(checkout_id, None)",
        ),
    ],
    "caller served before those who wait": [
        Change(Slots, "take", "if self._idle and not self._waiters:", "if self._idle:"),
        Change(Slots, "_admit", "self._wake_next(now)", "pass"),
    ],
    "queue ignored where a place is free": [
        Change(
            Slots, "_queue_or_reserve", "if not self._waiters and self.", "if self."
        ),
        Change(Slots, "_queue_or_reserve", "self._wake_next(now)", "pass"),
    ],
    "nobody woken after a failed connect": [
        Change(Slots, "release", "self._wake_next(now)", "pass"),
    ],
    "who is not in the queue cannot leave it": [
        Change(Slots, "leave", "if waiter.grant is None:", "if True:"),
        Change(
            WaitQueue,
            "withdraw",
            "with contextlib.suppress(ValueError):\n        ",
            "",
        ),
    ],
    "grant lost by who leaves the queue": [
        Change(Slots, "leave", "return waiter.grant", "return None"),
    ],
    "child that keeps its parent's connections": [
        Change(
            Slots,
            "clear",
            "self._start()",
            "idle = self._idle; self._start(); self._idle = idle",
        ),
    ],
    "child that keeps its parent's lock": [
        Change(
            Slots,
            "clear",
            "self._start()",
            "lock = self.lock; self._start(); self.lock = lock",
        ),
    ],
}


@contextmanager
def changed(changes: list[Change]) -> Iterator[None]:
    """Run the block with these changes; fail where a text to change is not found."""
    sources: dict[tuple[t.Any, str], str] = {}
    for owner, method, old, new in changes:
        source = sources.get((owner, method)) or source_of(getattr(owner, method))
        assert old in source, f"{method}() has no {old!r} to change"
        sources[owner, method] = source.replace(old, new)
    with pytest.MonkeyPatch.context() as patch:
        for (owner, method), source in sources.items():
            patch.setattr(owner, method, compiled(getattr(owner, method), source))
        yield


def source_of(function: t.Any) -> str:
    return getattr(function, "changed_source", None) or textwrap.dedent(
        inspect.getsource(function)
    )


def compiled(function: t.Any, source: str) -> t.Any:
    """Compile another text of a function as if it stood in the same file."""
    code = compile(
        "from __future__ import annotations\n" + source,
        function.__code__.co_filename,
        "exec",
    )
    module = vars(sys.modules[function.__module__])
    names: dict[str, t.Any] = {}
    exec(code, module, names)
    result = names[function.__name__]
    result.changed_source = source
    return result
