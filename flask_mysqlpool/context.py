"""The connections of an app context: checked out on demand, returned at its end."""

from __future__ import annotations

import logging
import sys
import threading
import typing as t
from pathlib import Path
from types import FrameType

import click
from flask import Flask
from flask import request
from flask.globals import app_ctx

from .control.runtime_dir import runtime_folder
from .errors import NotInitializedError
from .errors import PoolClosed
from .errors import PoolError
from .pool.block import Block
from .pool.pool import Pool
from .pool.pooled_connection import PooledConnection
from .pool.pools import Pools
from .pool.retrying import Retrying
from .pool.transaction import characteristics_of
from .pool.transaction import IsolationLevel
from .stats.holders import capture_stack
from .stats.holders import StackEntry
from .stats.text import printable

logger = logging.getLogger(__name__)

EXTENSION = "mysqlpool"
NO_ENDPOINT = "no endpoint"  # such as a 404
METHODS = frozenset(
    "CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE".split()  # RFC 9110, 5789
)
OTHER_METHOD = "other"  # a client may invent any number of them
FRAMES_NOTED = 8  # of the stack of a checkout, up to Flask's own
_ON_G = "_mysqlpool"
# Who calls it is the same in each request. An instrumentation may have replaced it.
_DISPATCH = getattr(Flask.dispatch_request, "__code__", None)

_STREAM_BROKEN_OFF = (
    "%s: its streamed response is broken off, without a connection from %r: take one in"
    " the view, where the answer can still be a 503, with pool.connection()"
)


class _Lent:
    """The connections of one app context."""

    __slots__ = ("by_bind", "ended", "locks")

    def __init__(self) -> None:
        self.by_bind: dict[str, PooledConnection] = {}
        # Threads may share an app context: of one bind it has one connection. Who asks
        # for another bind does not wait.
        self.locks: dict[str, threading.RLock] = {}
        self.ended = False


def get_db(bind: str = "default") -> PooledConnection:
    """Return the connection of this app context, the same one each time.

    It goes back to the pool when the context ends, which in a request is after the
    response; what was not committed by then is rolled back.

    :param bind: which pool, a key of ``MYSQLPOOL_BINDS`` or one that can be loaded.
    :raise NotInitializedError: no app context, no extension on this app, no such bind.
    :raise PoolError: the pool has no connection to lend.
    """
    # On the hot path: the objects behind Flask's proxies, whose every attribute costs.
    try:
        context = app_ctx._get_current_object()  # type: ignore[attr-defined]
    except RuntimeError:
        raise NotInitializedError(
            "get_db() works only within an app context: in a view it has one,"
            " elsewhere write `with app.app_context():`"
        ) from None
    on_g = vars(context.g)
    lent: _Lent | None = on_g.get(_ON_G)
    if lent is None:
        lent = on_g.setdefault(_ON_G, _Lent())
    db = lent.by_bind.get(bind)
    if db is not None and not db.returned:
        return db
    pool = _pool(context.app, bind)
    stack = capture_stack(sys._getframe(1), FRAMES_NOTED, _DISPATCH)
    with lent.locks.get(bind) or lent.locks.setdefault(bind, threading.RLock()):
        db = lent.by_bind.get(bind)
        if db is None or db.returned:  # no other thread was faster
            try:
                db = pool.connection(holder=holder_name(), stack=stack)
            except PoolError as error:
                db = _connection_anew(context.app, bind, stack, error)
            db.of_context = True
            lent.by_bind[bind] = db
            if lent.ended:  # by another thread, while this one waited
                db.close()
        return db


def transaction(
    bind: str = "default",
    *,
    isolation_level: IsolationLevel | None = None,
    read_only: bool | None = None,
) -> Block[PooledConnection]:
    """Run a block as a transaction on the connection that :func:`get_db` returns:
    BEGIN … COMMIT, or ROLLBACK on any exception. Within another such block it is a
    savepoint.

    As a decorator, ``@transaction()``, it takes functions of every kind; each call is a
    block.

    :param bind: which pool, a key of ``MYSQLPOOL_BINDS``.
    :param isolation_level: of this transaction alone, such as ``"READ COMMITTED"``; by
        default that of the session. For the outermost block.
    :param read_only: whether this transaction may not write. For the outermost block.
    :raise pymysql.err.OperationalError: at the latest at the block's end, where the
        server has rolled the transaction back (a deadlock, say), even if the block
        swallowed that error.
    :raise OnCommitError: a function given to :meth:`.PooledConnection.on_commit`
        raised. The transaction was committed.
    :raise ValueError, TypeError: an argument is wrong.
    """
    _check_bind(bind, "transaction")
    characteristics_of(isolation_level, read_only)
    return Block(
        lambda: get_db(bind).transaction(
            isolation_level=isolation_level, read_only=read_only
        )
    )


