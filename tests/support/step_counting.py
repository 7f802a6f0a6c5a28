"""Counts the steps of reading a text, so that a test needs no clock: the characters
that a method of ``str`` looks at, and what a regular expression tries.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
import typing as t
from collections.abc import Callable

# The parser of ``re``, which is private.
_PARSER: t.Any = importlib.import_module(
    "re._parser" if sys.version_info >= (3, 11) else "sre_parse"
)
_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_WORD": lambda character: character.isalnum() or character == "_",
}
_MOST = 1_000_000  # steps of one attempt


class Steps:
    """How many steps there were."""

    taken = 0


class CountedText(str):
    """A text that counts the characters which its methods look at. Methods that it
    cannot count fail.
    """

    steps: Steps

    def __getattribute__(self, name: str) -> t.Any:
        public = not name.startswith("_")
        if public and hasattr(str, name) and name not in CountedText.__dict__:
            raise NotImplementedError(f"the steps of str.{name} are not counted")
        return object.__getattribute__(self, name)

    def __contains__(self, part: str) -> bool:  # type: ignore[override]  # of str only
        return self.find(part) >= 0

    def __getitem__(self, key: t.SupportsIndex | slice) -> CountedText:
        return self._counted(str.__getitem__(self, key))

    def __iter__(self) -> t.Any:
        raise NotImplementedError("the steps of a loop are not counted")

    def find(self, part: str, start: t.Any = 0, end: t.Any = None) -> int:
        at = str.find(self, part, start, end)
        last = len(self) if end is None else end
        self.steps.taken += max(1, (last if at < 0 else at + len(part)) - start)
        return at

    def upper(self) -> CountedText:
        return self._counted(str.upper(self))

    def strip(self, characters: str | None = None) -> CountedText:
        self.steps.taken += len(self)
        return self._counted(str.strip(self, characters))

    def split(self, *arguments: t.Any) -> list[str]:
        self.steps.taken += len(self)
        return str.split(self, *arguments)

    def _counted(self, text: str) -> CountedText:
        self.steps.taken += 1 + len(text)
        return counted_text(text, self.steps)


def counted_text(text: str, steps: Steps) -> CountedText:
    """Return ``text`` as one that counts into ``steps``."""
    counted = CountedText(text)
    counted.steps = steps
    return counted


class CountedPattern:
    """A regular expression that finds what ``re`` finds, and counts the steps of a
    search that goes back where ``re`` may: ``re`` itself takes no more, but for a
    constant factor.
    """

    def __init__(self, pattern: re.Pattern[str], steps: Steps) -> None:
        self._pattern = pattern
        self._steps = steps
        self._program = _program(pattern)

    def match(self, text: str, at: int = 0) -> re.Match[str] | None:
        end = self._end(str(text), at)
        found = self._pattern.match(text, at)
        assert end == (found.end() if found else None), self._pattern
        return found

    def search(self, text: str, at: int = 0) -> re.Match[str] | None:
        plain = str(text)
        tries = ((start, self._end(plain, start)) for start in range(at, len(text) + 1))
        span = next((span for span in tries if span[1] is not None), None)
        found = self._pattern.search(text, at)
        assert span == (found.span() if found else None), self._pattern
        return found

    def sub(self, new: t.Any, text: str) -> str:
        at = 0
        while at <= len(text) and (found := self.search(text, at)):
            assert found[0], "a pattern that may match nothing is not counted"
            at = found.end()
        return counted_text(self._pattern.sub(new, text), self._steps)

    def _end(self, text: str, at: int) -> int | None:
        end, taken = _run(self._program, text, at)
        self._steps.taken += taken
        return end


# An instruction: what it is, what it tests or where to go on, and where else to.
_Program = list[tuple[str, t.Any, t.Any]]


@functools.cache
def _program(pattern: re.Pattern[str]) -> _Program:
    program: _Program = []
    _add(program, _PARSER.parse(pattern.pattern, pattern.flags), pattern.flags)
    return [*program, ("end", None, None)]


def _add(program: _Program, tree: t.Any, flags: int) -> None:
    """Add the instructions for a parsed expression."""
    for operation, value in tree:
        name = operation.name
        if name in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
            test = functools.cache(functools.partial(_accepts, name, value, flags))
            program.append(("character", test, None))
        elif name == "SUBPATTERN":
            _add(program, value[3], flags)
        elif name == "BRANCH":
            _add_branches(program, value[1], flags)
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            _add_repeat(program, value, flags, greedy=name == "MAX_REPEAT")
        elif name in ("ASSERT", "ASSERT_NOT"):
            behind = value[1].getwidth()[1] if value[0] < 0 else 0
            inner: _Program = []
            _add(inner, value[1], flags)
            inner.append(("end", None, None))
            program.append((name, inner, behind))
        elif name == "AT":
            program.append((value.name, None, None))
        else:
            raise NotImplementedError(f"the steps of {name} are not counted")


def _add_branches(program: _Program, branches: t.Any, flags: int) -> None:
    ends = []
    for branch in branches[:-1]:
        split = len(program)
        program.append(("split", None, None))
        _add(program, branch, flags)
        ends.append(len(program))
        program.append(("jump", None, None))
        program[split] = ("split", split + 1, len(program))
    _add(program, branches[-1], flags)
    for end in ends:
        program[end] = ("jump", len(program), None)


def _add_repeat(program: _Program, value: t.Any, flags: int, greedy: bool) -> None:
    least, most, tree = value
    endless = most == _PARSER.MAXREPEAT
    assert tree.getwidth()[0] > 0 or not endless, "an endless loop over nothing"
    for _ in range(least):
        _add(program, tree, flags)
    for _ in range(1 if endless else most - least):
        split = len(program)
        program.append(("split", None, None))
        _add(program, tree, flags)
        if endless:
            program.append(("jump", split, None))
        inside, behind = split + 1, len(program)
        first, second = (inside, behind) if greedy else (behind, inside)
        program[split] = ("split", first, second)


def _accepts(name: str, value: t.Any, flags: int, character: str) -> bool:
    """Return whether a part of an expression that takes one character takes it."""
    if name == "NOT_LITERAL":
        return not _accepts("LITERAL", value, flags, character)
    if name == "IN":
        negated = value[0][0].name == "NEGATE"
        parts = value[1:] if negated else value
        found = any(_accepts(p.name, v, flags, character) for p, v in parts)
        return not found if negated else found
    if name == "ANY":
        return bool(flags & re.DOTALL) or character != "\n"
    if name == "CATEGORY":
        belongs = _CATEGORIES[value.name.replace("_NOT_", "_")](character)
        return not belongs if "_NOT_" in value.name else belongs
    low, high = value if name == "RANGE" else (value, value)
    forms = {character}
    if flags & re.IGNORECASE:
        forms |= {character.lower(), character.upper(), character.upper().lower()}
    return any(len(form) == 1 and low <= ord(form) <= high for form in forms)


def _run(program: _Program, text: str, at: int) -> tuple[int | None, int]:
    """Return where a match that begins at ``at`` ends, and the steps to find it."""
    taken = 0
    untried = [(0, at)]
    while untried:
        step, here = untried.pop()
        while True:
            taken += 1
            assert taken < _MOST, "the search does not end"
            name, first, second = program[step]
            step += 1
            if name == "character":
                if here == len(text) or not first(text[here]):
                    break
                here += 1
            elif name == "split":
                untried.append((second, here))
                step = first
            elif name == "jump":
                step = first
            elif name == "end":
                return here, taken
            elif name in ("ASSERT", "ASSERT_NOT"):
                inner: tuple[int | None, int] = (None, 1)
                if here >= second:
                    inner = _run(first, text, here - second)
                taken += inner[1]
                if (inner[0] is None) == (name == "ASSERT"):
                    break
            elif not _stands_at(name, text, here):
                break
    return None, taken


def _stands_at(name: str, text: str, here: int) -> bool:
    if name == "AT_END_STRING":
        return here == len(text)
    assert name == "AT_BOUNDARY", f"the steps of {name} are not counted"
    word = _CATEGORIES["CATEGORY_WORD"]
    before = here > 0 and word(text[here - 1])
    return before != (here < len(text) and word(text[here]))
