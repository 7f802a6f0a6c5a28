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

#: The words that statements of a kind begin with.
WORDS = {
    READ: frozenset("SELECT SHOW EXPLAIN DESCRIBE DESC VALUES TABLE".split()),
    # WITH: the text is slow to tell.
    WRITE: frozenset("INSERT UPDATE DELETE REPLACE WITH".split()),
    TRANSACTION: frozenset("BEGIN COMMIT ROLLBACK SAVEPOINT RELEASE".split()),
}
_KINDS = {word: kind for kind, words in WORDS.items() for word in words}
# The first six letters, as they mostly are written, tell without a regular expression.
_SIX = {
    written: kind
    for word, kind in _KINDS.items()
    if len(word) == 6
    for written in (word, word.lower())
}
# A statement holds what visitors typed, so each expression takes linear time on any
# text: no two repetitions in a row match the same character, and where one is searched
# for, no attempt reads the blanks that another has read.
_WORD = re.compile(r"[\s(]*([A-Za-z]+)")  # tried at one place
_START = re.compile(r"\s*START\s+TRANSACTION\b", re.IGNORECASE)  # tried at one place
# No word boundary in front: "1.5INTO @a" is two words to the server. What begins a
# comment counts as what may stand behind it: to skip comments from each INTO would
# read those that hold INTO again and again.
_INTO_VARIABLE = re.compile(r"INTO\s*(?:@|--|#)")  # blanks hold no other INTO
_NEXT_VALUE = re.compile(r"NEXT\s*(?:VAL|--|#)")  # nor NEXT; of a sequence: LASTVAL()
_BEYOND_RESET = re.compile(  # nor RESOURCE
    r"\bPROFILING\b|\bRESOURCE(?:\s+GROUP\b|\s*(?:/\*|--|#))", re.IGNORECASE
)
_USE = re.compile(r"\b(?:USE|EXECUTE)\b", re.IGNORECASE)  # repeats nothing
# A string, or a name in quotes, without escapes. An attempt fails only where no second
# quote of its kind follows: three times at most.
_QUOTED = re.compile("'[^']*'|\"[^\"]*\"|`[^`]*`")

# What may stand in front of a word: blanks, parentheses and comments, one at a time.
# Each is tried where the last one ended and goes to its first end; one that has no end
# is the last that is tried.
_LINE = r"--(?=[\x00-\x20\x7f]|\Z)[^\n]*|#[^\n]*"  # a comment to the end of the line
_GAP = re.compile(rf"[\s(]+|{_LINE}|/\*(?![Mm]?!).*?\*/", re.DOTALL)
# Whether a server runs what is in /*!50000 … */ or /*M!100100 … */ depends on what it
# is. In some character sets, -- begins a comment in front of \x80 to \xa0, too.
_MAYBE = rf"[\s(]+|{_LINE}|--[\x80-\xa0][^\n]*|/\*(?![Mm]?!).*?\*/|\*/"
_GAP_IF_RUN = re.compile(rf"{_MAYBE}|/\*[Mm]?!\d*", re.DOTALL)
_GAP_IF_NOT = re.compile(rf"{_MAYBE}|/\*.*?\*/", re.DOTALL)
# At the end of a statement. With a quote it may be within a string; NUL may end it.
_LINE_AT_END = re.compile(r"(?:--(?=[\x00-\x20\x7f]|\Z)|#)[^\n\0'\"`]*\Z")
_NOTHING = " \t\n\r;"
_DDL = {"ALTER", "CREATE", "DROP", "LOCK", "RENAME", "TRUNCATE"}
_MAY_END_BLOCK = {"BEGIN", "COMMIT", "LOCK", "ROLLBACK", "START"}


def first_word(sql: str) -> str:
    """Return the first word in capitals, empty where there is none. Comments in front
    are skipped; what is in one that a server may run counts as if it did.
    """
    word = _WORD.match(sql) or _WORD.match(sql, _behind(_GAP_IF_RUN, sql))
    return word[1].upper() if word else ""


def values_are_data(sql: str) -> bool:
    """Return whether no value in ``sql`` can be run as a statement, as by PREPARE or
    in a procedure.
    """
    return _KINDS.get(first_word(sql)) in (READ, WRITE)


def commits_first(sql: str) -> bool:
    """Return whether ``sql`` commits the open transaction before it does its work, as
    DDL does. An error of that work, such as a deadlock, does not undo the commit.
    """
    return first_word(sql) in _DDL and "TEMPORARY" not in sql.upper()


def first_words(sql: str) -> tuple[list[str], list[str]]:
    """Return the first three words in capitals, or as many as there are: as if a server
    ran what is in the comments that it may run, and as if it did not.
    """
    return _words(sql, _GAP_IF_RUN), _words(sql, _GAP_IF_NOT)


