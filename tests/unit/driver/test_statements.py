"""A statement is innocent only if its text is known to be."""

from __future__ import annotations

import random
import re
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from itertools import product

import pytest

from flask_mysqlpool.driver import lexemes
from flask_mysqlpool.driver import statements
from flask_mysqlpool.driver import unseen
from flask_mysqlpool.driver.lexemes import parameters_are_values
from flask_mysqlpool.driver.lexemes import without_values
from flask_mysqlpool.driver.statements import beyond_reset
from flask_mysqlpool.driver.statements import commits_first
from flask_mysqlpool.driver.statements import core_of
from flask_mysqlpool.driver.statements import counts_found_rows
from flask_mysqlpool.driver.statements import ends_block
from flask_mysqlpool.driver.statements import first_word
from flask_mysqlpool.driver.statements import kind_of
from flask_mysqlpool.driver.statements import OTHER
from flask_mysqlpool.driver.statements import READ
from flask_mysqlpool.driver.statements import TRANSACTION
from flask_mysqlpool.driver.statements import WRITE
from flask_mysqlpool.driver.unseen import calls_stored_function
from flask_mysqlpool.driver.unseen import runs_unseen

from ...support.step_counting import counted_text
from ...support.step_counting import CountedPattern
from ...support.step_counting import Steps

