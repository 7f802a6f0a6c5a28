"""Reads a statement as servers do, one character at a time: what is code, a name in
quotes, a string or a comment (MySQL Reference Manual, Lexical Structure).
"""

from __future__ import annotations

import dataclasses
import string

_WORD = frozenset(string.ascii_letters + string.digits + "_$é")


@dataclasses.dataclass(frozen=True)
class Mode:
    """How a server reads.

    ``runs``: what is in ``/*! … */``. ``dollars``: ``$$ … $$`` quotes a text.
    """

    backslashes: bool
    ansi_quotes: bool
    runs: bool
    dollars: bool


class Reading:
    """How a server reads a text: :attr:`parts` has a letter for each character: of
    code, a name in quotes, a string or a comment.
    """

    def __init__(self, text: str, mode: Mode) -> None:
        self.parts: list[str] = []
        self.balanced = True
        self._text, self._mode, self._in_run = text, mode, False
        while len(self.parts) < len(text):
            self._read()
        self.balanced = self.balanced and not self._in_run

    def code(self) -> str:
        """Return the text without what is in strings and comments."""
        blank = {"s": "?", "k": " "}
        marked = zip(self._text, self.parts, strict=True)
        return "".join(blank.get(part, char) for char, part in marked)

    def hides(self, secret: str) -> bool:
        """Return whether ``secret`` is in a string, a comment or a number."""
        at = self._text.find(secret)
        if at < 0 or self.parts[at] == "n":
            return False
        return self.parts[at] != "c" or (
            secret.isdigit() and self._text[at - 1] not in _WORD
        )

    def _read(self) -> None:
        text, at = self._text, len(self.parts)
        char, two = text[at], text[at : at + 2]
        if char in _WORD and not (char == "$" and self._mode.dollars):
            self._take("c", self._end_of_word(at))
        elif char == "$":
            self._dollars(at)
        elif char in "'\"`":
            escapes = self._mode.backslashes and char != "`"
            name = char == "`" or (char == '"' and self._mode.ansi_quotes)
            self._quoted(at, char, escapes and not name, "n" if name else "s")
        elif char == "#" or (two == "--" and self._ends_minus(at + 2)):
            ends = [text.find(end, at) for end in ("\n", "\0")]
            self._take("k", min([end for end in ends if end > 0], default=len(text)))
        elif two == "/*":
            self._comment(at)
        elif two == "*/" and self._in_run:
            self._in_run = False
            self._take("k", at + 2)
        else:
            self._take("c", at + 1)

    def _take(self, part: str, end: int) -> None:
        self.parts.extend(part * (end - len(self.parts)))

    def _end_of_word(self, at: int) -> int:
        while at < len(self._text) and self._text[at] in _WORD:
            at += 1
        return at

    def _ends_minus(self, at: int) -> bool:
        return self._text[at : at + 1] <= " " or self._text[at] == "\x7f"

    def _dollars(self, at: int) -> None:
        end = self._text.find("$", at + 1)
        tag = self._text[at : end + 1]
        if end < 0 or not set(tag) <= _WORD:
            self._take("c", at + 1)
            return
        end = self._text.find(tag, end + 1)
        self.balanced = self.balanced and end >= 0
        self._take("s", len(self._text) if end < 0 else end + len(tag))

    def _quoted(self, at: int, quote: str, escapes: bool, part: str) -> None:
        text, end = self._text, at + 1
        while end < len(text):
            if escapes and text[end] == "\\":
                end += 1
            elif text[end] == quote:
                if text[end + 1 : end + 2] != quote:
                    self._take(part, end + 1)
                    return
                end += 1
            end += 1
        self.balanced = False
        self._take(part, len(text))

    def _comment(self, at: int) -> None:
        text = self._text
        mark = 3 if text.startswith("/*!", at) else 4
        if self._mode.runs and text[at : at + 4].upper().startswith(("/*!", "/*M!")):
            self._in_run = True
            end = at + mark
            while end < len(text) and text[end].isdigit():
                end += 1
            self._take("k", end)
            return
        end = text.find("*/", at + 2)
        self.balanced = self.balanced and end >= 0
        self._take("k", len(text) if end < 0 else end + 2)
