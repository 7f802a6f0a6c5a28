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
from itertools import pairwise

from .lexemes import code_of
from .native_functions import BEFORE_PARENTHESIS
from .native_functions import PREFIXES
from .statements import first_word
from .statements import first_words
from .statements import READ
from .statements import TRANSACTION
from .statements import WORDS
from .statements import WRITE

_DATA = WORDS[WRITE]
_CALL_FUNCTIONS = _DATA | WORDS[READ] | {"CREATE", "DO", "HANDLER", "SET"}
# What begins with one of these runs neither a procedure nor several statements.
_SIMPLE = _CALL_FUNCTIONS | WORDS[TRANSACTION] - {"BEGIN"}  # BEGIN NOT ATOMIC
_SIMPLE |= frozenset(
    "START PREPARE DEALLOCATE USE KILL HELP GET ALTER DROP RENAME TRUNCATE LOCK UNLOCK"
    " FLUSH".split()
)
_NUMBER = re.compile(rb"\d+")
_NAME = re.compile(r"[\w$]+")
_QUOTED = re.compile("`[^`]*`")
_QUERY = re.compile(r"\b(?:SELECT|VALUES|WITH)\b", re.IGNORECASE)  # repeats nothing
_TABLE = re.compile(r"[\w$`.]+\s+OTNI\b", re.IGNORECASE)  # backwards
_COLUMNS = re.compile(r"[\w$`\s,]*\)\s*AS\s*\Z", re.IGNORECASE)  # then a parenthesis
MAX_SEARCHED = 200_000  # characters: more would hold up other threads
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


def calls_stored_function(sql: str, backslashes: bool) -> bool:
    """Return whether ``sql`` calls a function that is not the server's own. One of more
    than :data:`MAX_SEARCHED` characters does if it has a parenthesis.

    :param backslashes: they escape, in the session's SQL mode.
    """
    if len(sql) > MAX_SEARCHED:
        return "(" in sql and first_word(sql) in _CALL_FUNCTIONS
    if not _calls_unknown(sql) or (word := first_word(sql)) not in _CALL_FUNCTIONS:
        return False
    if word == "CREATE" and "TEMPORARY" not in sql.upper():
        return False  # it commits, or runs nothing
    # A name within a string or a comment is none, nor is a part of one in quotes.
    code = code_of(sql, backslashes)
    if code is None:
        return True
    code = _QUOTED.sub("``", code)
    if word == "CREATE":
        query = _QUERY.search(code)
        code = code[query.start() :] if query else ""
    return _calls_unknown(code)


def _calls_unknown(code: str) -> bool:
    """Return whether a name that is not the server's stands in front of a parenthesis.
    The text is read once, and a few characters again for each parenthesis.
    """
    for text, following in pairwise(code.split("(")):
        word = text[-LONGER_THAN_WORDS:].removesuffix(" ").rpartition(" ")[2]
        if word.upper() in BEFORE_PARENTHESIS:
            continue  # the common case, in fewer steps
        text = text.rstrip()
        backwards = text[: -2 * LONGEST_NAME - 10 : -1]
        if _TABLE.match(backwards) or _COLUMNS.match(following):
            continue  # INSERT INTO a (…), WITH a (…) AS (…)
        if text.endswith(("`", '"', "?", "*/")):
            return True  # a name in quotes, or a comment behind one
        name = _NAME.match(backwards)
        if name is None:
            continue
        if backwards[name.end() :].startswith("."):
            return True  # of a schema
        word = name[0][::-1].upper()
        if word not in BEFORE_PARENTHESIS and not word.startswith(PREFIXES):
            return True
    return False
