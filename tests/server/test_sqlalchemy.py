"""SQLAlchemy may use the pool, but not the connection of a request: it rolls back what
it is given when it is done.
"""

from __future__ import annotations

import re
import textwrap
import typing as t
from pathlib import Path

import flask
import pymysql
import pytest

from flask_mysqlpool import get_db
from flask_mysqlpool import PooledConnection

from ..support.flask_apps import in_use
from ..support.flask_apps import MakeApp
from ..support.flask_apps import pool_of
from ..support.ledger import change
from ..support.ledger import Ledger

MIGRATION = Path(__file__).parents[2] / "docs" / "migration.rst"


@pytest.fixture
def site(make_app: MakeApp, ledger: Ledger) -> flask.Flask:
    return make_app(max_size=3)


def caller_in(module: str) -> t.Callable[[PooledConnection], str]:
    """Return a function that asks as if it stood in ``module``."""
    names: dict[str, t.Any] = {"__name__": module}
    exec("def ask(db):\n    return db.character_set_name()", names)
    return t.cast(t.Callable[[PooledConnection], str], names["ask"])


DIALECT = "sqlalchemy.dialects.mysql.mysqldb"


def test_connection_of_a_request_is_not_sqlalchemys(site: flask.Flask) -> None:
    with site.app_context():
        with pytest.raises(pymysql.err.ProgrammingError, match=r"creator=pool\.conn"):
            caller_in(DIALECT)(get_db())
        assert caller_in("sqlalchemy_of_somebody")(get_db()) == "utf8mb4"
        assert get_db().character_set_name() == "utf8mb4"
        with pool_of(site).connection() as db:
            assert caller_in(DIALECT)(db) == "utf8mb4"


def engine_with(creator: t.Callable[[], t.Any], **keywords: t.Any) -> t.Any:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    return sqlalchemy.create_engine("mysql+pymysql://", creator=creator, **keywords)


@pytest.mark.parametrize("creator", [get_db, lambda: get_db()])
@pytest.mark.parametrize("pool_class", ["QueuePool", "NullPool", "StaticPool"])
def test_engine_with_the_connection_of_a_request_fails(
    site: flask.Flask, ledger: Ledger, creator: t.Any, pool_class: str
) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = engine_with(creator, poolclass=getattr(sqlalchemy.pool, pool_class))
    with site.app_context():
        change(get_db(), 1)
        for _ in range(2):
            with pytest.raises(sqlalchemy.exc.ProgrammingError, match="of get_db()"):
                engine.connect()
    engine.dispose()
    assert in_use(site) == 0


def test_engine_that_uses_the_pool(site: flask.Flask, ledger: Ledger) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    pool = pool_of(site)
    engine = engine_with(pool.connection, poolclass=sqlalchemy.pool.NullPool)
    update = sqlalchemy.text("UPDATE ledger SET v = v + 1 WHERE id = :id")
    with site.app_context():
        change(get_db(), 1)
        with engine.begin() as connection:
            connection.execute(update, {"id": 2})
        with engine.connect() as connection:
            connection.execute(update, {"id": 2})  # and no commit
        assert in_use(site) == 1
        assert ledger.rows == {1: 0, 2: 1}
        get_db().rollback()
    assert ledger.rows == {1: 0, 2: 1}
    assert pool.stats().in_use == 0


def ends_a_connection(error: BaseException) -> bool:
    """Whether SQLAlchemy's dialect for PyMySQL takes an error for a connection's end,
    by its text.
    """
    return isinstance(error, pymysql.Error) and "already closed" in str(error).lower()


def test_end_of_a_connection_is_seen_as_such(site: flask.Flask, ledger: Ledger) -> None:
    db = pool_of(site).connection()
    with pytest.raises(pymysql.Error):
        ledger.kill(db.thread_id())
        change(db, 1)
    with pytest.raises(pymysql.err.InterfaceError) as lost:
        change(db, 1)
    db.close()
    with pytest.raises(pymysql.err.InterfaceError) as returned:
        change(db, 1)
    assert ends_a_connection(lost.value)
    assert ends_a_connection(returned.value)


def test_engine_replaces_a_connection_that_went_back(site: flask.Flask) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = engine_with(pool_of(site).connection)  # which keeps it, for it pools, too
    with engine.connect() as connection:
        kept = connection.connection.dbapi_connection
    kept.close()
    with engine.connect() as connection:
        with pytest.raises(sqlalchemy.exc.DBAPIError) as raised:
            connection.exec_driver_sql("SELECT 1")
        assert raised.value.connection_invalidated
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").all() == [(1,)]
    engine.dispose()


def test_documented_engine(site: flask.Flask, ledger: Ledger) -> None:
    pytest.importorskip("sqlalchemy")
    page = MIGRATION.read_text()
    code = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", page)
    example = textwrap.dedent(next(each for each in code if "create_engine" in each))
    names: dict[str, t.Any] = {"app": site}
    exec(compile(example, str(MIGRATION), "exec"), names)
    with names["engine"].begin() as connection:
        assert connection.exec_driver_sql("SELECT v FROM ledger").all() == [(0,), (0,)]
    assert pool_of(site).stats().in_use == 0


def test_documented_schema_file(make_app: MakeApp, tmp_path: Path) -> None:
    page = MIGRATION.read_text()
    code = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", page)
    example = textwrap.dedent(next(each for each in code if "schema.sql" in each))
    (tmp_path / "schema.sql").write_text(
        "CREATE TABLE s (n INT);\nINSERT INTO s VALUES (1), (2);\nSELECT ';' FROM s;\n"
    )
    binds = {"schema": {"client_flag": pymysql.constants.CLIENT.MULTI_STATEMENTS}}
    app = make_app(binds=binds)
    app.root_path = str(tmp_path)
    exec(compile(example, str(MIGRATION), "exec"), {"app": app})
    done = app.test_cli_runner().invoke(args=["init-db"])
    assert done.exit_code == 0, done.output
    with app.app_context(), get_db().cursor() as cursor:
        cursor.execute("SELECT n FROM s")
        assert cursor.fetchall() == ((1,), (2,))
    with app.app_context(), pytest.raises(pymysql.err.ProgrammingError):
        get_db().query("SELECT 1; SELECT 2")
