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


READ, WRITE, TRANSACTION, OTHER = Kind  # a member's look-up on its class is slow

_WORDS = {
    READ: "SELECT SHOW EXPLAIN DESCRIBE DESC VALUES TABLE",
    WRITE: "INSERT UPDATE DELETE REPLACE WITH",  # WITH: the text is slow to tell
    TRANSACTION: "BEGIN COMMIT ROLLBACK SAVEPOINT RELEASE",
}
_KINDS = {word: kind for kind in _WORDS for word in _WORDS[kind].split()}
# The first six letters, as they mostly are written, tell without a regular expression.
_SIX = {
    written: kind
    for word, kind in _KINDS.items()
    if len(word) == 6
    for written in (word, word.lower())
}
_WORD = re.compile(r"[\s(]*([A-Za-z]+)")
_START = re.compile(r"\s*START\s+TRANSACTION\b", re.IGNORECASE)
_INTO_VARIABLE = re.compile(r"\bINTO\s*@")


def first_word(sql: str) -> str:
    """Return the first word in capitals, empty where there is none."""
    match = _WORD.match(sql)
    return match[1].upper() if match else ""


def kind_of(sql: str) -> Kind:
    """Return what ``sql``, one statement, may do to its session."""
    kind = _SIX.get(sql[:6]) or _KINDS.get(first_word(sql))
    if kind is None:
        return TRANSACTION if _START.match(sql) else OTHER
    capitals = sql.upper()
    if ":=" in sql or "/*" in sql or "_LOCK" in capitals:
        return OTHER
    if "@" in sql and "INTO" in capitals and _INTO_VARIABLE.search(capitals):
        return OTHER
    return kind
