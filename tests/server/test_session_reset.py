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

from ..support.queries import error_number
from ..support.queries import execute
from ..support.session_change import MARIADB
from ..support.session_change import MYSQL
from ..support.session_change import SessionChange
from ..support.session_change import Step
from ..support.session_change import variables
from ..support.session_changes import EVERYTHING
from ..support.session_changes import TRANSACTIONS
from ..support.session_database import pool_of_one
from ..support.session_database import SessionDatabase
from ..support.tcp_proxy import TCPProxy
from ..support.waiting import wait_until


@pytest.fixture(scope="module")
def database(mysql_server: t.Any) -> Iterator[SessionDatabase]:
    if not mysql_server.running:
        mysql_server.start()
    database = SessionDatabase(mysql_server)
    yield database
    database.close()


def play(database: SessionDatabase, db: t.Any, change: SessionChange) -> None:
    """Change the session."""
    *steps, last = change.do
    for step in steps:
        take(database, db, step)
    if not change.fails:
        return take(database, db, last)
    with pytest.raises(pymysql.MySQLError) as raised:
        take(database, db, last)
    assert raised.value.args[0] in change.fails


def take(database: SessionDatabase, db: t.Any, step: Step) -> None:
    if not isinstance(step, str):
        step(db)
        return
    with db.cursor() as cursor:  # fetches further result sets
        cursor.execute(step.format(role=database.role, database=database.name))


def look(database: SessionDatabase, db: t.Any, change: SessionChange) -> t.Any:
    return (
        execute(db, change.see)
        if isinstance(change.see, str)
        else change.see(database, db)
    )


def played_here(database: SessionDatabase, change: SessionChange) -> None:
    if change.only and change.only != (MARIADB if database.mariadb else MYSQL):
        pytest.skip(f"only {change.only} has it")
    if change.name == "resource group":
        create = f"CREATE RESOURCE GROUP {database.role} TYPE = USER VCPU = 0"
        if error_number(database.session, create) not in (0, 3654):  # exists
            pytest.skip("the server may not make resource groups")


def with_autocommit(marks: list[SessionChange]) -> list[t.Any]:
    return [
        pytest.param(change, autocommit, id=f"{change}-{'on' if autocommit else 'off'}")
        for change in marks
        for autocommit in change.autocommit
    ]


@pytest.mark.parametrize(("change", "autocommit"), with_autocommit(EVERYTHING))
def test_mark_is_left_on_a_connection_without_a_pool(
    database: SessionDatabase, change: SessionChange, autocommit: bool
) -> None:
    """Else the tests below could not fail."""
    played_here(database, change)
    keywords = {**change.settings, "autocommit": autocommit}
    with contextlib.closing(database.connect(**keywords)) as db:
        clean = look(database, db, change)
    with contextlib.closing(database.connect(**keywords)) as db:
        play(database, db, change)
        assert look(database, db, change) != clean


@pytest.mark.parametrize("mode", ["auto", "session"])
@pytest.mark.parametrize(("change", "autocommit"), with_autocommit(EVERYTHING))
def test_next_request_finds_nothing(
    database: SessionDatabase, change: SessionChange, autocommit: bool, mode: str
) -> None:
    played_here(database, change)
    settings = {**change.settings, "autocommit": autocommit, "reset": mode}
    with pool_of_one(database, **settings) as pool:
        with pool.connection() as db:
            clean = look(database, db, change)
            session = execute(db, "SELECT CONNECTION_ID()")
        with pool.connection() as db:
            play(database, db, change)
        with pool.connection() as db:
            found = look_again(database, db, change, clean)
            same = execute(db, "SELECT CONNECTION_ID()") == session
    if mode == "auto" and unseen(database, change, autocommit):
        assert found != clean, "it sees more than the documentation says"
    else:
        assert found == clean
    assert same is not change.ended


def look_again(
    database: SessionDatabase, db: t.Any, change: SessionChange, clean: t.Any
) -> t.Any:
    """Look until there is nothing where the session was ended: the server takes a
    moment to notice that.
    """
    if change.ended:
        wait_until(lambda: look(database, db, change) == clean)
    return look(database, db, change)


