"""Errors of parsing what a server sent: they become PyMySQL errors."""

from __future__ import annotations

import typing as t

from pymysql import err
from pymysql.constants import CR

# Where the classes of these errors are defined.
_PARSING = {"builtins", "struct", "decimal", "binascii", "cryptography.exceptions"}


def raised_by_parsing(error: Exception) -> bool:
    """Return whether parsing an answer may have raised ``error``. Others come from
    signal handlers, as the time limits of job queues do, or from this process.
    """
    if isinstance(error, (OSError, MemoryError, RecursionError)):
        return False
    return type(error).__module__ in _PARSING


def malformed_error(error: Exception) -> err.OperationalError:
    """Return the error for an answer that could not be parsed. It does not have the
    text of ``error``, which may have a row's values.
    """
    kind = f"{type(error).__module__}.{type(error).__name__}".removeprefix("builtins.")
    text = f"Malformed packet ({kind})"
    return err.OperationalError(CR.CR_MALFORMED_PACKET, text)


class Closable(t.Protocol):
    def malformed(self, error: Exception) -> err.OperationalError:
        """Close the connection and return :func:`malformed_error`."""


class parsing:  # noqa: N801  # as contextlib.closing
    """Where the block cannot parse an answer, close the connection and raise
    :func:`malformed_error`.

    What each statement or row passes asks :func:`raised_by_parsing` in its own
    ``except`` instead: that costs nothing unless there is an error.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Closable) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: object, error: BaseException | None, where: object
    ) -> None:
        if isinstance(error, Exception) and raised_by_parsing(error):
            raise self._connection.malformed(error) from error
