"""Something that a request leaves on its session, and how the next one would notice."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable

from .queries import error_number
from .queries import execute
from .session_database import SessionDatabase

Step: t.TypeAlias = str | Callable[[t.Any], None]  # a statement, or a use of db
See: t.TypeAlias = str | Callable[[SessionDatabase, t.Any], t.Any]

MARIADB, MYSQL = "mariadb", "mysql"


@dataclasses.dataclass(frozen=True)
class SessionChange:
    """Something that a request does.

    :param name: of the test.
    :param do: the statements, ``{role}`` and ``{database}`` filled in.
    :param see: what tells it: a query, or a function.
    :param only: the server that has it.
    :param ended: the server may not be able to undo it: the connection is discarded.
    :param fails: number of the error of the last statement, by server.
    :param settings: of the pool.
    :param autocommit: the modes in which it leaves something.
    :param unseen: where ``RESET="auto"`` does not notice: ``"mariadb"``, ``"mysql"``,
        ``"mysql autocommit"``.
    """

    name: str
    do: tuple[Step, ...]
    see: See
    only: str = ""
    ended: bool = False
    fails: tuple[int, ...] = ()
    settings: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    autocommit: tuple[bool, ...] = (False, True)
    unseen: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def error(sql: str) -> See:
    """What the next request gets for ``sql``: the rows, or an error."""
    return lambda database, db: error_number(db, sql)


def attempt(sql: str) -> See:
    """What somebody else gets for ``sql`` meanwhile: an error where locks are left."""
    return lambda database, db: database.attempt(sql)


def named_lock(database: SessionDatabase, db: t.Any) -> t.Any:
    return database.ask("SELECT IS_FREE_LOCK(%s)", database.name)


def next_transaction(database: SessionDatabase, db: t.Any) -> t.Any:
    """Whether reading takes locks, as it does in a SERIALIZABLE transaction."""
    execute(db, "BEGIN")
    execute(db, "SELECT * FROM t")
    return database.attempt("SELECT * FROM t FOR UPDATE NOWAIT")


def profiles(database: SessionDatabase, db: t.Any) -> t.Any:
    return [text for _, _, text in execute(db, "SHOW PROFILES")]


def variables(database: SessionDatabase, db: t.Any) -> t.Any:
    """All session variables but those that change by themselves."""
    moving = {"timestamp", "rand_seed1", "rand_seed2", "statement_id"}
    moving |= {"last_insert_id", "identity", "gtid_executed", "last_gtid"}
    listed = execute(db, "SHOW SESSION VARIABLES")
    return {name: value for name, value in listed if name not in moving}


def sees_changes(database: SessionDatabase, db: t.Any) -> t.Any:
    """Whether a change by others is seen at once, not hidden by a snapshot."""
    database.ask("UPDATE t SET n = n + 1 WHERE id = 2")
    query = "SELECT n FROM t WHERE id = 2"
    return execute(db, query) == database.ask(query)


def fails(database: SessionDatabase, db: t.Any) -> t.Any:
    """What the next request gets for a change of data."""
    return error_number(db, "UPDATE t SET n = n WHERE id = 1")
