"""Why a checkout got no connection."""

from __future__ import annotations

from time import monotonic

from pymysql.constants import CR
from pymysql.constants import ER

from ..driver.sockets import local_shortage
from ..driver.wire import refused_by_server
from ..errors import PoolTimeout
from ..stats.text import printable
from .leaks import who
from .slots import Slots

# "Too many connections", of the server, of the user, of the user's resources.
_SERVER_FULL = (ER.CON_COUNT_ERROR, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED)


def no_room(error: BaseException) -> bool:
    """Return whether there is no room for one more connection just now, at the server
    or here.
    """
    full = refused_by_server(error) and error.args[0] in _SERVER_FULL
    return full or bool(local_shortage(error))


def no_connection(
    slots: Slots, cause: Exception | None, limit: float, retry_after: float
) -> PoolTimeout:
    """Return the error of a checkout that got none.

    :param cause: what the server or this machine said, if it did.
    :param limit: seconds that the checkout could take; 0: it did not wait.
    """
    code: object = CR.CR_UNKNOWN_ERROR
    if cause is None:
        what = f"no connection within {limit:g} s" if limit else "none is free"
    elif refused_by_server(cause):
        code = cause.args[0]
        what = f"no connection within {limit:g} s: the server is full:"
        what += f" {printable(cause)}"
    elif shortage := local_shortage(cause):
        what = f"no connection within {limit:g} s: {shortage}: {printable(cause)}"
    else:
        code = CR.CR_CONN_HOST_ERROR
        what = f"the server cannot be reached: {printable(cause)}"
    now = monotonic()
    reading = slots.snapshot(now, by_endpoint=False)
    oldest = ""
    for entry in slots.lent_entries()[:1]:
        oldest = f", the oldest held for {now - entry.lent_at:.1f} s by {who(entry)}"
    error = PoolTimeout(
        code,
        f"pool {slots.name!r}: {what} (size {reading.size} of"
        f" {reading.max_size}, in use {reading.in_use}, idle {reading.idle},"
        f" waiting {reading.waiting}{oldest})",
        retry_after=retry_after,
    )
    error.__cause__ = cause
    return error
