"""Those who wait in the queue."""

from __future__ import annotations

import threading

import pytest

from flask_mysqlpool.pool.waiter import Waiter

from ...support.fake_session import fake_pool
from ...support.waiting import wait_until


def test_who_was_served_but_not_woken_is_woken_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An interrupt came in between. The place is the waiter's, so none is free."""
    pool = fake_pool(max_size=1)
    db = pool.connection()
    waiter = threading.Thread(target=lambda: pool.connection(timeout=3600).close())
    waiter.start()
    wait_until(lambda: pool.stats().waiting == 1)

    def interrupted(waiter: Waiter) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Waiter, "wake", interrupted)
        with pytest.raises(KeyboardInterrupt):
            db.close()
    pool.maintain()
    waiter.join(20)
    assert not waiter.is_alive()
    assert pool.stats().in_use == 0
