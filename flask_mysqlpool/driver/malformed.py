"""Errors of parsing what a server sent: they become PyMySQL errors."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def parsing(connection: Closable) -> Iterator[None]:
    """Where the block cannot parse an answer, close the connection and raise
    :func:`malformed_error`.
    """
    try:
        yield
    except Exception as error:
        if not raised_by_parsing(error):
            raise
        raise connection.malformed(error) from error
