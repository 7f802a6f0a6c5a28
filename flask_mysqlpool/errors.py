"""The errors that this package raises; each is also the built-in or PyMySQL error
that existing ``except`` clauses expect.
"""

from __future__ import annotations

import typing as t

import click
import pymysql.err
from pymysql.constants import CR


class MySQLPoolError(Exception):
    """Base of every error of this package.

    The arguments of those that are PyMySQL's errors, too, are a code and a text.
    """

    _code: t.ClassVar[int | None] = None  # where only the text is given

    def __init__(self, *args: object) -> None:
        if self._code is not None and len(args) == 1:
            args = (self._code, *args)
        super().__init__(*args)

    def __str__(self) -> str:
        return str(self.args[-1]) if self.args else ""


class ConfigError(MySQLPoolError, click.ClickException, ValueError):
    """A setting is unknown, wrong, or contradicts another; the text names its key.

    The ``flask`` command prints the text of a ``click.ClickException`` alone, and
    ends with 1. Elsewhere this is an error like any other.
    """


class NotInitializedError(MySQLPoolError, RuntimeError):
    """There is no pool here: no app context, no extension, or no such bind."""


class UnknownBindError(NotInitializedError):
    """The :meth:`~flask_mysqlpool.MySQLPool.bind_loader` does not know this bind. Left
    unhandled in a view it is answered 404.
    """


class PoolError(MySQLPoolError, pymysql.err.OperationalError):
    """The pool has no connection to lend.

    The code is that of the last failure to connect: 2003 (``CR_CONN_HOST_ERROR``)
    where the server cannot be reached, the server's own, such as 1040, where it is
    full. Else it is 2000 (``CR_UNKNOWN_ERROR``): no server has failed, as where all
    connections are in use, or where this machine has no descriptor, memory or port left
    for a socket.
    """

    _code = CR.CR_UNKNOWN_ERROR

    #: Seconds after which to try again: the timeout of the pool.
    retry_after: float | None

    def __init__(self, *args: object, retry_after: float | None = None) -> None:
        super().__init__(*args)
        self.retry_after = retry_after


class PoolTimeout(PoolError):
    """No connection could be had within the timeout, or none can be had now because
    the server was just found unreachable.

    ``__cause__`` is the last failure to connect ("database down"), or ``None`` if all
    connections were in use ("pool too small").
    """


class PoolFull(PoolError):
    """``MAX_WAITING`` callers wait for a connection already, or ``MAX_BINDS`` binds are
    loaded and in use.
    """


class PoolClosed(PoolError):
    """The pool was closed."""


class StaleConnectionError(MySQLPoolError, pymysql.err.InterfaceError):
    """A connection, or a cursor of it, was used after its return to the pool, or in
    a process other than the one that opened it. The code is 0.
    """

    _code = 0


class ConnectionBusyError(MySQLPoolError, pymysql.err.InterfaceError):
    """A second thread, greenlet or task used a connection while an exchange with the
    server was under way; nothing was sent. The code is 0.
    """

    _code = 0


class OnCommitError(MySQLPoolError):
    """A function given to ``on_commit()`` raised: ``__cause__`` is its error. The
    transaction was committed before.
    """
