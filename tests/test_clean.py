"""A connection is clean before it is lent: one request does something, the next one on
the same connection finds nothing of it.
"""

from __future__ import annotations

import contextlib
import secrets
import typing as t
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pymysql
import pytest
from pymysql.constants import CLIENT
from pymysql.cursors import SSCursor

from .conftest import wait_until
from .mark import MARIADB
from .mark import Mark
from .mark import MYSQL
from .mark import Step
from .mark import variables
from .marks import EVERYTHING
from .marks import TRANSACTIONS
from .stage import error_number
from .stage import pool_of_one
from .stage import rows
from .stage import Stage
from .wire import Wire


@pytest.fixture(scope="module")
def stage(mysql_server: t.Any) -> Iterator[Stage]:
    if not mysql_server.running:
        mysql_server.start()
    stage = Stage(mysql_server)
    yield stage
    stage.close()


def play(stage: Stage, db: t.Any, mark: Mark) -> None:
    """Do what leaves the mark."""
    *steps, last = mark.do
    for step in steps:
        take(stage, db, step)
    if not mark.fails:
        return take(stage, db, last)
    with pytest.raises(pymysql.MySQLError) as raised:
        take(stage, db, last)
    assert raised.value.args[0] in mark.fails


def take(stage: Stage, db: t.Any, step: Step) -> None:
    if not isinstance(step, str):
        step(db)
        return
    with db.cursor() as cursor:  # fetches further result sets
        cursor.execute(step.format(role=stage.role, database=stage.name))


def look(stage: Stage, db: t.Any, mark: Mark) -> t.Any:
    return rows(db, mark.see) if isinstance(mark.see, str) else mark.see(stage, db)


def played_here(stage: Stage, mark: Mark) -> None:
    if mark.only and mark.only != (MARIADB if stage.mariadb else MYSQL):
        pytest.skip(f"only {mark.only} has it")
    if mark.name == "resource group":
        create = f"CREATE RESOURCE GROUP {stage.role} TYPE = USER VCPU = 0"
        if error_number(stage.session, create) not in (0, 3654):  # exists
            pytest.skip("the server may not make resource groups")


def with_autocommit(marks: list[Mark]) -> list[t.Any]:
    return [
        pytest.param(mark, autocommit, id=f"{mark}-{'on' if autocommit else 'off'}")
        for mark in marks
        for autocommit in mark.autocommit
    ]


@pytest.mark.parametrize(("mark", "autocommit"), with_autocommit(EVERYTHING))
def test_mark_is_left_on_a_connection_without_a_pool(
    stage: Stage, mark: Mark, autocommit: bool
) -> None:
    """Else the tests below could not fail."""
    played_here(stage, mark)
    keywords = {**mark.settings, "autocommit": autocommit}
    with contextlib.closing(stage.connect(**keywords)) as db:
        clean = look(stage, db, mark)
    with contextlib.closing(stage.connect(**keywords)) as db:
        play(stage, db, mark)
        assert look(stage, db, mark) != clean


@pytest.mark.parametrize("mode", ["auto", "session"])
@pytest.mark.parametrize(("mark", "autocommit"), with_autocommit(EVERYTHING))
def test_next_request_finds_nothing(
    stage: Stage, mark: Mark, autocommit: bool, mode: str
) -> None:
    played_here(stage, mark)
    settings = {**mark.settings, "autocommit": autocommit, "reset": mode}
    with pool_of_one(stage, **settings) as pool:
        with pool.connection() as db:
            clean = look(stage, db, mark)
            session = rows(db, "SELECT CONNECTION_ID()")
        with pool.connection() as db:
            play(stage, db, mark)
        with pool.connection() as db:
            found = look(stage, db, mark)
            same = rows(db, "SELECT CONNECTION_ID()") == session
    if mode == "auto" and unseen(stage, mark, autocommit):
        assert found != clean, "it sees more than the documentation says"
    else:
        assert found == clean
    assert same is not mark.ended


