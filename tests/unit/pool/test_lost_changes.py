"""The warning of changes that nobody committed, at the return."""

from __future__ import annotations

import typing as t

import pytest

from ...support.fake_session import fake_pool


class Unclear(type):
    """The class of exceptions that are neither true nor false."""

    def __bool__(cls) -> t.NoReturn:
        raise TypeError("neither")


class Refused(Exception, metaclass=Unclear):
    def __bool__(self) -> t.NoReturn:
        raise TypeError("neither")


def test_exception_is_not_asked_whether_it_is_true(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with fake_pool(max_size=1, autocommit=False) as pool:
        with pytest.raises(Refused), pool.connection() as db:
            db.begin()
            db.query("UPDATE t SET v = 1")
            raise Refused
        assert pool.stats().idle == 1
    assert caplog.text == ""
