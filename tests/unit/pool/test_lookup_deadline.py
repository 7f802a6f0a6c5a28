"""The deadline of a checkout covers the look-up of the server's name."""

from __future__ import annotations

import socket
import threading
import typing as t
from collections.abc import Iterator

import pytest

from flask_mysqlpool import Pool
from flask_mysqlpool import PoolTimeout

from ...support.pools import settings_for


@pytest.fixture
def silent_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A resolver that answers no sooner than the test ends."""
    answer = threading.Event()

    def wait(*args: object, **keywords: object) -> t.NoReturn:
        answer.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    yield answer
    answer.set()


def test_lookup_is_waited_for_no_longer_than_the_timeout(
    silent_resolver: threading.Event,
) -> None:
    pool = Pool(settings_for("mysql://app@db.example/bank", timeout=0.2))
    with pytest.raises(PoolTimeout, match="the look-up of 'db.example' took longer"):
        pool.connection()
    assert not silent_resolver.is_set()
    assert pool.stats().size == 0