READS = [
    "SELECT 1",
    "SELECT*FROM t",
    "SELECT email FROM user WHERE email = 'a@b.example'",
    "SELECT @@session.time_zone, @a, @b",
    "SELECT * FROM t WHERE id = 1 FOR UPDATE",
    "SELECT block, clock FROM t",
    "(SELECT 1) UNION (SELECT 2)",
    "SHOW TABLES",
    "EXPLAIN SELECT 1",
    "DESCRIBE t",
    "DESC t",
    "VALUES ROW(1)",
    "TABLE t",
]
WRITES = [
    "INSERT INTO t VALUES (1)",
    "INSERT INTO user VALUES ('a@b.example')",
    "UPDATE t SET n = n + 1",
    "DELETE FROM t",
    "REPLACE INTO t VALUES (1)",
    "WITH x AS (SELECT 1) SELECT * FROM x",
]
TRANSACTIONS = [
    "BEGIN",
    "BEGIN WORK",
    "COMMIT",
    "ROLLBACK",
    "ROLLBACK TO SAVEPOINT a",
    "SAVEPOINT a",
    "RELEASE SAVEPOINT a",
    "START TRANSACTION",
    "START  TRANSACTION READ ONLY",
]
OTHERS = [
    "",
    "   ",
    "SET @a = 1",
    "SET NAMES latin1",
    "USE shop",
    "CALL p()",
    "DO GET_LOCK('a', 0)",
    "LOCK TABLES t READ",
    "FLUSH TABLES WITH READ LOCK",
    "HANDLER t OPEN",
    "PREPARE s FROM 'SELECT 1'",
    "CREATE TEMPORARY TABLE t (i INT)",
    "START SLAVE",
    "STARTTRANSACTION",
    "--note\nSELECT 1",  # two minus signs
    "-- note\n--\xa0note\nSELECT 1",  # no comment in UTF-8
    "/* note SELECT 1",
    "/* note */ /* note SELECT 1",
    "/* note */",
    "-- SELECT 1",
    "/* SELECT 1 */ SET @a = 1",
    "-- SELECT 1\nSET @a = 1",
    "# SELECT 1\nSET @a = 1",
    "SELECT /* note */ 1",
    "SELECT 1 /* note */ + 1 /* note */",
    "/* note */ SELECT 1 /* note */ INTO @a /* note */",
    "SELECT 1 /* note",
    "SELECT 1 /* note */ /*",
    "SELECT 1 /* note */ */",
    "SELECT 1 /* note */; SET @a = 1",
    "/*!50000 SET @a = 1 */",
    "/*!50000 SELECT 1 */",
    "/*!99999 SELECT 1 */ SET @a = 1",
    "/*M! SELECT 1 */",
    "/*M!100100 SELECT 1 */",
    "/* note */ /*!50000 SELECT 1 */",
    "SELECT /*!50000 GET_LOCK('a', 0) */",
    "SELECT 1 /*!50000 INTO @a */",
    "SELECT 1 /*!50000 INTO @a */ /* note */",
    "SELECT 1 /*M!100100 INTO @a */",
    # Where the comment begins depends on where a string ends: in doubt.
    "SELECT 'a /* b', 1 INTO @a /* note */",
    "SELECT '/*', GET_LOCK('a', 0), '*/'",
    "SELECT '/*', GET_LOCK('a', 0) -- */",
    "SELECT '\\'/*', GET_LOCK('a', 0) -- */",
    "SELECT 'a\\', GET_LOCK(0, '/* */",
    "SELECT `/*`, GET_LOCK('a', 0) -- */",
    'SELECT "/*", GET_LOCK("a", 0) -- */',
    "SELECT 1 -- it's\n, '/*', GET_LOCK('a', 0) -- */",
    "SELECT 1 # it's\n, '/*', GET_LOCK('a', 0) # */",
    "SELECT 'it\\'s' /* note */",
    "SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1",
    "SELECT DISTINCT SQL_CALC_FOUND_ROWS n FROM t LIMIT 1",
    "(SELECT SQL_CALC_FOUND_ROWS n FROM t LIMIT 1) UNION SELECT 1",
    "SELECT @a := 1",
    "SELECT @a:=1",
    "UPDATE t SET n = (@a := n)",
    "SELECT 1 INTO @a",
    "SELECT 1 INTO@a",
    "SELECT 1 INTO\n\t@a",
    "SELECT 1 INTO -- note\n@a",
    "SELECT 1 INTO # note\n @a",
    "SELECT 1.5INTO @a",
    "SELECT GET_LOCK('a', 0)",
    "SELECT GET_LOCK ('a', 0)",
    "SELECT RELEASE_ALL_LOCKS()",
    "SELECT LAST_INSERT_ID(7)",
    "SELECT NEXTVAL(s)",
    "SELECT NEXT VALUE FOR s",
    "SELECT NEXT -- note\n VALUE FOR s",
    "SELECT NEXT# note\nVALUE FOR s",
    "INSERT INTO t VALUES (1) RETURNING id",
    "WITH x AS (SELECT GET_LOCK('a', 0)) SELECT * FROM x",
    "(SELECT GET_LOCK('a', 0))",
    "BEGIN NOT ATOMIC LOCK TABLES t READ; END",
]
COMMENTED = {
    "-- note\nSELECT 1": READ,
    "--\nSELECT 1": READ,
    "--\t\nSELECT 1": READ,
    "--\x01note\nSELECT 1": READ,
    "--\x7fnote\nSELECT 1": READ,
    "# note\nSELECT 1": READ,
    "/* note */ SELECT 1": READ,
    "/**/SELECT 1": READ,
    "/*/ note */SELECT 1": READ,
    "/* note\n-- note */SELECT 1": READ,
    "/* note */ # note /*\n ( -- note\n/* note */ SELECT 1)": READ,
    "/* GET_LOCK() := */ SELECT 1": READ,
    "-- GET_LOCK() INTO @a\nSELECT 1": READ,
    "/* note */ INSERT INTO t VALUES (1)": WRITE,
    "/* note */ BEGIN": TRANSACTION,
    "-- note\nSTART TRANSACTION": TRANSACTION,
    "# note\nCOMMIT AND CHAIN": TRANSACTION,
    "SELECT 1 /*traceparent='00-4bf9'*/": READ,
    "SELECT 1 /*traceparent='00-4bf9'*/;": READ,
    "SELECT 1 /*route='%2Fuser'*/ -- note": READ,
    "SELECT 1 /* note */ /* /* note */\n": READ,
    "SELECT 1 /* GET_LOCK() INTO @a */": READ,
    "/* note */ SELECT 1 /* note */": READ,
    "SELECT * FROM t WHERE a = 'it''s' AND b = \"#\" AND `--` = 1 /* note */": READ,
    "SELECT 'a\\nb' /* note */": READ,
    "SELECT a - -1, b->'$.c' /* note */": READ,
    "INSERT INTO t VALUES ('a@b.example') /* note */": WRITE,
    "COMMIT /* note */": TRANSACTION,
}
ALL = {
    **dict.fromkeys(READS, READ),
    **dict.fromkeys(WRITES, WRITE),
    **dict.fromkeys(TRANSACTIONS, TRANSACTION),
    **dict.fromkeys(OTHERS, OTHER),
    **COMMENTED,
}
PARTS = ["SELECT", "INSERT", "INTO", "SET", " ", "\n", "(", ")", "*", "@a", "1", "'x'"]
PARTS += [
    "/*",
    "*/",
    "--",
    "#",
    ";",
    "=",
    "ﬁ",
    "_LOCK",
    "\N{LATIN SMALL LETTER LONG S}",
]
# What a visitor may repeat in a text, to have it read again and again.
MARKS = r"""@ ' " ` \ \' -- # /* */ /**/ /*! /*!50000 /*M! ( ) ; := 1 1e 1e-""".split()
MARKS += ["/", "*", ".", "$", "x", " ", "\n", "\t", "\xa0", "-- ", "--\n", "#\n"]
WORDS = "INTO @INTO NEXT VAL START TRANSACTION ROLLBACK WORK TO RESOURCE GROUP".split()
FRAGMENTS = MARKS + [word + end for word in WORDS for end in ("", " ", "--", "#")]
FRAGMENTS += [", x (x) AS (", "INTO x (", "x(x, "]
FRONTS = ["", " ", "/*", "/*!", "-- ", "`", '"', "START", "ROLLBACK", "RESOURCE"]
FRONTS += ["SELECT 1", "SELECT @a INTO", "INSERT INTO t VALUES ('@", "SELECT NEXT"]
BACKS = ["", "'", "\n", "@", "*/", "x", " TO", "VAL", "' /**/"]
SIZE = 96  # characters that are repeated at least, before they are doubled
SCANS: dict[str, Callable[[str], object]] = {
    "kind_of": kind_of,
    "first_word": first_word,
    "ends_block": ends_block,
    "counts_found_rows": counts_found_rows,
    "beyond_reset": lambda sql: beyond_reset(sql, has_database=False),
    "parameters_are_values": parameters_are_values,
    "runs_unseen": runs_unseen,
    "calls_stored_function": lambda sql: calls_stored_function(f"SELECT {sql}", True),
    "calls_stored_function, CREATE": lambda sql: calls_stored_function(
        f"CREATE TEMPORARY TABLE {sql}", True
    ),
    "without_values": lambda sql: without_values(sql, True),
    "without_values, no backslashes": lambda sql: without_values(sql, False),
}


