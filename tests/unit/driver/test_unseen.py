"""What a statement may do unseen, as far as its text tells."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from flask_mysqlpool.driver import unseen
from flask_mysqlpool.driver.unseen import calls_stored_function
from flask_mysqlpool.driver.unseen import changes_rows
from flask_mysqlpool.driver.unseen import runs_unseen

RUN_UNSEEN = [
    "CALL p()",
    "call p()",
    " /* traced */ CALL p()",
    "-- traced\nCALL p()",
    "/*!50000 CALL p() */",
    "/*!99999 SELECT 1; */ CALL p()",
    "EXECUTE prepared",
    "EXECUTE IMMEDIATE 'CALL p()'",
    "BEGIN NOT ATOMIC CALL p(); END",
    "IF 1 THEN CALL p(); END IF",
    "SET STATEMENT max_statement_time = 1 FOR CALL p()",
    "ANALYZE UPDATE t SET v = 1",
    "",
]
SIMPLE = [
    "SELECT 1",
    "(SELECT 1)",
    "insert into t values (1)",
    "UPDATE t SET v = 'CALL p()'",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "SET @a = 1",
    "SHOW TABLES",
    "SAVEPOINT mine",
    "RELEASE SAVEPOINT mine",
    "ROLLBACK TO mine",
    "PREPARE prepared FROM 'CALL p()'",
    "DO SLEEP(0)",
    "CREATE TEMPORARY TABLE t (id INT)",
    "DROP TABLE t",
]


@pytest.mark.parametrize("sql", RUN_UNSEEN)
def test_runs_others_unseen(sql: str) -> None:
    assert runs_unseen(sql)


@pytest.mark.parametrize("sql", SIMPLE)
def test_runs_nothing_unseen(sql: str) -> None:
    assert not runs_unseen(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT debit(5)",
        "SELECT bank.debit(5)",
        "SELECT bank.count(5)",
        "SELECT `debit`(5)",
        "SELECT `debit` (5)",
        'SELECT "debit"(5)',
        "SELECT 1 FROM t WHERE debit (id) > 0",
        "SELECT debit/* traced */(5)",
        f"SELECT debit_count{' ' * 25}(5)",
        "SELECT '(' , debit\n(5)",
        "SELECT COUNT(*), été(5)",
        "UPDATE t SET v = 1 WHERE debit(id)",
        "SET @a = debit(5)",
        "DO debit(5)",
        "(SELECT debit(5))",
        r"SELECT 'it\'s', debit(5)",
        "WITH a (x) AS (SELECT debit(1)) SELECT x FROM a",
        "WITH a AS (SELECT debit(x) AS y FROM t) SELECT y FROM a",
        "SELECT CAST(debit(x) AS DECIMAL(5, 2)), debit(x) AS y, (SELECT 1)",
        "INSERT INTO t (a) SELECT debit(1)",
        "INSERT INTO t SET a = debit(1)",
        "CREATE TEMPORARY TABLE t SELECT debit(1)",
        "CREATE OR REPLACE TEMPORARY TABLE t (a INT, KEY k (a)) AS (SELECT debit(1) a)",
        "SHOW TABLES WHERE debit(1)",
        "EXPLAIN ANALYZE SELECT debit(1)",
        "HANDLER t READ FIRST WHERE debit(1)",
    ],
)
def test_call_of_a_stored_function(sql: str) -> None:
    assert calls_stored_function(sql, backslashes=True)
    assert calls_stored_function(sql, backslashes=False)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM t",
        "SELECT id FROM t WHERE id IN (1, 2) AND (a = 1 OR NOT (b = 2))",
        "SELECT * FROM t JOIN u USING (id) WHERE EXISTS (SELECT 1 FROM v)",
        "SELECT * FROM (SELECT 1) AS a UNION ALL (SELECT 2)",
        "SELECT COALESCE(SUM(v), 0), JSON_EXTRACT(j, '$.a') FROM t",
        "SELECT ROW_NUMBER() OVER (PARTITION BY a) FROM t",
        "SELECT 'debit(5)'",
        "SELECT 1 /* debit(5) */",
        "SELECT 1 -- debit(5)",
        "SELECT CAST(a AS DECIMAL(5, 2)), ST_X(p) FROM t USE INDEX (i)",
        "SELECT a * (b + 1), -(c) FROM t WHERE (a, b) IN ((1, 2), (3, 4))",
        "SELECT MATCH (a) AGAINST ('x (y') FROM t",
        "CREATE TABLE t (id INT)",
        "CREATE TEMPORARY TABLE t (a INT, KEY k (a)) SELECT COUNT(*) AS a FROM u",
        "CREATE TEMPORARY TABLE t (a INT, KEY k (a))",
        "CREATE FUNCTION f() RETURNS INT RETURN debit(1)",
        "SHOW TABLES",
        "WITH RECURSIVE seq (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq) DO 1",
        "WITH a(x) AS (SELECT 1), `b` (x, `y`)\nas\n(SELECT 2, 3) SELECT 1 FROM a, b",
        "INSERT INTO t (a) SELECT 1 FROM u WHERE 0",
        "INSERT INTO bank.t (a) SELECT 1 FROM u WHERE 0",
        "REPLACE INTO `bank`.`t`(a) SELECT 1 FROM u WHERE 0",
        "SELECT 1 AS `total (net)`",
        "SELECT SQL_NO_CACHE (1)",
        "SELECT X(p), ASTEXT(p), GeomFromText('POINT(1 1)') FROM t",
    ],
)
def test_no_call_of_a_stored_function(sql: str) -> None:
    assert not calls_stored_function(sql, backslashes=True)
    assert not calls_stored_function(sql, backslashes=False)


def test_where_a_string_ends_depends_on_the_sql_mode() -> None:
    sql = r"SELECT 'it\'s debit(1)'"
    assert not calls_stored_function(sql, backslashes=True)
    assert calls_stored_function(sql, backslashes=False)


def answer(affected: int = 0, message: bytes = b"", columns: int = 0) -> object:
    return SimpleNamespace(affected_rows=affected, message=message, field_count=columns)


@pytest.mark.parametrize(
    ("sql", "result", "changes"),
    [
        ("UPDATE t", answer(1, b"Rows matched: 1  Changed: 1  Warnings: 0"), True),
        ("UPDATE t", answer(0, b"Rows matched: 0  Changed: 0  Warnings: 0"), False),
        ("UPDATE t", answer(0, b"Rows matched: 1  Changed: 0  Warnings: 0"), True),
        ("UPDATE t", answer(0, "Datensätze gefunden: 0  Geändert: 0".encode()), False),
        ("UPDATE t", answer(0), True),
        ("DELETE FROM t", answer(1), True),
        ("DELETE FROM t", answer(0), False),
        ("DELETE IGNORE FROM t", answer(0), True),
        ("INSERT IGNORE INTO t VALUES (1)", answer(0), True),
        ("INSERT INTO t SELECT 1", answer(0, b"Records: 0  Duplicates: 0"), False),
        ("INSERT INTO t SELECT 1", answer(0, b"Records: 2  Duplicates: 2"), True),
        ("INSERT INTO t VALUES (1) RETURNING id", answer(1, columns=1), True),
        ("DELETE FROM t RETURNING id", answer(0, columns=1), False),
        ("WITH a AS (SELECT 1) SELECT * FROM a", answer(1, columns=1), False),
        ("WITH a AS (SELECT 1) DELETE FROM t", answer(1), True),
        ("SELECT @a := 1", answer(1, columns=1), False),
    ],
)
def test_whether_rows_were_changed(sql: str, result: object, changes: bool) -> None:
    assert changes_rows(sql, result) is changes


@pytest.mark.parametrize("part", ["a.b(", "(", "SUM("])
def test_long_text_is_not_searched(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A visitor may have typed it; whether it is a call is not worth the time."""
    text = f"SELECT '{part * 100_000}'"

    def searched(sql: str, *modes: bool) -> bool:
        raise AssertionError(f"{len(sql)} characters were searched")

    monkeypatch.setattr(unseen, "_calls_unknown", searched)
    monkeypatch.setattr(unseen, "code_of", searched)
    assert calls_stored_function(text * 3, backslashes=True)
    assert not calls_stored_function("SHOW" + text * 3, backslashes=True)
    assert not calls_stored_function(f"SELECT '{'x' * 300_000}'", backslashes=True)
