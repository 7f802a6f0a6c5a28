"""What a statement may do that its answer does not tell: write in a routine, or end the
transaction and begin another.

The status flags of an answer tell whether a transaction is open, not which one, and not
what a procedure or a stored function wrote. In doubt it did. A stored function or a
trigger can write, but can neither commit nor roll back (MySQL manual, *Restrictions on
Stored Programs*). What a function that only a view calls writes is not found out.
"""

from __future__ import annotations

import re
import typing as t

from .lexemes import code_of
from .native_functions import BEFORE_PARENTHESIS
from .native_functions import PREFIXES
from .statements import first_word
from .statements import first_words

# What begins with one of these runs neither a procedure nor several statements.
_SIMPLE = frozenset(
    "SELECT SHOW EXPLAIN DESCRIBE DESC VALUES TABLE INSERT UPDATE DELETE REPLACE WITH"
    " SAVEPOINT RELEASE ROLLBACK COMMIT START SET DO PREPARE DEALLOCATE USE KILL HELP"
    " HANDLER GET CREATE ALTER DROP RENAME TRUNCATE LOCK UNLOCK FLUSH".split()
)
_DATA = frozenset("INSERT UPDATE DELETE REPLACE WITH".split())
_CALL_FUNCTIONS = _DATA | {"SELECT", "SET", "DO", "VALUES"}
_NUMBER = re.compile(rb"\d+")
_NAME = re.compile(r"[\w$]+")
LONGER_THAN_WORDS = 30  # characters: than those of the server
LONGEST_NAME = 64  # characters (MySQL manual, Identifier Length Limits)


def runs_unseen(sql: str) -> bool:
    """Return whether ``sql``, one statement, may run others that its answer does not
    tell of: those of a procedure, a prepared statement or a compound one. What these
    change may be uncommitted, and they may end a transaction and begin another.
    """
    if sql[:6].upper() in _SIMPLE:
        return False  # the common case
    return any(
        not words or words[0] not in _SIMPLE or words[:2] == ["SET", "STATEMENT"]
        for words in first_words(sql)
    )


def changes_rows(sql: str, result: t.Any) -> bool:
    """Return whether a statement may have changed data, not counting what it ran
    unseen.

    :param result: its answer, of PyMySQL.
    """
    word = first_word(sql)
    if word not in _DATA or (word == "WITH" and result.field_count):
        return False
    if result.affected_rows:  # those returned, of INSERT … RETURNING
        return True
    if word == "DELETE":
        return "IGNORE" in sql.upper()
    # The first number in the OK packet's text, in whatever language, is that of the
    # rows that were looked at. A trigger may have written for each of them.
    looked_at = _NUMBER.search(result.message or b"")
    return looked_at is None or int(looked_at[0]) != 0


def calls_stored_function(sql: str) -> bool:
    """Return whether ``sql`` calls a function that is not the server's own."""
    if not _calls_unknown(sql) or first_word(sql) not in _CALL_FUNCTIONS:
        return False
    # A name within a string or a comment is none; where a string ends depends on the
    # SQL mode.
    codes = (code_of(sql, backslashes) for backslashes in (True, False))
    return any(code is None or _calls_unknown(code) for code in codes)


def _calls_unknown(code: str) -> bool:
    """Return whether a name that is not the server's stands in front of a parenthesis.
    The text is read once, and a few characters again for each parenthesis.
    """
    before = code.split("(")
    before.pop()
    for text in before:
        word = text[-LONGER_THAN_WORDS:].removesuffix(" ").rpartition(" ")[2]
        if word.upper() in BEFORE_PARENTHESIS:
            continue  # the common case, in fewer steps
        text = text.rstrip()
        if text.endswith(("`", '"', "?", "*/")):
            return True  # a name in quotes, or a comment behind one
        backwards = text[: -LONGEST_NAME - 2 : -1]
        name = _NAME.match(backwards)
        if name is None:
            continue
        if backwards[name.end() :].startswith("."):
            return True  # of a schema
        word = name[0][::-1].upper()
        if word not in BEFORE_PARENTHESIS and not word.startswith(PREFIXES):
            return True
    return False