def transactional(
    tries: int = 3,
    *,
    bind: str = "default",
    isolation_level: IsolationLevel | None = None,
    read_only: bool | None = None,
) -> Retrying:
    """Return a decorator that makes each call of a function a :func:`transaction`, and
    repeats it as a whole where another transaction was in the way: after a deadlock, a
    wait for a lock that took too long, a conflict between the nodes of a cluster.

    The function must do nothing else that cannot be undone; what must happen once goes
    into :meth:`.PooledConnection.on_commit`. Within another block it is a savepoint,
    and not repeated.

    :param tries: in all. None begins more than ``MYSQLPOOL_TIMEOUT`` seconds after the
        first; where that is 0, more than 10. Before each there is a random pause, of up
        to 20 ms, 40 ms … 1 s.
    :param bind: which pool, a key of ``MYSQLPOOL_BINDS``.
    :param isolation_level: as for :func:`transaction`.
    :param read_only: as for :func:`transaction`.
    :raise TypeError: the function is a generator function, or an argument is wrong.
    :raise ValueError: an argument is wrong.
    """
    _check_bind(bind, "transactional")
    return Retrying(lambda: get_db(bind), tries, isolation_level, read_only)


def _check_bind(bind: object, name: str) -> None:
    if not isinstance(bind, str):
        raise TypeError(
            f"bind must be a str, not {bind!r} (as a decorator it is @{name}(), with"
            " parentheses)"
        )


def return_all(*passed: t.Any) -> None:
    """Return the connections of this app context. Raises nothing but an interrupt, and
    that only after all are returned.

    :param passed: the arguments of its teardown. If one is an exception, changes are
        rolled back without a warning.
    """
    context = app_ctx._get_current_object()  # type: ignore[attr-defined]
    lent: _Lent | None = vars(context.g).pop(_ON_G, None)
    if lent is None:
        return
    lent.ended = True
    exc_info = [each for each in passed if isinstance(each, BaseException)]
    interrupt: BaseException | None = None
    while lent.by_bind:
        _, db = lent.by_bind.popitem()
        try:
            db.__exit__(*exc_info)
        except BaseException as error:
            db.drop()
            interrupt = interrupt or error
    if interrupt is not None:
        raise interrupt


def _note_refusal(bind: str) -> None:
    """Log that there is no connection, if the caller runs within Flask's
    ``stream_with_context()``: the view has returned then.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__") != "flask.helpers":
        frame = frame.f_back
    if frame is not None:
        logger.error(_STREAM_BROKEN_OFF, printable(holder_name()), bind)


def pools_of(app: Flask) -> Pools:
    """Return the pools of an app.

    :raise NotInitializedError: it has none.
    """
    pools: Pools | None = app.extensions.get(EXTENSION)
    if pools is None:
        raise NotInitializedError(
            f"app {app.name!r} has no pool: did you forget to call MySQLPool(app) or"
            " mysqlpool.init_app(app)?"
        )
    return pools


def folder_of(app: Flask) -> Path:
    """Return the folder where the processes of an app have their sockets.

    :raise NotInitializedError: it has no pools.
    """
    runtime_dir = next(iter(pools_of(app).values())).settings.runtime_dir
    return runtime_folder(runtime_dir, app.name, app.root_path)


def _connection_anew(
    app: Flask, bind: str, stack: tuple[StackEntry, ...], error: PoolError
) -> PooledConnection:
    """Check out again if a loaded pool was closed just now to make room for another.

    :raise PoolError: else the error of the first time.
    """
    while isinstance(error, PoolClosed) and bind not in pools_of(app).configured:
        try:
            return _pool(app, bind).connection(holder=holder_name(), stack=stack)
        except PoolError as again:
            error = again
    _note_refusal(bind)
    try:
        raise error
    finally:
        del error  # its traceback refers to this frame, and so to all callers'


def _pool(app: Flask, bind: str) -> Pool:
    pools = pools_of(app)
    pool = pools.configured.get(bind)
    return pools.load(bind) if pool is None else pool


def holder_name() -> str:
    """Return a name for the caller: its endpoint or command."""
    try:
        asking = request._get_current_object()  # type: ignore[attr-defined]
    except RuntimeError:
        command: t.Any = click.get_current_context(silent=True)
        return f"command {command.info_name}" if command else "outside a request"
    endpoint = asking.endpoint
    if endpoint is None:
        return NO_ENDPOINT  # nothing that a client can invent is shown or counted
    method = asking.method
    return f"{method if method in METHODS else OTHER_METHOD} {endpoint}"
