"""A statement with parameters is judged by its template, where that is as careful as
to judge what is sent.
"""

from __future__ import annotations

import datetime
import enum
import itertools
import random
import sys
import threading
import typing as t
from collections.abc import Iterator
from decimal import Decimal

import pytest
from pymysql import converters
from pymysql import err
from pymysql.constants import CLIENT
from pymysql.cursors import Cursor
from pymysql.cursors import DictCursor

from flask_mysqlpool.driver import session as session_module
from flask_mysqlpool.driver import templates
from flask_mysqlpool.driver.connector import Connector
from flask_mysqlpool.driver.session import Session
from flask_mysqlpool.driver.session_state import AUTOCOMMIT
from flask_mysqlpool.driver.session_state import NO_BACKSLASH_ESCAPES
from flask_mysqlpool.driver.statements import beyond_reset
from flask_mysqlpool.driver.statements import counts_found_rows
from flask_mysqlpool.driver.statements import ends_block
from flask_mysqlpool.driver.statements import first_word
from flask_mysqlpool.driver.statements import Kind
from flask_mysqlpool.driver.statements import kind_of
from flask_mysqlpool.driver.statements import OTHER
from flask_mysqlpool.driver.statements import READ
from flask_mysqlpool.driver.statements import WRITE
from flask_mysqlpool.driver.templates import are_own
from flask_mysqlpool.driver.templates import kind_of_template
from flask_mysqlpool.pool.pooled_connection import PooledConnection

from ...support.fake_session import fake_pool
from ...support.fake_session import FakeSession
from ...support.fake_session import session_of
from ...support.fake_session import URL
from ...support.pools import settings_for
from ...support.server_lexer import Mode
from ...support.server_lexer import Reading

HEADS = ["SELECT", "(SELECT", "INSERT INTO t VALUES (", "UPDATE t SET a =", "DELETE"]
HEADS += ["WITH x AS (SELECT", "SHOW", "CALL p(", "SET @a =", "BEGIN", "PREPARE s FROM"]
HEADS += ["%s SELECT", "/* %s */ SELECT", "/* note */ SELECT", "-- %s\nSELECT", "LOCK"]
PARTS = r"""
    %s %s %s %s %s %s %(a)s %% %%s %d %5s %.1s %r '%s' "%s" `%s` 'x' '%%s' "x" `x`
    a , , = ( ) @ @a := : INTO INTO@ NEXT VAL VALUE _LOCK( LAST_INSERT_ID( - -- # / *
    */ /* /*! ' " ` \ \' $ $$ ; . x' N SQL_CALC_FOUND_ROWS RETURNING NOT 1 RESOURCE
    GROUP USE PROFILING TRANSACTION TO
""".split()
PARTS += ["/* %s */", "/* x */", "/*+ x */", "/*!50000 %s */", "-- %s\n", "-- x\n"]
PARTS += ["# %s\n", "\n", "\0"]
ENDS = ["", "", " /* trace='1%%2' */", " -- trace", " /* %s */"]
TEXTS = (
    r"""x ' '' " ` \ \' */ /* # := @a INTO GET_LOCK( ; $$ % %s 1 é ﬁ /*!50000""".split()
)
TEXTS += ["-- ", "@a := 1", "INTO @a", ", GET_LOCK('a', 0)", " ", "\n", "\0"]
VALUES: list[t.Any] = [None, True, 0, 17, -5, 1.5, -1e30, Decimal("-1.50"), b"'x", b""]
VALUES += [bytearray(b"\\"), datetime.date(2026, 1, 2), datetime.time(1, 2, 3)]
VALUES += [datetime.datetime(2026, 1, 2, 3, 4, 5, 6), datetime.timedelta(-1, 2, 3)]


@pytest.fixture(autouse=True)
def no_kinds() -> Iterator[None]:
    """Forget what other tests' templates do, and these."""
    templates._kinds.clear()
    yield
    templates._kinds.clear()


@pytest.fixture
def db() -> Iterator[PooledConnection]:
    pool = fake_pool()
    with pool.connection() as db:
        yield db
    pool.close()


