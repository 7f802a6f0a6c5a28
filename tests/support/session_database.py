"""A database with something of each kind that can change a session, and the
view of others on it.
"""

from __future__ import annotations

import contextlib
import secrets
import typing as t
from collections.abc import Iterator

from flask_mysqlpool import Pool

from .pools import settings_for
from .queries import error_number
from .queries import execute

TABLES = """
CREATE TABLE t (id INT PRIMARY KEY, n INT) ENGINE=InnoDB
INSERT INTO t VALUES (1, 1), (2, 2)
CREATE TABLE plain (id INT PRIMARY KEY) ENGINE=MyISAM
CREATE TABLE numbered (id INT AUTO_INCREMENT PRIMARY KEY, n INT UNIQUE) ENGINE=InnoDB
CREATE TABLE triggering (id INT) ENGINE=InnoDB
CREATE TRIGGER sets BEFORE INSERT ON triggering FOR EACH ROW SET @a = 1
CREATE TABLE selecting (id INT) ENGINE=InnoDB
CREATE TRIGGER selects BEFORE INSERT ON selecting FOR EACH ROW SELECT 1 INTO @a
CREATE TABLE assigning (id INT) ENGINE=InnoDB
CREATE TRIGGER assigns BEFORE INSERT ON assigning FOR EACH ROW DO @a := 1
CREATE TABLE locking (id INT) ENGINE=InnoDB
CREATE TRIGGER locks BEFORE INSERT ON locking FOR EACH ROW DO GET_LOCK(DATABASE(), 0)
CREATE VIEW locked AS SELECT GET_LOCK(DATABASE(), 0) AS seized
"""

PROCEDURES = {
    "p_set": "SET @a = 1",
    "p_into": "SELECT 1 INTO @a",
    "p_variable": "SET SESSION group_concat_max_len = 99",
    "p_temporary": "CREATE TEMPORARY TABLE temporary_one (n INT)",
    "p_prepare": "PREPARE kept FROM 'SELECT 1'",
    "p_role": "SET ROLE {role}",
}

FUNCTIONS = {
    "f_set": "SET @a = 1;",
    "f_into": "SELECT 1 INTO @a;",
    "f_assign": "DECLARE n INT; SET n = (SELECT @a := 1);",
    "f_do": "DO @a := 1;",
    "f_variable": "SET SESSION group_concat_max_len = 99;",
    "f_role": "SET ROLE {role};",
    "f_named": "DO GET_LOCK('{database}', 0);",
    "f_blind": "SET @a = 1; SET SESSION session_track_state_change = 0;",
    "f_fail": "SET @a = 1; SIGNAL SQLSTATE '45000';",
}


class SessionDatabase:
    """The database, and a session of no pool.

    :param server: the fixture ``mysql_server``.
    """

    def __init__(self, server: t.Any) -> None:
        self._server = server
        self.name = f"stage_{secrets.token_hex(4)}"
        self.role = f"role_{secrets.token_hex(4)}"
        self.url: str = server.url(self.name)
        self.session = self.connect()
        self.mariadb = "MariaDB" in self.session.get_server_info()
        for sql in TABLES.strip().splitlines():
            self.ask(sql)
        self.ask(f"CREATE DATABASE {self.name}_other")
        self.ask(f"CREATE ROLE {self.role}")
        user = self.ask("SELECT CURRENT_USER()")[0][0]
        self.user = "'{}'@'{}'".format(*user.rsplit("@", 1))
        self.ask(f"GRANT {self.role} TO {self.user}")
        if self.mariadb:
            self.ask("CREATE SEQUENCE counting")
        names = {"role": self.role, "database": self.name}
        for name, body in PROCEDURES.items():
            self.ask(f"CREATE PROCEDURE {name}() {body.format(**names)}")
        for name, body in FUNCTIONS.items():
            body = f"BEGIN {body.format(**names)} RETURN 1; END"
            self.ask(f"CREATE FUNCTION {name}() RETURNS INT READS SQL DATA {body}")

    def connect(self, **keywords: t.Any) -> t.Any:
        return self._server.connect(
            **{"database": self.name, "autocommit": True} | keywords
        )

    def close(self) -> None:
        self.ask(f"DROP ROLE {self.role}")
        self.ask("SET lock_wait_timeout = 10")
        self.ask(f"DROP DATABASE {self.name}_other")
        self.ask(f"DROP DATABASE {self.name}")
        self.session.close()

    def ask(self, sql: str, *parameters: t.Any) -> t.Any:
        """Execute as somebody else, in autocommit mode; return all rows."""
        return execute(self.session, sql, *parameters)

    def attempt(self, sql: str) -> t.Any:
        """Return the error number that somebody else gets for ``sql``, 0 for none."""
        wait = 0 if self.mariadb else 1  # MySQL's least
        with self.connect(init_command=f"SET lock_wait_timeout = {wait}") as session:
            return error_number(session, sql)


@contextlib.contextmanager
def pool_of_one(database: SessionDatabase, /, **settings: t.Any) -> Iterator[Pool]:
    """A pool whose next checkout gets the same connection again."""
    url = settings.pop("url", database.url)
    if "database" in settings and settings["database"] is None:
        url = url.removesuffix(database.name)
        del settings["database"]
    pool = Pool(settings_for(url, ssl_disabled=True, max_size=1, **settings))
    try:
        yield pool
        assert pool.stats().in_use == 0
    finally:
        pool.close()
