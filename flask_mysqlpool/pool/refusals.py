"""What is raised where a connection cannot be used.

By "already closed", PyMySQL's own words, SQLAlchemy's dialect knows that a connection
has ended: it drops the connection from what it keeps.
"""

from __future__ import annotations

from os import getpid

from pymysql.err import InterfaceError

from ..errors import ConnectionBusyError
from ..errors import StaleConnectionError
from .entry import PoolEntry


def stale_error(entry: PoolEntry | None) -> StaleConnectionError:
    """Return what is raised where the connection is this holder's no more.

    :param entry: of the handle; ``None`` from the return on.
    """
    if entry is not None:
        return StaleConnectionError(
            f"this connection was opened in process {entry.session.pid} and is already"
            f" closed in process {getpid()}: take one with get_db() after the fork"
        )
    return StaleConnectionError(
        "this connection went back to the pool and is already closed: take another"
        " with get_db(), and keep neither it nor a cursor longer than the request or"
        " the with block (a streamed response wants stream_with_context())"
    )


def lost_error(lost_by: BaseException) -> InterfaceError:
    """Return what is raised where the session of a connection has ended.

    :param lost_by: the error that ended it.
    """
    reason = str(lost_by) or type(lost_by).__name__  # such as KeyboardInterrupt
    return InterfaceError(0, f"the connection was lost and is already closed: {reason}")


def busy_error() -> ConnectionBusyError:
    """Return what is raised where another thread is in an exchange, or one never
    ended.
    """
    return ConnectionBusyError(
        "another thread is using this connection, or an exchange was interrupted: give"
        " each thread a connection of its own, with pool.connection()"
    )