def beyond_reset(sql: str, has_database: bool) -> bool:
    """Return whether ``sql``, of kind :data:`OTHER`, may leave something that no
    reset undoes: the statements that MariaDB keeps for ``SHOW PROFILES``, MySQL's
    resource group, or a database in a session that had none.
    """
    if _BEYOND_RESET.search(sql):
        return True
    return not has_database and _USE.search(sql) is not None


def counts_found_rows(sql: str) -> bool:
    """Return whether FOUND_ROWS() may tell something of ``sql`` to the next holder."""
    return "SQL_CALC_FOUND_ROWS" in sql.upper()


def ends_block(sql: str) -> bool:
    """Return whether ``sql`` ends the transaction that it is sent in, though another
    may begin with it. Others that do are seen by the server's flags. What stands in or
    behind a comment that a server may run counts in either case.
    """
    if (kind := _SIX.get(sql[:6])) is READ or kind is WRITE:
        return False  # the common case
    word = _WORD.match(sql)
    if word is not None and word[1].upper() not in _MAY_END_BLOCK:
        return False
    return any(map(_end_block, first_words(sql)))


def _end_block(words: list[str]) -> bool:
    match words:
        case ["ROLLBACK", "TO", *_] | ["ROLLBACK", "WORK", "TO"]:
            return False  # to a savepoint
        case ["START", "TRANSACTION", *_] | ["LOCK", "TABLE" | "TABLES", *_]:
            return True
    return words[:1] in (["BEGIN"], ["COMMIT"], ["ROLLBACK"])


def kind_of(sql: str) -> Kind:
    """Return what ``sql``, one statement, may do to its session."""
    kind = _SIX.get(sql[:6])
    if kind is None:
        word = _WORD.match(sql)
        if word is None:
            sql = sql[_behind(_GAP, sql) :]
            word = _WORD.match(sql)
        if word is None:
            return OTHER
        kind = _KINDS.get(word[1].upper())
        if kind is None:
            return TRANSACTION if _START.match(sql) else OTHER
    if "/" in sql and "/*" in sql:  # one character is found much faster
        sql = _without_comments_at_end(sql)
        if "/*" in sql:
            return OTHER
    if ":" in sql and ":=" in sql:
        return OTHER
    capitals = sql.upper()
    if "_LOCK" in capitals or "_INSERT_ID" in capitals or "SQL_CALC" in capitals:
        return OTHER  # the last: SQL_CALC_FOUND_ROWS, for FOUND_ROWS()
    if "@" in sql and "INTO" in capitals and _INTO_VARIABLE.search(capitals):
        return OTHER
    if "NEXT" in capitals and _NEXT_VALUE.search(capitals):
        return OTHER
    if kind is WRITE and "RETURNING" in capitals:
        return OTHER  # its rows come without the id that was inserted
    if kind is TRANSACTION and "NOT" in capitals:
        return OTHER  # BEGIN NOT ATOMIC: any statements
    return kind


def core_of(sql: str) -> tuple[int, int]:
    """Return where ``sql`` begins and ends without what looks like comments around it.
    At its end they are some only if no string or other comment is open there.
    """
    start = _behind(_GAP, sql) if sql.lstrip()[:1] in ("/", "-", "#") else 0
    end = len(sql.rstrip(_NOTHING))
    if not sql.endswith("*/", start, end):
        line = max(start, sql.rfind("\n", 0, end) + 1)
        if found := _LINE_AT_END.search(sql[line:end]):
            end = len(sql[: line + found.start()].rstrip(_NOTHING))
    while sql.endswith("*/", start, end):
        at = sql.rfind("/*", start, end - 2)
        if at < 0 or not (found := _GAP.match(sql, at)) or found.end() < end:
            break
        end = len(sql[:at].rstrip(_NOTHING))
    return start, max(start, end)


def _without_comments_at_end(sql: str) -> str:
    """Return ``sql`` without the comments at its end, or as it is where they may be
    something else: within a string, run by the server, followed by more.
    """
    at = sql.find("/*")
    if sql[_behind(_GAP, sql, at) :].strip(_NOTHING):
        return sql
    code = sql[:at]
    if "\\'" in code or '\\"' in code:
        return sql  # whether the string ends there depends on the SQL mode
    unquoted = _QUOTED.sub(" ", code)
    marks = ("'", '"', "`", "#", "--")  # a quote or a comment that is open at the end
    return sql if any(mark in unquoted for mark in marks) else code


def _words(sql: str, gap: re.Pattern[str]) -> list[str]:
    """Return the first three words in capitals, or as many as there are."""
    words: list[str] = []
    at = 0
    while len(words) < 3 and (word := _WORD.match(sql, _behind(gap, sql, at))):
        words.append(word[1].upper())
        at = word.end()
    return words


def _behind(gap: re.Pattern[str], sql: str, at: int = 0) -> int:
    """Return where the gap that begins at ``at`` ends: there, if there is none."""
    while found := gap.match(sql, at):
        at = found.end()
    return at