class Repetition(t.NamedTuple):
    """A text that can be made as long as one likes."""

    front: str
    unit: str
    back: str

    def doubled(self, times: int) -> str:
        units = 4 * -(-SIZE // (4 * len(self.unit)))  # even: quotes stay in pairs
        return self.front + self.unit * (units << times) + self.back


def repetitions() -> Iterator[Repetition]:
    chance = random.Random(7)
    for front, fragment in product(FRONTS, FRAGMENTS):
        yield Repetition(front, fragment, chance.choice(BACKS))
        yield Repetition(front, fragment, " /* x */")
    for marks in product(MARKS, MARKS):
        yield Repetition("", "".join(marks), chance.choice(BACKS))
    for _ in range(300):
        unit = "".join(chance.choices(FRAGMENTS, k=chance.randint(2, 4)))
        yield Repetition(chance.choice(FRONTS), unit, chance.choice(BACKS))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Have the module's regular expressions count into what is returned."""
    steps = Steps()
    for module in (statements, lexemes, unseen):
        for name, value in list(vars(module).items()):
            if isinstance(value, re.Pattern):
                monkeypatch.setattr(module, name, CountedPattern(value, steps))
        monkeypatch.setattr(module, "re", None)  # it could search uncounted
    return steps


@pytest.mark.parametrize("sql", ALL)
def test_kind(sql: str) -> None:
    assert kind_of(sql) is ALL[sql]


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase, str.title])
@pytest.mark.parametrize("front", ["", " ", "\n\t", "( "])
def test_kind_depends_on_neither_case_nor_space(change: object, front: str) -> None:
    for sql, kind in ALL.items():
        if front == "( " and kind is TRANSACTION:
            continue
        written = front + str(change(sql))  # type: ignore[operator]
        assert kind_of(written) is kind, written


