"""Tells from the text of a statement what it may do to a session.

The server's status flags report most changes, but not those that hide in a plain
``SELECT`` (``@a := 1``, ``INTO @a``, ``GET_LOCK()``) nor those of ``LOCK TABLES``,
``FLUSH … WITH READ LOCK`` and ``HANDLER``. Here a statement is innocent only if it is
known to be: in doubt it has touched the session.
"""

from __future__ import annotations

import re
from enum import Enum


class Kind(Enum):
    """What a statement does, as far as its text tells."""

    READ = "read"
    WRITE = "write"
    TRANSACTION = "transaction"
    OTHER = "other"  # it may have changed the session


_KINDS = {
    **dict.fromkeys((b"SELECT", b"SHOW", b"EXPLAIN", b"DESCRIBE", b"DESC"), Kind.READ),
    **dict.fromkeys((b"VALUES", b"TABLE"), Kind.READ),
    **dict.fromkeys((b"INSERT", b"UPDATE", b"DELETE", b"REPLACE"), Kind.WRITE),
    b"WITH": Kind.WRITE,  # or a read: the text alone does not say cheaply
    **dict.fromkeys((b"BEGIN", b"COMMIT", b"ROLLBACK"), Kind.TRANSACTION),
    **dict.fromkeys((b"SAVEPOINT", b"RELEASE"), Kind.TRANSACTION),
}
_WORD = re.compile(rb"[\s(]*([A-Za-z]+)")
_START = re.compile(rb"\s*START\s+TRANSACTION\b", re.IGNORECASE)
_INTO_VARIABLE = re.compile(rb"\bINTO\s*@", re.IGNORECASE)


def first_word(sql: bytes) -> bytes:
    """Return the first word in capitals, empty where there is none."""
    match = _WORD.match(sql)
    return match[1].upper() if match else b""


def kind_of(sql: bytes) -> Kind:
    """Return what ``sql``, one statement, may do to its session."""
    # Six letters each: SELECT, INSERT, UPDATE, DELETE need no regular expression.
    kind = _KINDS.get(sql[:6].upper()) or _KINDS.get(first_word(sql))
    if kind is None:
        return Kind.TRANSACTION if _START.match(sql) else Kind.OTHER
    if b":=" in sql or b"/*" in sql or b"_LOCK" in sql.upper():
        return Kind.OTHER
    if b"@" in sql and _INTO_VARIABLE.search(sql):
        return Kind.OTHER
    return kind
