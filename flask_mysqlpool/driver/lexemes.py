"""The lexemes of a statement: what in its text are values, comments and parameters.

Rule: a text that servers may read in more than one way counts as read by nobody. It
shows its first word only, and its parameters count as anywhere.
"""

from __future__ import annotations

import re

from .statements import first_word
from .statements import WORDS

MAX_SHOWN = 300  # characters of a statement that are shown
MAX_READ = 20_000  # characters; a longer text shows its first word only

# Known, since an unknown word at the start may be part of a value.
_FIRST_WORDS = frozenset().union(*WORDS.values()) | frozenset(
    "ALTER ANALYZE BINLOG CALL CHANGE CHECK CHECKSUM CREATE DEALLOCATE DO DROP EXECUTE"
    " FLUSH GRANT HANDLER KILL LOAD LOCK OPTIMIZE PREPARE PURGE RENAME REPAIR RESET"
    " REVOKE SET SIGNAL START STOP TRUNCATE UNLOCK USE XA".split()
)
_DOUBT = "\0"  # no lexeme contains it


def _lexeme(backslashes: bool) -> re.Pattern[str]:
    """Return what matches the next lexeme, or all the rest where there is none.

    The rest is matched last, so no character is read twice by the same alternative.
    Names and values do not touch: ``'O'Brien'`` has a quote too many.
    """
    apart = r"(?![\w$'\"])"
    single, double = r"'(?:[^'\x00]|'')*'", r'"(?:[^"\x00]|"")*"'
    if backslashes:
        single = r"'(?:[^'\\\x00]|\\[^\x00]|'')*'"
        # With ANSI_QUOTES it is a name, where a backslash escapes no quote.
        double = r'"(?:[^"\\\x00]|\\[^"\x00]|"")*"'
    number = r"\.?\d[\w.]*(?:(?<=[eE])[-+]\d+)?"
    line = r"(?:#|--(?=[\x01-\x20\x7f]|\Z))[^\n\x00]*"
    # Not what a server may run, /*! … */, nor a hint that quotes something.
    block = r"/\*(?![Mm]?!|\+)[^\x00]*?\*/|/\*\+[^'\"`\x00]*?\*/"
    return re.compile(
        rf"(?P<space>\s+)"
        rf"|(?P<introducer>(?:[xXbBnN]|_[A-Za-z0-9]+)(?='))"
        rf"|(?P<name>(?:[A-Za-z_][A-Za-z0-9_$]*|[^\W\d]\w*){apart})"
        rf"|(?P<value>(?:{single}|{double}|{number}){apart})"
        rf"|(?P<quoted>`[^`\x00]*`)"
        rf"|(?P<comment>{line}|{block})"
        # -- is two minus signs only in front of what is a control character in no
        # character set.
        rf"|(?P<mark>[+%&|^~<>=!(),.;:@?{{}}]|\*(?!/)|/(?!\*)|-(?!-)|-(?=-[!-~]))"
        rf"|(?P<rest>.+)",
        re.DOTALL,
    )


_LEXEME, _LEXEME_NO_BACKSLASH = _lexeme(True), _lexeme(False)
_PARAMETER = re.compile(r"(?<=[\s(,=<>+])%(?:\(\w+\))?s(?=[\s),;=<>+]|\Z)|%%")


def without_values(sql: str, backslashes: bool) -> str:
    """Return a statement with its numbers and strings replaced by question marks, in
    one line, cut to what a person reads of it; only its first word where it is not
    certain which parts are values. What is in double quotes counts as a value.

    :param sql: a text, or a template with parameters, which stay.
    :param backslashes: they escape, as they do unless the session's SQL mode says
        otherwise.
    """
    lexeme = _LEXEME if backslashes else _LEXEME_NO_BACKSLASH
    shown = _DOUBT if len(sql) > MAX_READ else lexeme.sub(_without_value, sql)
    if _DOUBT in shown:
        word = first_word(sql)
        return f"{word} …" if word in _FIRST_WORDS else "…"
    shown = " ".join(shown.split())
    return shown if len(shown) <= MAX_SHOWN else f"{shown[: MAX_SHOWN - 1]}…"


def code_of(sql: str, backslashes: bool) -> str | None:
    """Return a statement without its comments, its values as question marks; ``None``
    where it is not certain which parts are values.

    :param backslashes: as for :func:`without_values`.
    """
    code = (_LEXEME if backslashes else _LEXEME_NO_BACKSLASH).sub(_without_value, sql)
    return None if _DOUBT in code else code


def _without_value(lexeme: re.Match[str]) -> str:
    replaced = {"value": "?", "comment": " ", "rest": _DOUBT}
    return replaced.get(lexeme.lastgroup or "", lexeme[0])


def parameters_are_values(template: str) -> bool:
    """Return whether each parameter of ``template`` stands where a value does, apart
    from everything else: then no value makes another statement of it.
    """
    if "\\" in template:
        return False  # whether it escapes depends on the SQL mode
    code = _PARAMETER.sub("", _LEXEME_NO_BACKSLASH.sub(_code, template))
    return "%" not in code and _DOUBT not in code


def _code(lexeme: re.Match[str]) -> str:
    kind, text = lexeme.lastgroup, lexeme[0]
    if kind == "rest" or kind in ("value", "quoted", "comment") and has_parameter(text):
        return _DOUBT
    if kind == "comment":
        return " "
    return "?" if kind in ("value", "quoted") else text


def has_parameter(text: str) -> bool:
    """Return whether there may be a parameter in a part of a template."""
    return "%" in text and "%" in text.replace("%%", "")