@pytest.mark.parametrize("mark", ["GET_LOCK(", "@a := ", "/*", "INTO @a"])
def test_mark_is_seen_wherever_it_stands(mark: str) -> None:
    for sql in READS + WRITES:
        for at in range(len(first_word(sql)) + sql.startswith("("), len(sql) + 1):
            assert kind_of(f"{sql[:at]} {mark} {sql[at:]}") is OTHER


def test_any_text_has_a_kind() -> None:
    chance = random.Random(7)
    for _ in range(5000):
        sql = "".join(chance.choices(PARTS, k=chance.randint(0, 12)))
        kind = kind_of(sql)
        if not any(comment in sql for comment in ("/*", "--", "#")):
            if any(mark in sql for mark in ("_LOCK", "INTO@a", "INTO @a")):
                assert kind is OTHER, sql


@pytest.mark.parametrize("name", SCANS)
def test_twice_the_text_takes_no_more_than_twice_the_steps(
    name: str, steps: Steps
) -> None:
    def taken(text: Repetition, doubled: int) -> int:
        before = steps.taken
        SCANS[name](counted_text(text.doubled(doubled), steps))
        return steps.taken - before

    for text in repetitions():
        once, twice = taken(text, 0), taken(text, 1)
        assert twice <= 2 * once + 400, text  # 300 characters are shown


def test_long_text_is_read() -> None:
    assert first_word("(" * 1_000_000) == ""
    assert kind_of("INSERT INTO t VALUES ('@" + "INTO--" * 100_000 + "')") is OTHER


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("", ""),
        ("select 1", "SELECT"),
        ("\n ( ( SELECT 1", "SELECT"),
        ("-- a\nSELECT 1", "SELECT"),
        ("--a\nSELECT 1", ""),
        ("-- a", ""),
        ("# a\n\n# b\n(SELECT 1)", "SELECT"),
        ("/* a */ /**/ insert into t", "INSERT"),
        ("/* a", ""),
        ("/*!50000 BEGIN */", "BEGIN"),
        ("/* a */ /*!BEGIN */", "BEGIN"),
        ("/*M!100100 /* a */ BEGIN */", "BEGIN"),
        ("/*!50000 */ BEGIN", "BEGIN"),
        ("1", ""),
        ("KILL 5", "KILL"),
        ("XA START 'a'", "XA"),
    ],
)
def test_first_word(sql: str, word: str) -> None:
    assert first_word(sql) == word


ENDS = [
    "BEGIN",
    "begin work",
    "COMMIT",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "ROLLBACK WORK AND CHAIN",
    "START  TRANSACTION READ ONLY",
    "LOCK TABLE t READ",
    "LOCK TABLES t READ",
    "START /* note */ TRANSACTION",
    "START -- note\nTRANSACTION",
]
GOES_ON = [
    "",
    "SELECT 1",
    "BEGINNING",
    "START SLAVE",
    "LOCK INSTANCE FOR BACKUP",
    "ROLLBACK TO a",
    "ROLLBACK TO SAVEPOINT a",
    "rollback work to a",
    "ROLLBACK /* note */ TO a",
    "ROLLBACK -- note\n WORK # note\n TO a",
    "SAVEPOINT a",
    "SELECT 'x', BEGIN",
]
IN_FRONT = ["", " \n", "/* note */", "-- note\n", "# note\n", "/**/ --\n /* BEGIN # */"]
IN_FRONT += ["--\xa0note\n"]  # a comment in Latin-1


