"""What type checkers say of programs that use the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

ROOT = Path(__file__).parents[2]

RIGHT = """\
from __future__ import annotations

import typing as t

import pymysql.cursors

from flask_mysqlpool import get_db
from flask_mysqlpool import Pool
from flask_mysqlpool import PooledConnection
from flask_mysqlpool import transaction
from flask_mysqlpool import transactional


def rows_as_tuples() -> list[int]:
    with get_db().cursor() as cursor:
        cursor.execute("SELECT id FROM t WHERE n = %s", (1,))
        row = cursor.fetchone()
        first: int = row[0]
        return [first, *(each[0] for each in cursor.fetchall())]


def rows_as_dicts(pool: Pool) -> list[dict[str, t.Any]]:
    with pool.connection() as db, db.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute("SELECT id, n FROM t")
        return list(cursor.fetchall())


def rows_as_configured() -> str:
    cursor = get_db("reporting").cursor()
    cursor.executemany("INSERT INTO t (n) VALUES (%s)", [(1,), (2,)])
    cursor.execute("SELECT id, name FROM t")
    names = [row["name"] for row in cursor]
    return ", ".join(names)


def blocks(pool: Pool) -> int:
    with transaction() as db, db.transaction():
        db.cursor().execute("UPDATE t SET n = 1")
    with pool.connection(timeout=0.5, holder="a job") as other:
        other.commit()
        other.rollback()
        return other.affected_rows() + other.thread_id()


@transaction()
async def pay(amount: int) -> str:
    get_db().on_commit(lambda: print(amount))
    return "paid"


@transactional(tries=5, isolation_level="SERIALIZABLE", read_only=False)
def move(amount: int) -> float:
    return amount / 2


async def decorated(db: PooledConnection) -> str:
    halves: float = move(5) + db.transactional()(move)(amount=5)
    return await pay(5) + str(halves)


def passed_on(db: PooledConnection) -> bool:
    db.ping()
    return db.open and not db.returned


reveal_type(get_db().server_status)
reveal_type(get_db())
"""

WRONG = """\
from flask_mysqlpool import get_db
from flask_mysqlpool import Pool
from flask_mysqlpool import transaction
from flask_mysqlpool import transactional

def view(pool: Pool) -> None:
    get_db().comit()
    db = get_db()
    db.cursor().exceute("SELECT 1")
    db.server_status.upper()
    pool.connection(timeout="5")
    with pool.connection() as lent:
        lent.comit()

@transaction()
def move(amount: int) -> float:
    return amount / 2

move("5")
transaction(isolation_level="SNAPSHOT")
transactional()(move)(5).upper()
"""


def checked(program: str, folder: Path) -> list[str]:
    """Return what mypy says of a program, without the file's name. What it says of
    the package itself it keeps to itself where that is installed.
    """
    file = folder / "program.py"
    file.write_text(program)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file="),
            *(f"--cache-dir={folder / 'cache'}", "--no-error-summary", str(file)),
        ],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    prefix = f"{file.name}:"
    lines = done.stdout.splitlines()
    return [each.removeprefix(prefix) for each in lines if each.startswith(prefix)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cache of its own."""
    return tmp_path_factory.mktemp("typing")


def test_right_use_is_no_error(folder: Path) -> None:
    said = checked(RIGHT, folder)
    revealed = [line.partition('"')[2].rstrip('"') for line in said if "note:" in line]
    assert [line for line in said if "note:" not in line] == []
    assert revealed[0] in ("int", "builtins.int")
    assert revealed[1].endswith("PooledConnection")


def test_wrong_use_is_an_error(folder: Path) -> None:
    said = checked(WRONG, folder)
    errors = {
        int(line.partition(":")[0]): line.rpartition("[")[2].rstrip("]")
        for line in said
        if " error: " in line
    }
    assert errors == {
        7: "attr-defined",
        9: "attr-defined",
        10: "attr-defined",
        11: "arg-type",
        13: "attr-defined",
        19: "arg-type",
        20: "arg-type",
        21: "attr-defined",
    }, "\n".join(said)