def unseen(stage: Stage, mark: Mark, autocommit: bool) -> bool:
    """Whether ``RESET="auto"`` is known not to notice it."""
    server = MARIADB if stage.mariadb else MYSQL
    return server in mark.unseen or (
        autocommit and f"{server} autocommit" in mark.unseen
    )


@pytest.mark.parametrize(("mark", "autocommit"), with_autocommit(TRANSACTIONS))
def test_rollback_mode_ends_the_transaction(
    stage: Stage, mark: Mark, autocommit: bool
) -> None:
    played_here(stage, mark)
    with pool_of_one(stage, autocommit=autocommit, reset="rollback") as pool:
        with pool.connection() as db:
            clean = look(stage, db, mark)
        with pool.connection() as db:
            play(stage, db, mark)
        with pool.connection() as db:
            assert look(stage, db, mark) == clean


# What the session has after a reset

READS = "SET @n = (SELECT MAX(n) FROM t)"
SETTINGS: dict[str, dict[str, t.Any]] = {
    "defaults": {},
    "autocommit": {"autocommit": True},
    "autocommit of the server": {"autocommit": None},
    "character set": {"charset": "latin1", "collation": "latin1_german1_ci"},
    "sql_mode": {"sql_mode": "ANSI_QUOTES,NO_BACKSLASH_ESCAPES"},
    "init_command": {"init_command": "SET autocommit = 1, time_zone = '+03:00'"},
    "setsession": {
        "setsession": (
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SET @tenant = 7, group_concat_max_len = 77",
        )
    },
}