@pytest.mark.parametrize("front", IN_FRONT)
def test_end_of_a_block_is_seen_behind_comments(front: str) -> None:
    for sql in ENDS:
        assert ends_block(front + sql), sql
        assert ends_block(f"{front}{sql} /* note */"), sql
    for sql in GOES_ON:
        assert not ends_block(front + sql), sql
        assert not ends_block(f"{front}{sql} /* BEGIN */"), sql


@pytest.mark.parametrize(
    "mark", ["/*!", "/*!50000 ", "/*M!", "/*M!100100 ", "/*!080400"]
)
def test_comment_that_may_be_run_ends_a_block_either_way(mark: str) -> None:
    for sql in ENDS:
        assert ends_block(f"{mark}{sql} */")
        assert ends_block(f"/* note */ {mark} /* note */ {sql} */ SELECT 1")
        assert ends_block(f"{mark} SELECT 1 */ {sql}")
        assert ends_block(f"{mark} */ {sql}")
    for sql in GOES_ON:
        assert not ends_block(f"{mark}{sql} */")
        assert not ends_block(f"{mark} SELECT 1 */ {sql}")


@pytest.mark.parametrize(
    "sql",
    [
        "SET profiling = 1",
        "/* note */ SET RESOURCE GROUP g",
        "SET RESOURCE /* note */ GROUP g",
        "SET RESOURCE# note\nGROUP g",
        "/*!80000 SET RESOURCE GROUP g */",
    ],
)
def test_what_no_reset_undoes(sql: str) -> None:
    assert beyond_reset(sql, has_database=True)


@pytest.mark.parametrize(
    ("sql", "without_database"),
    [
        ("USE shop", True),
        ("use shop", True),
        ("/* note */ USE shop", True),
        ("/*!50000 USE shop */", True),
        ("EXECUTE s", True),
        ("SET x = 1", False),
    ],
)
def test_use_is_beyond_a_reset_where_there_was_no_database(
    sql: str, without_database: bool
) -> None:
    assert beyond_reset(sql, has_database=False) is without_database
    assert not beyond_reset(sql, has_database=True)


@pytest.mark.parametrize(
    ("sql", "core"),
    [
        ("SELECT 1", "SELECT 1"),
        (" SELECT 1 ; ", " SELECT 1"),
        ("/* a */ -- b\n# c\nSELECT 1", "SELECT 1"),
        ("SELECT 1 /* a */ /* b */; -- c", "SELECT 1"),
        ("SELECT 1 # c", "SELECT 1"),
        ("SELECT 1 --", "SELECT 1"),
        ("SELECT 1 --2", "SELECT 1 --2"),
        ("SELECT /* a */ 1 /* b */", "SELECT /* a */ 1"),
        ("SELECT '# c', 'x'", "SELECT '# c', 'x'"),
        ("/*! a */ SELECT 1 /*M! b */", "/*! a */ SELECT 1 /*M! b */"),
        ("SELECT 1 /* a */ + 1 */", "SELECT 1 /* a */ + 1 */"),
        ("/* a */", ""),
        ("-- a", ""),
        ("/*/", "/*/"),
        ("", ""),
    ],
)
def test_core(sql: str, core: str) -> None:
    start, end = core_of(sql)
    assert sql[start:end] == core


@pytest.mark.parametrize(
    ("sql", "first"),
    [
        ("CREATE TABLE a SELECT * FROM b", True),
        ("/* x */ create or replace table a (n INT)", True),
        ("/*!50000 TRUNCATE a */", True),
        ("LOCK TABLES a WRITE", True),
        ("CREATE TEMPORARY TABLE a SELECT * FROM b", False),
        ("CREATE OR REPLACE TEMPORARY TABLE a (n INT)", False),
        ("UPDATE a SET n = 1", False),
        ("CALL p()", False),
        ("SET @a = 1", False),
    ],
)
def test_statements_that_commit_before_they_begin(sql: str, first: bool) -> None:
    assert commits_first(sql) is first
