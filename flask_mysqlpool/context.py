"""The connections of an app context: taken when asked for, returned when it ends."""

from __future__ import annotations

import threading
import typing as t
from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask import current_app
from flask import g
from flask import has_app_context
from flask import has_request_context
from flask import request

from .control import Pools
from .errors import NotInitializedError
from .handle import PooledConnection
from .pool import Pool

EXTENSION = "mysqlpool"
_ON_G = "_mysqlpool"


class _Lent(dict[str, PooledConnection]):
    """The connections of one app context by bind name."""

    def __init__(self) -> None:
        super().__init__()
        # Threads may share an app context; a password may come out of another bind.
        self.lock = threading.RLock()
        self.ended = False


def get_db(bind: str = "default") -> PooledConnection:
    """Return the connection of this app context, the same one each time.

    It goes back to the pool when the context ends, which in a request is after the
    response; what was not committed by then is rolled back.

    :param bind: which pool, a key of ``MYSQLPOOL_BINDS``.
    :raise NotInitializedError: there is no app context, no extension on this app, or
        no such bind.
    :raise PoolError: the pool has no connection to lend.
    """
    if not has_app_context():
        raise NotInitializedError(
            "get_db() works only within an app context: in a view it has one,"
            " elsewhere write `with app.app_context():`"
        )
    lent: _Lent | None = g.get(_ON_G)
    if lent is None:
        lent = g.setdefault(_ON_G, _Lent())
    with lent.lock:
        db = lent.get(bind)
        if db is None or db.returned:
            db = lent[bind] = _pool(bind).connection(holder=_holder())
            if lent.ended:  # by another thread, while this one waited
                db.close()
        return db


@contextmanager
def transaction(bind: str = "default") -> Iterator[PooledConnection]:
    """Run a block as a transaction on the connection that :func:`get_db` returns:
    BEGIN … COMMIT, or ROLLBACK on any exception. Within another such block it is a
    savepoint.

    :param bind: which pool, a key of ``MYSQLPOOL_BINDS``.
    :raise pymysql.err.OperationalError: at the latest at the block's end, where the
        server has rolled the transaction back (a deadlock, say), even if the block
        swallowed that error.
    """
    with get_db(bind).transaction() as db:
        yield db


def return_all() -> None:
    """Return the connections of this app context. Never raises."""
    lent: _Lent | None = g.pop(_ON_G, None)
    if lent is not None:
        lent.ended = True
        while lent:
            lent.popitem()[1].close()


def _pool(bind: str) -> Pool:
    pools: Pools | None = current_app.extensions.get(EXTENSION)
    if pools is None:
        raise NotInitializedError(
            f"app {current_app.name!r} has no pool: did you forget to call"
            " MySQLPool(app) or mysqlpool.init_app(app)?"
        )
    try:
        return pools[bind]
    except KeyError:
        raise NotInitializedError(
            f"there is no bind {bind!r}, only {', '.join(map(repr, pools))}: add it to"
            " MYSQLPOOL_BINDS"
        ) from None


def _holder() -> str:
    """Return who asks, in words."""
    if has_request_context():
        return f"{request.method} {request.endpoint or request.path}"
    command: t.Any = click.get_current_context(silent=True)
    return f"command {command.info_name}" if command else "outside a request"
