"""Repeats a whole transaction that the server rolled back.

Rule: what is repeated was rolled back for sure. A commit whose answer was lost is not
repeated, nor what has been committed.
"""

from __future__ import annotations

import functools
import logging
import random
import time
import typing as t
from collections.abc import Callable

from pymysql import err
from pymysql.constants import ER

from ..config.settings import Settings
from .block import checked_result
from .block import kind_of_function
from .transaction import characteristics_of
from .transaction import IsolationLevel

logger = logging.getLogger(__name__)

_P = t.ParamSpec("_P")
_R = t.TypeVar("_R")

FIRST_PAUSE = 0.02  # seconds at most, before the second try; then twice as long
MAX_PAUSE = 1.0  # seconds

ER_TRANSACTION_ROLLBACK_DURING_COMMIT = 3101  # MySQL Group Replication
ER_LOCK_NOWAIT = 3572
#: Another transaction was in the way (MySQL and MariaDB Error Reference).
TRANSIENT = {
    ER.LOCK_DEADLOCK,  # Galera's failed certification too
    ER.LOCK_WAIT_TIMEOUT,  # MariaDB's NOWAIT too
    ER.CHECKREAD,  # MariaDB's innodb_snapshot_isolation
    ER_LOCK_NOWAIT,
    ER_TRANSACTION_ROLLBACK_DURING_COMMIT,
}


def is_transient(error: BaseException) -> bool:
    """Return whether the transaction that met ``error`` may go well if it is repeated
    as a whole.
    """
    if not isinstance(error, err.MySQLError) or len(error.args) < 2:
        return False
    code, text = error.args[0], str(error.args[1])
    if code == ER.ERROR_DURING_COMMIT:  # of Galera, where its text says why
        return "deadlock" in text.lower()
    return code in TRANSIENT


class Retrying:
    """A decorator: the function's body is a ``transaction()``, which is repeated as a
    whole after a deadlock and the like.

    :param take: returns the :class:`.PooledConnection`.
    :param tries: in all.
    :param isolation_level: of each transaction.
    :param read_only: whether they may not write.
    """

    def __init__(
        self,
        take: Callable[[], t.Any],
        tries: int,
        isolation_level: IsolationLevel | None,
        read_only: bool | None,
    ) -> None:
        if type(tries) is not int:
            raise TypeError(
                f"tries must be a whole number, not {tries!r} (as a decorator it is"
                " @transactional(), with parentheses)"
            )
        if tries < 1:
            raise ValueError(f"tries must be at least 1, not {tries}")
        self._take = take
        self._tries = tries
        characteristics_of(isolation_level, read_only)
        self._options = {"isolation_level": isolation_level, "read_only": read_only}

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Decorate a function.

        :raise TypeError: it is none, or a generator function: what it has yielded
            cannot be repeated.
        """
        kind = kind_of_function(function)
        if kind.endswith("generator"):
            raise TypeError(
                f"{function!r} is a {kind} function: what it has yielded cannot be"
                " repeated; decorate it with transaction()"
            )
        wrap = self._around_coroutine if kind else self._around_call
        wrapper = functools.wraps(function)(wrap(function))
        return t.cast("Callable[_P, _R]", wrapper)

    def _around_call(self, function: Callable[..., t.Any]) -> Callable[..., t.Any]:
        def call(*args: t.Any, **kwargs: t.Any) -> t.Any:
            db = self._take()
            tries = _Tries(db, self._tries, function)
            while True:
                try:
                    with db.transaction(**self._options):
                        return checked_result(function, function(*args, **kwargs))
                except err.MySQLError as error:
                    pause = tries.pause_after(error)
                time.sleep(pause)

        return call

    def _around_coroutine(self, function: Callable[..., t.Any]) -> Callable[..., t.Any]:
        async def call(*args: t.Any, **kwargs: t.Any) -> t.Any:
            import asyncio  # of those who have coroutines: it takes long to import

            db = self._take()
            tries = _Tries(db, self._tries, function)
            while True:
                try:
                    with db.transaction(**self._options):
                        return await function(*args, **kwargs)
                except err.MySQLError as error:
                    pause = tries.pause_after(error)
                await asyncio.sleep(pause)

        return call


class _Tries:
    """The tries of one call."""

    def __init__(self, db: t.Any, tries: int, function: object) -> None:
        # A block within another cannot be repeated without it: the outermost may be.
        self._left = 1 if db.in_block else tries
        self._db = db
        self._longest = FIRST_PAUSE
        # 0 is of the queue: not to wait for a connection.
        limit = db.session.settings.timeout or Settings.timeout
        self._until = time.monotonic() + limit
        self._function = function

    def pause_after(self, error: err.MySQLError) -> float:
        """Return how many seconds to wait before the next try; raise ``error`` if there
        is none.
        """
        self._left -= 1
        pause = random.uniform(0, self._longest)
        self._longest = min(2 * self._longest, MAX_PAUSE)
        if (
            not self._left
            or not self._db.open
            or self._db.block_was_ended
            or not is_transient(error)
            or time.monotonic() + pause >= self._until
        ):
            raise error
        logger.info(
            "the transaction of %r is repeated after error %s (%s tries left)",
            self._function,
            error.args[0],
            self._left,
        )
        return pause
