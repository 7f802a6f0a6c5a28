"""Text is shown with its control characters escaped, and otherwise as it is."""

from __future__ import annotations

import pytest

from flask_mysqlpool.stats.text import printable

CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
LINE_ENDS_AND_HALVES = [0x2028, 0x2029, 0xD800, 0xDFFF]
DIRECTIONS = [0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
NO_WIDTH = [0x200B, 0x2060, 0xFEFF, 0xE0001]


@pytest.mark.parametrize(
    "character",
    [*map(chr, CONTROLS + LINE_ENDS_AND_HALVES + DIRECTIONS + NO_WIDTH)],
    ids=ascii,
)
def test_character_that_is_obeyed_or_hides_is_escaped(character: str) -> None:
    shown = printable(f"a{character}b")
    assert shown == "a" + repr(character)[1:-1] + "b"
    assert shown.isascii() and printable(shown) == shown


@pytest.mark.parametrize(
    "text", ["", "Größe 店 👍 e\u0301", r"C:\new", 'it\'s "quoted"']
)
def test_other_text_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_text_of_anything_else() -> None:
    assert printable(OSError("no\nroute")) == r"no\nroute"
