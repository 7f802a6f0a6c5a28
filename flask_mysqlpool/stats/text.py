"""Text from elsewhere, made safe to show.

Names, statements, paths and what a server or a worker says may hold characters that a
terminal obeys, that end a line of the log, or that show a text in another order. Each
is escaped where it enters, so that all who show it need not think of it.
"""

from __future__ import annotations


def printable(text: object) -> str:
    """Return ``str(text)`` with each character escaped that ``repr()`` escapes, such as
    ``\\x1b`` or ``\\u202e``. Backslashes stay as they are.
    """
    text = str(text)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
