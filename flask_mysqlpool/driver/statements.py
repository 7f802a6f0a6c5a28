"""Tells from the text of a statement what it may do to a session.

The server's status flags report most changes, but not those that hide in a plain
``SELECT`` (``@a := 1``, ``INTO @a``, ``GET_LOCK()``, ``LAST_INSERT_ID(1)``) nor those
of ``LOCK TABLES``, ``FLUSH … WITH READ LOCK`` and ``HANDLER``. Here a statement is
innocent only if it is known to be: in doubt it has touched the session. What a stored
function does inside is seen by the server alone.
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
# A statement holds what visitors typed: each expression must read any text in linear
# time. None has two repetitions in a row that match the same characters.
_WORD = re.compile(r"[\s(]*([A-Za-z]+)")  # one attempt; no blank begins a word
_ENDS_BLOCK = re.compile(  # one attempt; each run of blanks is followed by a letter
    r"\s*(?:COMMIT|BEGIN|START\s+TRANSACTION|LOCK\s+TABLES?|ROLLBACK(?!(?:\s+WORK)?\s+TO))\b",
    re.IGNORECASE,
)
_START = re.compile(r"\s*START\s+TRANSACTION\b", re.IGNORECASE)  # the same
# No word boundary in front: "1.5INTO @a" is two words to the server. What begins a
# comment counts as the variable behind it: to skip comments from each INTO would read
# those that hold INTO again and again. An attempt reads one run of blanks.
_INTO_VARIABLE = re.compile(r"INTO\s*(?:@|--|#)")
# An attempt of these reads one run of blanks, too: no other begins within it.
_BEYOND_RESET = re.compile(r"\bPROFILING\b|\bRESOURCE\s+GROUP\b", re.IGNORECASE)
_NEXT_VALUE = re.compile(r"NEXT\s*VAL")  # of a sequence: LASTVAL() of the session
_USE = re.compile(r"\b(?:USE|EXECUTE)\b", re.IGNORECASE)  # repeats nothing

LONGEST_SHOWN = 300  # characters of a statement that are shown
LONGEST_READ = 20_000  # characters


def _token(escape: str) -> re.Pattern[str]:
    """Return what finds values and comments, and names in backquotes: what looks like
    a quote within one of them is none. A string may lack its end, which was cut off.

    It reads no character twice: what has begun always matches, up to its own end or
    that of the text.
    """
    strings = "|".join(
        rf"{quote}(?:[^{quote}{escape}]{escape and '|' + escape + '.?'}|{quote * 2})*"
        rf"(?:{quote}|\Z)"
        for quote in ("'", '"')
    )
    number = r"(?<![\w$])\.?\d[\w.]*(?:(?<=[eE])[-+]\d+)?"
    comment = r"--(?=[\x00-\x20]|\Z)[^\n]*|#[^\n]*|/\*.*?(?:\*/|\Z)"
    return re.compile(
        rf"`(?:[^`])*(?:`|\Z)|(?P<comment>{comment})|(?P<value>{strings}|{number})",
        re.DOTALL,
    )


_TOKEN, _TOKEN_NO_BACKSLASH = _token(r"\\"), _token("")


def without_values(sql: str, backslashes: bool) -> str:
    """Return a statement with its numbers and strings replaced by question marks, in
    one line, cut to what a person reads of it.

    :param backslashes: they escape, as they do unless the session's SQL mode says
        otherwise.
    """
    token = _TOKEN if backslashes else _TOKEN_NO_BACKSLASH
    shown = token.sub(_without_value, sql[:LONGEST_READ])
    shown = " ".join(shown.split())
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[: LONGEST_SHOWN - 1]}…"


def _without_value(token: re.Match[str]) -> str:
    if token["comment"] is not None:
        return " "
    return "?" if token["value"] is not None else token[0]


def first_word(sql: str) -> str:
    """Return the first word in capitals, empty where there is none."""
    match = _WORD.match(sql)
    return match[1].upper() if match else ""


def beyond_reset(sql: str, has_database: bool) -> bool:
    """Return whether ``sql``, of kind :data:`OTHER`, may leave something that no
    reset undoes: the statements that MariaDB keeps for ``SHOW PROFILES``, MySQL's
    resource group, or a database in a session that had none.
    """
    if _BEYOND_RESET.search(sql):
        return True
    return not has_database and _USE.search(sql) is not None


def ends_block(sql: str) -> bool:
    """Return whether ``sql`` ends the transaction that it is sent in, though another
    may begin with it. Others that do are seen by the server's flags.
    """
    return _ENDS_BLOCK.match(sql) is not None


def kind_of(sql: str) -> Kind:
    """Return what ``sql``, one statement, may do to its session."""
    kind = _SIX.get(sql[:6]) or _KINDS.get(first_word(sql))
    if kind is None:
        return TRANSACTION if _START.match(sql) else OTHER
    capitals = sql.upper()
    if ":=" in sql or "/*" in sql or "_LOCK" in capitals or "_INSERT_ID" in capitals:
        return OTHER
    if "@" in sql and "INTO" in capitals and _INTO_VARIABLE.search(capitals):
        return OTHER
    if "NEXT" in capitals and _NEXT_VALUE.search(capitals):
        return OTHER
    if kind is WRITE and "RETURNING" in capitals:
        return OTHER  # its rows come without the id that was inserted
    if kind is TRANSACTION and "NOT" in capitals:
        return OTHER  # BEGIN NOT ATOMIC: any statements
    return kind