class Writer:
    """Writes templates and parameters."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def template(self) -> str:
        parts = self.chance.choices(PARTS, k=self.chance.randint(1, 6))
        spaces = [self.chance.choice(["", " ", " ", " "]) for _ in parts]
        written = "".join(a + b for a, b in zip(spaces, parts, strict=True))
        return self.chance.choice(HEADS) + written + self.chance.choice(ENDS)

    def parameters(self, template: str) -> t.Any:
        if "%(" in template:
            return {"a": self.value()}
        return tuple(self.value() for _ in range(self._count(template)))

    def value(self) -> t.Any:
        if self.chance.random() < 0.1:
            return [self.value() for _ in range(self.chance.randint(0, 2))]
        if self.chance.random() < 0.6:
            return "".join(self.chance.choices(TEXTS, k=self.chance.randint(0, 4)))
        return self.chance.choice(VALUES)

    def _count(self, template: str) -> int:
        return template.replace("%%", "").count("%")


def sent_by(session: FakeSession, template: str, parameters: t.Any) -> str | None:
    """Return the text that PyMySQL makes; nothing if it refuses to."""
    cursor: t.Any = Cursor(t.cast(t.Any, session))
    try:
        return t.cast(str, cursor._mogrify(template, parameters))
    except (TypeError, ValueError, IndexError, err.ProgrammingError):
        return None


def test_template_is_judged_as_carefully_as_what_is_sent() -> None:
    decided = {kind: 0 for kind in Kind}
    for seed in range(20_000):
        writer, session = Writer(seed), FakeSession()
        backslashes = writer.chance.random() < 0.7
        session.server_status = 0 if backslashes else NO_BACKSLASH_ESCAPES
        template = writer.template()
        parameters = writer.parameters(template)
        sent = sent_by(session, template, parameters)
        if sent is None:
            continue
        values = parameters.values() if isinstance(parameters, dict) else parameters
        if isinstance(parameters, dict) and "%s" in template:
            continue  # not asked then
        kind = kind_of_template(template, values)
        if kind is None:
            continue
        decided[kind] += 1
        for others in itertools.product([False, True], repeat=3):
            reading = Reading(sent, Mode(backslashes, *others))
            assert reading.balanced, (template, sent)
            code = reading.code()
            assert kind in (OTHER, kind_of(code)), (template, sent, code)
            assert first_word(template) == first_word(code), (template, sent)
            for judge in (counts_found_rows, ends_block, beyond_reset_at_all):
                assert judge(template) >= judge(code), (template, sent)
    assert min(decided[READ], decided[WRITE], decided[OTHER]) > 100, decided


def beyond_reset_at_all(sql: str) -> bool:
    return beyond_reset(sql, has_database=False)


@pytest.mark.parametrize(
    "template",
    [
        "SELECT '%s'",
        'SELECT "%s"',
        "SELECT `%s`",
        "SELECT /* %s */ 1",
        "/* %s */ SELECT 1",
        "SELECT 1 /* %s */",
        "-- %s\nSELECT 1",
        "SELECT 1 -- %s",
        "SELECT 1 # %s",
        "SELECT /*!50000 %s */",
        "SELECT @%s",
        "SELECT %s := 1",
        "SELECT a%s",
        "SELECT %sa",
        "SELECT %s%s",
        "SELECT -%s",
        "SELECT %5s",
        "SELECT %r",
        "SELECT '\\', %s",
        "SELECT 'open, %s",
        "SELECT $$, %s",
        "%s",
        "CALL p(%s)",
        "SET @a = %s",
        "PREPARE s FROM %s",
        "EXECUTE IMMEDIATE %s",
        "ROLLBACK %s",
    ],
)
def test_text_decides_where_the_template_cannot(template: str) -> None:
    assert kind_of_template(template, ("x",)) in (None, OTHER)


@pytest.mark.parametrize(
    ("template", "kind"),
    [
        ("SELECT a FROM t WHERE b = %s", READ),
        ("SELECT a FROM t WHERE b=%(b)s AND c>%(c)s", READ),
        ("SELECT a FROM t WHERE b IN %s LIMIT %s,%s", READ),
        ("SELECT DATE_FORMAT(a, '%%Y'), a %% 2 FROM t WHERE b = %s", READ),
        ("SELECT a FROM t WHERE b = 'x' AND c = %s /* trace='%%2F' */", READ),
        ("INSERT INTO t (a, b) VALUES (%s, %s)", WRITE),
        ("UPDATE t SET a = a + %s WHERE b = %s;", WRITE),
        ("SELECT GET_LOCK(%s, 0)", OTHER),
        ("SELECT a INTO @a FROM t WHERE b = %s", OTHER),
        ("INSERT INTO t VALUES (%s) RETURNING id", OTHER),
    ],
)
def test_template_decides(template: str, kind: Kind) -> None:
    assert kind_of_template(template, (1, ["x", 2])) is kind


class Name(str):
    """A text of another type."""


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize("odd", [Name("x"), Colour.RED, {1}, [[1]], object(), {"a": 1}])
def test_parameters_of_other_types_leave_it_to_the_text(odd: object) -> None:
    assert kind_of_template("SELECT %s", (1, "x", odd)) is None
    assert kind_of_template("SELECT %s", (1, "x")) is READ


def test_comments_around_a_template_make_no_other_one() -> None:
    for number in range(1000):
        end = f" /*traceparent='00-{number}'*/ /* {number} */ -- {number}"
        assert kind_of_template(f"/* {number} */ SELECT %s{end}", (1,)) is READ
    assert list(templates._kinds) == ["SELECT %s"]


def bytes_kept() -> int:
    return sys.getsizeof(templates._kinds) + sum(map(sys.getsizeof, templates._kinds))


def test_kinds_take_a_bounded_memory() -> None:
    limit = 3 * 2**20
    for number in range(3000):
        for filler in ("", "x" * 900, "\N{SNOWMAN}" * 1500, "'" + "x" * 3000):
            kind_of_template(f"SELECT %s AS a{number}{filler}", (1,))
    assert bytes_kept() < limit
    assert kind_of_template("SELECT %s" + "," * 10**6, (1,)) is None
    assert bytes_kept() < limit


def test_threads_keep_the_bound() -> None:
    def judge(thread: int) -> None:
        for number in range(2000):
            kind_of_template(f"SELECT %s AS a{thread}_{number}", (1,))

    threads = [threading.Thread(target=judge, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(templates._kinds) <= templates.MAX_TEMPLATES + len(threads)


def test_no_visitors_text_is_read(
    db: PooledConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    judges = [kind_of, first_word, ends_block, beyond_reset, counts_found_rows]
    for module, known in itertools.product((session_module, templates), judges):
        if judge := getattr(module, name := known.__name__, None):

            def checked(sql: str, *more: t.Any, judge: t.Any = judge) -> t.Any:
                assert "visitor" not in sql
                return judge(sql, *more)

            monkeypatch.setattr(module, name, checked)
    typed = "visitor @INTO--" * 1000
    with db.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (%s)", (typed,))
        cursor.execute("INSERT INTO t VALUES (%s) RETURNING id", [typed])
        cursor.execute("SELECT GET_LOCK(%(name)s, 0)", {"name": typed})
        cursor.execute("SELECT a FROM t WHERE b IN %s /* trace */", [(typed, typed)])
        cursor.executemany("INSERT INTO t VALUES (%s)", [(typed,)] * 200)
        cursor.executemany("INSERT INTO t VALUES (%(a)s)", [{"a": typed}] * 2)
        cursor.executemany("UPDATE t SET a = %s", [(typed,), (typed,)])
        with pytest.raises(AssertionError):
            cursor.execute(f"INSERT INTO t VALUES ('{typed}')")


def test_parameters_change_no_session(db: PooledConnection) -> None:
    with db.cursor() as cursor:
        cursor.execute("SELECT %s, %s", ("GET_LOCK(", "@a := 1"))
        cursor.executemany("INSERT INTO t VALUES (%s)", [("@a := 1",), ("GET_LOCK(",)])
        assert not session_of(db).state.changed
        cursor.execute("SELECT GET_LOCK(%s, 0)", ("x",))
        assert session_of(db).state.changed


class Executes(Cursor):
    def execute(self, query: t.Any, args: t.Any = None) -> int:
        return super().execute(query.replace("?", "@a := "), args)


class Mogrifies(Cursor):
    def _mogrify(self, query: t.Any, args: t.Any) -> str:
        text: str = super()._mogrify(query, args)  # type: ignore[misc]  # not in the stubs
        return text.replace("?", "@a := ")


class Queries(DictCursor):
    def _query(self, q: t.Any) -> t.Any:
        return super()._query(q.replace("?", "@a := "))  # type: ignore[misc]  # not in the stubs


class SendsMany(Cursor):
    def _do_execute_many(self, prefix: str, *rest: t.Any) -> t.Any:
        prefix = prefix.replace("?", "/* */")
        return super()._do_execute_many(prefix, *rest)  # type: ignore[misc]  # not in the stubs


@pytest.mark.parametrize("kind", [Executes, Mogrifies, Queries])
def test_what_a_cursor_class_sends_is_judged(
    db: PooledConnection, kind: type[Cursor]
) -> None:
    with db.cursor(kind) as cursor:
        cursor.execute("SELECT ?%s", (1,))
        assert session_of(db).calls[-1] == "SELECT @a := 1"
        assert session_of(db).state.changed


def test_what_a_cursor_class_makes_of_many_rows_is_judged(db: PooledConnection) -> None:
    with db.cursor(SendsMany) as cursor:
        cursor.executemany("INSERT ? INTO t VALUES (%s)", [(1,), (2,)])
        assert session_of(db).calls[-1] == "INSERT /* */ INTO t VALUES (1),(2)"
        assert session_of(db).state.changed


def test_what_an_encoder_makes_is_judged(db: PooledConnection) -> None:
    session = session_of(db)
    session.encoders = {**converters.encoders, Decimal: lambda *_: "GET_LOCK('a', 0)"}
    session.templates_decide = are_own(session.encoders)
    with db.cursor() as cursor:
        cursor.execute("SELECT %s", (Decimal(1),))
    assert session.calls[-1] == "SELECT GET_LOCK('a', 0)"
    assert session.state.changed


def test_encoders_of_pymysql_are_its_own() -> None:
    assert are_own(converters.encoders)
    assert are_own({**converters.conversions, 5: float})
    assert not are_own({})
    assert not are_own({**converters.encoders, int: str})


def test_text_that_was_rendered_by_hand_is_judged(db: PooledConnection) -> None:
    with db.cursor() as cursor:
        text = cursor.mogrify("SELECT %s", ("x",))
        cursor.execute(text + " INTO @a")
    assert session_of(db).state.changed


def test_dict_that_fills_a_position_is_judged(db: PooledConnection) -> None:
    with db.cursor() as cursor:
        cursor.execute("SELECT %s", {"@a := ": 1})
    assert session_of(db).calls[-1] == "SELECT {'@a := ': '1'}"
    assert session_of(db).state.changed


def test_row_of_another_type_leaves_many_rows_to_the_text(db: PooledConnection) -> None:
    rows = [("x",), (Name("@a := 1"),), ("x",)]
    with db.cursor() as cursor:
        cursor.executemany("INSERT INTO t VALUES (%s)", rows)
    assert session_of(db).state.changed


def test_statement_in_between_is_judged(db: PooledConnection) -> None:
    def rows() -> Iterator[tuple[int]]:
        yield (1,)
        with db.cursor() as other:
            other.execute("SET @a = 1")
        yield (2,)

    with db.cursor() as cursor:
        cursor.executemany("INSERT INTO t VALUES (%s)", t.cast(t.Any, rows()))
    assert session_of(db).calls[-2:] == ["SET @a = 1", "INSERT INTO t VALUES (1),(2)"]
    assert session_of(db).state.changed


def test_template_is_shown_without_its_values() -> None:
    pool = fake_pool()
    with pool.connection() as db, db.cursor() as cursor:

        def shown() -> str:
            return pool.holders()[0].statement

        template = "SELECT a FROM t WHERE owner = %s AND pw = 'hunter2'"
        cursor.execute(template, ("O'Brien",))
        assert shown() == "SELECT a FROM t WHERE owner = %s AND pw = ?"
        cursor.execute(template, (Name("O'Brien"),))
        assert shown() == "SELECT a FROM t WHERE owner = %s AND pw = ?"
        cursor.execute("CALL p(%(owner)s)", {"owner": "O'Brien"})
        assert shown() == "CALL p(%(owner)s)"
        cursor.executemany("INSERT INTO t VALUES (%s, 'x%%')", [("O'Brien",)])
        assert shown() == "INSERT INTO t VALUES (%s, ?)"
        cursor.execute("SELECT 'O'Brien', 'hunter2'")
        assert shown() == "SELECT …"
    pool.close()


def test_text_that_was_not_sent_is_not_kept() -> None:
    pool = fake_pool()
    kept = []
    with pool.connection() as db:
        session = session_of(db)
        session.server_status = AUTOCOMMIT
        for once in (True, False):
            db.cursor().mogrify("SELECT %s", ("x",))
            kept.append(session.rendered)
            if once:
                db.query("SELECT 1")
            else:
                Session.needs_reset(session, "auto")
            kept.append(session.rendered)
    assert kept == [("SELECT 'x'", "SELECT %s", READ), None] * 2
    pool.close()


@pytest.mark.parametrize("conv", [None, {**converters.conversions, Decimal: str}])
@pytest.mark.parametrize("flag", [0, CLIENT.MULTI_STATEMENTS])
def test_templates_decide_for_one_statement_and_pymysqls_encoders(
    flag: int, conv: t.Any
) -> None:
    settings = settings_for(URL, client_flag=flag, conv=conv)
    session = Connector(settings)._session({})
    assert session.templates_decide is (flag == 0 and conv is None)