def condition(stage: Stage, db: t.Any) -> dict[str, t.Any]:
    """What the settings of a pool decide."""
    known: dict[str, t.Any] = variables(stage, db)
    known["@tenant"] = rows(db, "SELECT @tenant, @a, DATABASE(), CURRENT_ROLE()")
    known["handle"] = (db.charset, db.encoding, db.collation, db.get_autocommit())
    known["escaped"] = db.escape("\\'")
    return known


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_session_has_its_own_settings_again(
    stage: Stage, settings: dict[str, t.Any]
) -> None:
    with pool_of_one(stage, **settings) as pool:
        with pool.connection() as db:
            session = db.thread_id()
            fresh = condition(stage, db)
        with pool.connection() as db:
            db.autocommit(not db.get_autocommit())
            db.set_character_set("utf8mb3")
            db.select_db("mysql")
            rows(db, "SET time_zone = '+05:00', @tenant = 8, @a = 9")
            rows(db, "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            rows(db, f"SET ROLE {stage.role}")
            mode = (
                "'ANSI_QUOTES'" if "sql_mode" in settings else "'NO_BACKSLASH_ESCAPES'"
            )
            rows(db, f"SET sql_mode = {mode}, group_concat_max_len = 66")
            assert condition(stage, db)["escaped"] != fresh["escaped"]
        with pool.connection() as db:
            assert condition(stage, db) == fresh
            assert db.thread_id() == session


def test_role_of_the_login_comes_back(stage: Stage) -> None:
    user = f"user_{secrets.token_hex(4)}"
    stage.ask(f"CREATE USER {user}@'%%' IDENTIFIED BY %s", "secret")
    try:
        stage.ask(f"GRANT {stage.role} TO {user}@'%'")
        word = "FOR" if stage.mariadb else "TO"
        stage.ask(f"SET DEFAULT ROLE {stage.role} {word} {user}@'%'")
        server = urlsplit(stage.url)
        url = f"mysql://{user}:secret@{server.hostname}:{server.port}/"
        with pool_of_one(stage, url=url) as pool:
            with pool.connection() as db:
                login = rows(db, "SELECT CURRENT_ROLE(), CONNECTION_ID()")
                assert stage.role in login[0][0]
            with pool.connection() as db:
                rows(db, "SET ROLE NONE")
            with pool.connection() as db:
                assert rows(db, "SELECT CURRENT_ROLE(), CONNECTION_ID()") == login
    finally:
        stage.ask(f"DROP USER {user}@'%'")


@pytest.mark.parametrize(
    "setting", [{"setsession": (READS,)}, {"init_command": READS}], ids=str
)
def test_preparing_a_session_leaves_no_transaction(
    stage: Stage, setting: dict[str, t.Any]
) -> None:
    with pool_of_one(stage, **setting) as pool:
        for statement in ("DO 0", "SET @a = 1"):
            with pool.connection() as db:
                rows(db, statement)
            with pool.connection() as db:
                assert stage.attempt("SELECT * FROM t FOR UPDATE NOWAIT") == 0
                stage.ask("UPDATE t SET n = n + 1")
                assert rows(db, "SELECT n FROM t") == stage.ask("SELECT n FROM t")


def test_database_of_an_option_file_comes_back(stage: Stage, tmp_path: Path) -> None:
    server = urlsplit(stage.url)
    path = tmp_path / "my.cnf"
    path.write_text(f"[client]\ndatabase = {stage.name}\n")
    url = server._replace(path="").geturl()
    with pool_of_one(stage, url=url, read_default_file=str(path)) as pool:
        with pool.connection() as db:
            rows(db, "USE mysql")
        with pool.connection() as db:
            assert rows(db, "SELECT DATABASE()") == ((stage.name,),)


@pytest.mark.parametrize("mode", ["auto", "session", "rollback"])
@pytest.mark.parametrize("how", ["{}", "EXECUTE IMMEDIATE '{}'"])
def test_prepared_branch_is_let_go(stage: Stage, mode: str, how: str) -> None:
    """MariaDB's reset would leave it attached to the session, which can do nothing
    else then.
    """
    if not stage.mariadb and how != "{}":
        pytest.skip("MySQL has no EXECUTE IMMEDIATE")
    stage.ask("CREATE TABLE IF NOT EXISTS branch (n INT) ENGINE=InnoDB")
    with pool_of_one(stage, reset=mode) as pool:
        with pool.connection() as db:
            for sql in ('XA START "b"', "INSERT INTO branch VALUES (1)", 'XA END "b"'):
                rows(db, how.format(sql))
            rows(db, how.format('XA PREPARE "b"'))
        with pool.connection() as db:
            assert error_number(db, "INSERT INTO branch VALUES (2)") == 0
        wait_until(lambda: error_number(stage.session, "XA COMMIT 'b'") == 0)


# Rows and results that nobody read


def test_unread_rows_are_not_waited_for(stage: Stage) -> None:
    with Wire(stage.url) as wire, pool_of_one(stage, url=wire.url) as pool:
        with pool.connection() as db, contextlib.nullcontext(db.cursor(SSCursor)) as c:
            session = db.thread_id()
            c.execute("SELECT a.n FROM t a, t b, information_schema.columns c, t d")
            assert c.fetchone() is not None
            wire.sessions[0].hold()  # who reads on waits for ever
        with pool.connection() as db:
            assert rows(db, "SELECT 1") == ((1,),)
            assert db.thread_id() != session
        assert wire.statements.count("ROLLBACK") <= 1
        assert pool.stats().closed == {"broken": 1}


@pytest.mark.parametrize("cursor", [None, SSCursor])
def test_unfetched_result_is_not_lent(stage: Stage, cursor: t.Any) -> None:
    with pool_of_one(stage, client_flag=CLIENT.MULTI_STATEMENTS) as pool:
        with pool.connection() as db:
            open_cursor = db.cursor(cursor)
            open_cursor.execute("SELECT 1; SELECT 2")
            open_cursor.fetchall()
        with pool.connection() as db:
            assert rows(db, "SELECT 3") == ((3,),)
        assert pool.stats().closed == {"broken": 1}


# What goes over the wire


def heard(stage: Stage, *requests: str, **settings: t.Any) -> list[str]:
    """Return what the server hears of these requests, a statement each."""
    with Wire(stage.url) as wire, pool_of_one(stage, url=wire.url, **settings) as pool:
        with pool.connection():
            pass
        for number, sql in enumerate(requests):
            with pool.connection() as db:
                if number == 0:
                    wire.commands.clear()
                rows(db, sql)
        with pool.connection():
            return wire.statements


def test_nothing_is_sent_where_nothing_is_to_be_reset(stage: Stage) -> None:
    requests = ["SELECT n FROM t", "UPDATE t SET n = 1", "INSERT INTO t VALUES (9, 9)"]
    requests += ["DELETE FROM t WHERE id = 9", "SHOW TABLES", "COMMIT", "(SELECT 1)"]
    assert heard(stage, *requests, autocommit=True) == requests


def test_open_transaction_costs_one_command(stage: Stage) -> None:
    read, write = "SELECT n FROM t", "UPDATE t SET n = 1"
    expected = [read, "ROLLBACK", write, "ROLLBACK"]
    assert heard(stage, read, write) == expected
    assert heard(stage, read, write, reset="rollback") == expected


def test_nothing_is_sent_after_a_commit(stage: Stage) -> None:
    with Wire(stage.url) as wire, pool_of_one(stage, url=wire.url) as pool:
        for end in ("commit", "rollback"):
            with pool.connection() as db:
                wire.commands.clear()
                rows(db, "UPDATE t SET n = 1")
                getattr(db, end)()
            with pool.connection() as db:
                rows(db, "SELECT 1")
                assert wire.statements == [
                    "UPDATE t SET n = 1",
                    end.upper(),
                    "SELECT 1",
                ]


def test_reset_is_sent_once(stage: Stage) -> None:
    for sql, mode in (("SET @a = 1", "auto"), ("SELECT 1", "session")):
        first, *reset = heard(stage, sql, reset=mode, autocommit=True)
        assert first == sql
        assert reset[0] == "0x1f"
        assert reset[1].startswith("SET NAMES utf8mb4")
        assert reset[2:] == ["SET ROLE NONE", "0x02"]


@pytest.mark.parametrize("sql", ["SELECT n FROM t", "SET @a = 1"])
def test_answer_is_read_at_the_next_checkout(stage: Stage, sql: str) -> None:
    with Wire(stage.url) as wire, pool_of_one(stage, url=wire.url) as pool:
        with pool.connection() as db:
            rows(db, sql)
            wire.sessions[0].hold()  # a return that waited would never end
            before = len(wire.commands)
        wait_until(lambda: len(wire.commands) > before)
        assert pool.stats().idle == 1
        wire.sessions[0].release()
        with pool.connection() as db:
            assert rows(db, "SELECT 2") == ((2,),)
        assert len(wire.sessions) == 1


def test_answer_that_does_not_come_is_not_waited_for_beyond_the_timeout(
    stage: Stage,
) -> None:
    with Wire(stage.url) as wire, pool_of_one(stage, url=wire.url) as pool:
        with pool.connection() as db:
            rows(db, "SELECT n FROM t")
            wire.sessions[0].hold()
        with pool.connection(timeout=0.5) as db:
            assert rows(db, "SELECT 2") == ((2,),)
        assert len(wire.sessions) == 2
        assert pool.stats().closed == {"dead": 1}


def test_refused_reset_is_no_reset(stage: Stage) -> None:
    with pool_of_one(stage, setsession=("SET @n = (SELECT n FROM helper)",)) as pool:
        stage.ask("CREATE TABLE helper (n INT) ENGINE=InnoDB")
        with pool.connection() as db:
            session = db.thread_id()
            rows(db, "SET @a = 1")
            stage.ask("DROP TABLE helper")
        with pytest.raises(pymysql.err.ProgrammingError):
            pool.connection()
        stage.ask("CREATE TABLE helper (n INT) ENGINE=InnoDB")
        with pool.connection() as db:
            assert rows(db, "SELECT @a") == ((None,),)
            assert db.thread_id() != session
    stage.ask("DROP TABLE helper")


def test_ping_tells_of_a_change(stage: Stage) -> None:
    """MySQL reports what a stored function did with the next OK packet only."""
    with pool_of_one(stage, autocommit=True, ping_after=0) as pool:
        with pool.connection() as db:
            rows(db, "SELECT f_set()")
        with pool.connection() as db:
            assert rows(db, "SELECT @a") == ((None,),)
