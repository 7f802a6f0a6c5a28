"""What is shown of a statement has no values in it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from flask_mysqlpool.driver.lexemes import without_values

from ...support.server_lexer import Mode
from ...support.server_lexer import Reading

WORDS = "SELECT a t1 FROM WHERE AND OR x$y LIKE AS IN _b N NULL é".split()
MARKS = "( ) , = < > + - * / % . ; := -> != @ @@ & |".split()
INSIDE = """' " ` '' \\ \\\\ -- # /* */ $$ x é %s ; /*!50000 = 1""".split()
INSIDE += ["-- ", "\n", " ", "\t"]
BREAKS = [*INSIDE, "/*!", "/*M!", "--\x7f", "--\x85", "\0", "$a$", "\x7f"]


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("a = 'it\\'s' AND b = 7", "a = ? AND b = ?"),
        ("a = 'it''s' AND b = \"x'y\"", "a = ? AND b = ?"),
        ("c IN (1.5e-3, .5, 0x1F, -7)", "c IN (?, ?, ?, -?)"),
        ("a -- don't\n = 'x'", "a = ?"),
        ("a --\x7fdon't\n = 'x'", "a = ?"),
        ("a # don't\n = 'x'", "a = ?"),
        ("a /* don't */ = 'x'", "a = ?"),
        ("a /*+ HINT(a) */ = 'x'", "a = ?"),
        ("`o'dd` = 'x'", "`o'dd` = ?"),
        ("t1.c2 = X'0A'", "t1.c2 = X?"),
        ("a = _utf8mb4'x' OR a = N'x'", "a = _utf8mb4? OR a = N?"),
        ("a = 5--1 AND b = 'x'", "a = ?--? AND b = ?"),
        ("a = \n\t 'x'", "a = ?"),
        ("a->>'$.b' = @c", "a->>? = @c"),
        ("owner = %s AND pw = 'hunter2'", "owner = %s AND pw = ?"),
        ("owner = %(owner)s AND n %% 2 = 0", "owner = %(owner)s AND n %% ? = ?"),
    ],
)
def test_values_are_not_shown(sql: str, shown: str) -> None:
    sql = f"SELECT * FROM t WHERE {sql}"
    assert without_values(sql, True) == f"SELECT * FROM t WHERE {shown}"


@pytest.mark.parametrize(
    "rest",
    [
        "owner='O'Brien' AND pw='hunter2'",
        "owner='O'Brien' AND pw='O'Neil'",
        "a = 'hunter2",
        "a = 'hunter2\\",
        'a = "hunter2',
        "`hunter2",
        "/* hunter2",
        "/*!50000 'a*/hunter2' */",
        "/*M!100100 'a*/hunter2' */",
        "/*+ `a*/hunter2` */",
        "$$hunter2$$",
        "1.5$$hunter2$$",
        "$a$hunter2$a$",
        "é$$hunter2$$",
        "--\x85hunter2",
        "-- \0'\n hunter2 '\n",
        "# \0'\n hunter2 '\n",
        '"a\\", \' " hunter2 \'',  # with ANSI_QUOTES the name ends at the backslash
        "a = 'x' */ hunter2",
        "a = 'x'hunter2",
        "a = hunter2'x'",
        f"'{'x' * 20_000}' hunter2",
    ],
)
def test_text_in_doubt_shows_its_first_word(rest: str) -> None:
    assert without_values(f"SELECT {rest}", True) == "SELECT …"
    assert without_values(f"/* note */ select {rest}", True) == "SELECT …"
    assert without_values(f"hunter2' {rest}", True) == "…"


def test_backslash_that_escapes_nothing() -> None:
    sql = "SELECT 'a\\', 'secret'"
    assert without_values(sql, False) == "SELECT ?, ?"


def test_long_statement_is_cut() -> None:
    shown = without_values("SELECT " + "a, " * 2_000, True)
    assert len(shown) == 300
    assert shown.endswith("…")
    assert without_values("SELECT '" + "x" * 19_000 + "'", True) == "SELECT ?"


class Writer:
    """Writes statements with secrets in their strings and comments."""

    def __init__(self, seed: int, backslashes: bool) -> None:
        self.chance = random.Random(seed)
        self.secrets: list[str] = []
        self._backslashes = backslashes

    def statement(self) -> str:
        lexemes = [self._lexeme() for _ in range(self.chance.randint(1, 9))]
        spaces = ["", " ", " ", " ", "\n"]
        return "SELECT " + "".join(self.chance.choice(spaces) + one for one in lexemes)

    def broken(self, text: str) -> str:
        """Return a text with up to three faults."""
        for _ in range(self.chance.choice([0, 0, 1, 1, 1, 2, 3])):
            at = self.chance.randint(7, len(text))
            marks = [n for n, char in enumerate(text) if n > 6 and char in "'\"`\\*/#-"]
            match self.chance.randint(0, 3):
                case 0 if marks:
                    at = self.chance.choice(marks)
                    text = text[:at] + text[at + 1 :]
                case 1:
                    text = text[:at]
                case _:
                    text = text[:at] + self.chance.choice(BREAKS) + text[at:]
        return text

    def _lexeme(self) -> str:
        pick = self.chance.choice
        match self.chance.randint(0, 7):
            case 0 | 1:
                return f" {pick(WORDS)}"
            case 2:
                return pick(MARKS)
            case 3:
                self.secrets.append(f"{self.chance.randrange(10**8, 10**9)}")
                return f" {self.secrets[-1]}"
            case 4:
                return f"`{self._inside().replace('`', '``')}`"
            case 5:
                text = self._inside(secret=True).replace("*/", "* /")
                return pick([f"/* {text} */", f"-- {text}\n", f"# {text}\n"])
        quote = pick(["'", "'", '"'])
        text = self._inside(secret=True)
        if self._backslashes:
            text = text.replace("\\", "\\\\")
        doubled = f"\\{quote}" if self._backslashes and pick([0, 1]) else quote * 2
        text = text.replace(quote, doubled)
        return f"{pick(['', '', ' N', ' _utf8'])}{quote}{text}{quote}"

    def _inside(self, secret: bool = False) -> str:
        parts = self.chance.choices(INSIDE, k=self.chance.randint(0, 5))
        if secret:
            self.secrets.append(f"secret{len(self.secrets):03d}")
            parts.insert(self.chance.randint(0, len(parts)), self.secrets[-1])
        return "".join(parts)


def modes(backslashes: bool) -> Iterator[Mode]:
    for others in itertools.product([False, True], repeat=3):
        yield Mode(backslashes, *others)


@pytest.mark.parametrize("backslashes", [True, False])
def test_no_value_is_shown_however_a_text_is_broken(backslashes: bool) -> None:
    whole = 0
    for seed in range(6000):
        writer = Writer(seed, backslashes)
        sql = writer.broken(writer.statement())
        shown = without_values(sql, backslashes)
        if shown == "SELECT …":
            continue
        whole += 1
        for mode in modes(backslashes):
            reading = Reading(sql, mode)
            assert reading.balanced, (sql, mode)
            for secret in writer.secrets:
                if reading.hides(secret):
                    assert secret not in shown, (sql, mode)
    assert whole > 1500, "most are shown"