def unseen(database: SessionDatabase, change: SessionChange, autocommit: bool) -> bool:
    """Whether ``RESET="auto"`` is known not to notice it."""
    server = MARIADB if database.mariadb else MYSQL
    return server in change.unseen or (
        autocommit and f"{server} autocommit" in change.unseen
    )


@pytest.mark.parametrize(("change", "autocommit"), with_autocommit(TRANSACTIONS))
def test_rollback_mode_ends_the_transaction(
    database: SessionDatabase, change: SessionChange, autocommit: bool
) -> None:
    played_here(database, change)
    with pool_of_one(database, autocommit=autocommit, reset="rollback") as pool:
        with pool.connection() as db:
            clean = look(database, db, change)
        with pool.connection() as db:
            play(database, db, change)
        with pool.connection() as db:
            assert look_again(database, db, change, clean) == clean


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


def condition(database: SessionDatabase, db: t.Any) -> dict[str, t.Any]:
    """What the settings of a pool decide."""
    known: dict[str, t.Any] = variables(database, db)
    known["@tenant"] = execute(db, "SELECT @tenant, @a, DATABASE(), CURRENT_ROLE()")
    known["handle"] = (db.charset, db.encoding, db.collation, db.get_autocommit())
    known["escaped"] = db.escape("\\'")
    return known


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_session_has_its_own_settings_again(
    database: SessionDatabase, settings: dict[str, t.Any]
) -> None:
    with pool_of_one(database, **settings) as pool:
        with pool.connection() as db:
            session = db.thread_id()
            fresh = condition(database, db)
        with pool.connection() as db:
            db.autocommit(not db.get_autocommit())
            db.set_character_set("utf8mb3")
            db.select_db("mysql")
            execute(db, "SET time_zone = '+05:00', @tenant = 8, @a = 9")
            execute(db, "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            execute(db, f"SET ROLE {database.role}")
            mode = (
                "'ANSI_QUOTES'" if "sql_mode" in settings else "'NO_BACKSLASH_ESCAPES'"
            )
            execute(db, f"SET sql_mode = {mode}, group_concat_max_len = 66")
            assert condition(database, db)["escaped"] != fresh["escaped"]
        with pool.connection() as db:
            assert condition(database, db) == fresh
            assert db.thread_id() == session


def test_role_of_the_login_comes_back(database: SessionDatabase) -> None:
    user = f"user_{secrets.token_hex(4)}"
    database.ask(f"CREATE USER {user}@'%%' IDENTIFIED BY %s", "secret")
    try:
        database.ask(f"GRANT {database.role} TO {user}@'%'")
        word = "FOR" if database.mariadb else "TO"
        database.ask(f"SET DEFAULT ROLE {database.role} {word} {user}@'%'")
        server = urlsplit(database.url)
        url = f"mysql://{user}:secret@{server.hostname}:{server.port}/"
        with pool_of_one(database, url=url) as pool:
            with pool.connection() as db:
                login = execute(db, "SELECT CURRENT_ROLE(), CONNECTION_ID()")
                assert database.role in login[0][0]
            with pool.connection() as db:
                execute(db, "SET ROLE NONE")
            with pool.connection() as db:
                assert execute(db, "SELECT CURRENT_ROLE(), CONNECTION_ID()") == login
    finally:
        database.ask(f"DROP USER {user}@'%'")


@pytest.mark.parametrize(
    "setting", [{"setsession": (READS,)}, {"init_command": READS}], ids=str
)
def test_preparing_a_session_leaves_no_transaction(
    database: SessionDatabase, setting: dict[str, t.Any]
) -> None:
    with pool_of_one(database, **setting) as pool:
        for statement in ("DO 0", "SET @a = 1"):
            with pool.connection() as db:
                execute(db, statement)
            with pool.connection() as db:
                assert database.attempt("SELECT * FROM t FOR UPDATE NOWAIT") == 0
                database.ask("UPDATE t SET n = n + 1")
                assert execute(db, "SELECT n FROM t") == database.ask("SELECT n FROM t")


def test_database_of_an_option_file_comes_back(
    database: SessionDatabase, tmp_path: Path
) -> None:
    server = urlsplit(database.url)
    path = tmp_path / "my.cnf"
    path.write_text(f"[client]\ndatabase = {database.name}\n")
    url = server._replace(path="").geturl()
    with pool_of_one(database, url=url, read_default_file=str(path)) as pool:
        with pool.connection() as db:
            execute(db, "USE mysql")
        with pool.connection() as db:
            assert execute(db, "SELECT DATABASE()") == ((database.name,),)


@pytest.mark.parametrize("mode", ["auto", "session", "rollback"])
@pytest.mark.parametrize("how", ["{}", "EXECUTE IMMEDIATE '{}'"])
def test_prepared_branch_is_let_go(
    database: SessionDatabase, mode: str, how: str
) -> None:
    """MariaDB's reset would leave it attached to the session, which can do nothing
    else then.
    """
    if not database.mariadb and how != "{}":
        pytest.skip("MySQL has no EXECUTE IMMEDIATE")
    database.ask("CREATE TABLE IF NOT EXISTS branch (n INT) ENGINE=InnoDB")
    with pool_of_one(database, reset=mode) as pool:
        with pool.connection() as db:
            for sql in ('XA START "b"', "INSERT INTO branch VALUES (1)", 'XA END "b"'):
                execute(db, how.format(sql))
            execute(db, how.format('XA PREPARE "b"'))
        with pool.connection() as db:
            assert error_number(db, "INSERT INTO branch VALUES (2)") == 0
        wait_until(lambda: error_number(database.session, "XA COMMIT 'b'") == 0)


# Rows and results that nobody read


def test_unread_rows_are_not_waited_for(database: SessionDatabase) -> None:
    with TCPProxy(database.url) as proxy, pool_of_one(database, url=proxy.url) as pool:
        with pool.connection() as db, contextlib.nullcontext(db.cursor(SSCursor)) as c:
            session = db.thread_id()
            c.execute("SELECT a.n FROM t a, t b, information_schema.columns c, t d")
            assert c.fetchone() is not None
            proxy.sessions[0].hold()  # who reads on waits for ever
        with pool.connection() as db:
            assert execute(db, "SELECT 1") == ((1,),)
            assert db.thread_id() != session
        assert proxy.statements.count("ROLLBACK") <= 1
        assert pool.stats().closed == {"broken": 1}


@pytest.mark.parametrize("cursor", [None, SSCursor])
def test_unfetched_result_is_not_lent(database: SessionDatabase, cursor: t.Any) -> None:
    with pool_of_one(database, client_flag=CLIENT.MULTI_STATEMENTS) as pool:
        with pool.connection() as db:
            open_cursor = db.cursor(cursor)
            open_cursor.execute("SELECT 1; SELECT 2")
            open_cursor.fetchall()
        with pool.connection() as db:
            assert execute(db, "SELECT 3") == ((3,),)
        assert pool.stats().closed == {"broken": 1}


# What goes over the wire


def heard(database: SessionDatabase, *requests: str, **settings: t.Any) -> list[str]:
    """Return what the server hears of these requests, a statement each."""
    with (
        TCPProxy(database.url) as proxy,
        pool_of_one(database, url=proxy.url, **settings) as pool,
    ):
        with pool.connection():
            pass
        for number, sql in enumerate(requests):
            with pool.connection() as db:
                if number == 0:
                    proxy.commands.clear()
                execute(db, sql)
        with pool.connection():
            return proxy.statements


def test_nothing_is_sent_where_nothing_is_to_be_reset(
    database: SessionDatabase,
) -> None:
    requests = ["SELECT n FROM t", "UPDATE t SET n = 1", "INSERT INTO t VALUES (9, 9)"]
    requests += ["DELETE FROM t WHERE id = 9", "SHOW TABLES", "COMMIT", "(SELECT 1)"]
    assert heard(database, *requests, autocommit=True) == requests


def test_open_transaction_costs_one_command(database: SessionDatabase) -> None:
    read, write = "SELECT n FROM t", "UPDATE t SET n = 1"
    expected = [read, "ROLLBACK", write, "ROLLBACK"]
    assert heard(database, read, write) == expected
    assert heard(database, read, write, reset="rollback") == expected


def test_nothing_is_sent_after_a_commit(database: SessionDatabase) -> None:
    with TCPProxy(database.url) as proxy, pool_of_one(database, url=proxy.url) as pool:
        for end in ("commit", "rollback"):
            with pool.connection() as db:
                proxy.commands.clear()
                execute(db, "UPDATE t SET n = 1")
                getattr(db, end)()
            with pool.connection() as db:
                execute(db, "SELECT 1")
                assert proxy.statements == [
                    "UPDATE t SET n = 1",
                    end.upper(),
                    "SELECT 1",
                ]


def test_reset_is_sent_once(database: SessionDatabase) -> None:
    for sql, mode in (("SET @a = 1", "auto"), ("SELECT 1", "session")):
        first, *reset = heard(database, sql, reset=mode, autocommit=True)
        assert first == sql
        assert reset[0] == "0x1f"
        assert reset[1].startswith("SET NAMES utf8mb4")
        found_rows = [] if mode == "auto" else ["SELECT 1"]
        assert reset[2:] == ["SET ROLE NONE", "0x02", *found_rows]


@pytest.mark.parametrize("sql", ["SELECT n FROM t", "SET @a = 1"])
def test_answer_is_read_at_the_next_checkout(
    database: SessionDatabase, sql: str
) -> None:
    with TCPProxy(database.url) as proxy, pool_of_one(database, url=proxy.url) as pool:
        with pool.connection() as db:
            execute(db, sql)
            proxy.sessions[0].hold()  # a return that waited would never end
            before = len(proxy.commands)
        wait_until(lambda: len(proxy.commands) > before)
        assert pool.stats().idle == 1
        proxy.sessions[0].release()
        with pool.connection() as db:
            assert execute(db, "SELECT 2") == ((2,),)
        assert len(proxy.sessions) == 1


def test_answer_that_does_not_come_is_not_waited_for_beyond_the_timeout(
    database: SessionDatabase,
) -> None:
    with TCPProxy(database.url) as proxy, pool_of_one(database, url=proxy.url) as pool:
        with pool.connection() as db:
            execute(db, "SELECT n FROM t")
            proxy.sessions[0].hold()
        with pool.connection(timeout=0.5) as db:
            assert execute(db, "SELECT 2") == ((2,),)
        assert len(proxy.sessions) == 2
        assert pool.stats().closed == {"dead": 1}


def test_refused_reset_is_no_reset(database: SessionDatabase) -> None:
    with pool_of_one(database, setsession=("SET @n = (SELECT n FROM helper)",)) as pool:
        database.ask("CREATE TABLE helper (n INT) ENGINE=InnoDB")
        with pool.connection() as db:
            session = db.thread_id()
            execute(db, "SET @a = 1")
            database.ask("DROP TABLE helper")
        with pytest.raises(pymysql.err.ProgrammingError):
            pool.connection()
        database.ask("CREATE TABLE helper (n INT) ENGINE=InnoDB")
        with pool.connection() as db:
            assert execute(db, "SELECT @a") == ((None,),)
            assert db.thread_id() != session
    database.ask("DROP TABLE helper")


def test_ping_tells_of_a_change(database: SessionDatabase) -> None:
    """MySQL reports what a stored function did with the next OK packet only."""
    with pool_of_one(database, autocommit=True, ping_after=0) as pool:
        with pool.connection() as db:
            execute(db, "SELECT f_set()")
        with pool.connection() as db:
            assert execute(db, "SELECT @a") == ((None,),)
