"""A signal handler that raises, at any moment of a checkout or return."""

from __future__ import annotations

from time import monotonic

import pytest

from flask_mysqlpool import PoolClosed
from flask_mysqlpool.pool.waiter import Waiter

from ...support.fake_session import fake_pool
from ...support.interrupted_process import InterruptedProcess

SIGNALS = 10_000


@pytest.mark.parametrize("max_size", [1, 2])
@pytest.mark.parametrize("pause", [0, 2e-5])
def test_signals_at_any_moment_lose_no_place(max_size: int, pause: float) -> None:
    arguments = str(max_size), str(pause), str(SIGNALS)
    with InterruptedProcess("storm_without_server", *arguments) as child:
        report = child.report()
    unowned = report.pop("unowned")  # places that only the housekeeper found
    assert report.pop("interrupted") >= SIGNALS, report
    assert not any(report.values()), f"{report}, {unowned} found by the housekeeper"


def test_close_that_is_interrupted_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    pool = fake_pool(max_size=1)
    slots = pool._slots
    with pool.connection():
        waiter = slots.take(monotonic(), "", None, ())
        assert isinstance(waiter, Waiter)
        with monkeypatch.context() as patched:
            patched.setattr(slots, "_closed_error", interrupt)
            with pytest.raises(KeyboardInterrupt):
                pool.close()
        assert not pool.closed, "who waits is not told"
        pool.close()
        assert isinstance(slots.leave(waiter, monotonic()), PoolClosed)
