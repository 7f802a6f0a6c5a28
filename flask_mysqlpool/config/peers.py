"""The settings of other pools, and what they are here.

The tables of the docs' page on coming from another pool are made of this, and the hints
for unknown keys. The texts are reStructuredText.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator


class Row(t.NamedTuple):
    """Names of another pool; what they are here, in the same order; what differs."""

    theirs: str
    ours: str
    difference: str = ""

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield each of their names with our setting, or a text where it is none."""
        names = re.findall(r"``(\w+)", self.theirs)
        settings = re.findall(r"`MYSQLPOOL_(\w+)`", self.ours)
        for number, name in enumerate(names):
            ours = settings[min(number, len(settings) - 1)] if settings else self.ours
            yield name, ours.lower()


def _setting(name: str, value: str = "") -> str:
    return f":confval:`MYSQLPOOL_{name}`" + (f" ``= {value}``" if value else "")


BIND = "the name of a bind"
NONE = "none"

PEERS = {
    "DBUtils 3.2": (
        Row(
            "``creator``",
            NONE,
            "Always PyMySQL. Its parameters have keys of the same name.",
        ),
        Row(
            "``mincached``",
            _setting("MIN_SIZE"),
            "Opened in the background after the first use, not in ``__init__``.",
        ),
        Row("``maxcached``", NONE, f"See {_setting('MAX_IDLE')}."),
        Row("``maxconnections``", _setting("MAX_SIZE"), "10, not unlimited."),
        Row("``maxshared``", NONE, "A connection has one holder."),
        Row(
            "``blocking``",
            _setting("TIMEOUT"),
            "Seconds. 0 is ``blocking=False``; there is no waiting for ever.",
        ),
        Row(
            "``maxusage``",
            _setting("MAX_USAGE"),
            "Counts checkouts, not statements; never in the middle of a transaction.",
        ),
        Row("``setsession``", _setting("SETSESSION")),
        Row(
            "``reset``",
            _setting("RESET"),
            'Always rolls back; ``"auto"`` resets the session too.',
        ),
        Row(
            "``failures``, ``isfatal``",
            NONE,
            "There is no failover: a statement that failed has failed.",
        ),
        Row("``ping``", _setting("PING_AFTER"), "0 is ``ping=1``."),
    ),
    "SQLAlchemy 2": (
        Row(
            "``pool_size`` + ``max_overflow``",
            _setting("MAX_SIZE"),
            f"One limit. What is above {_setting('MIN_SIZE')} is closed after"
            f" {_setting('MAX_IDLE')}, not at its return.",
        ),
        Row(
            "``pool_timeout``",
            _setting("TIMEOUT"),
            "10, not 30; connecting counts too.",
        ),
        Row("``pool_recycle``", _setting("MAX_LIFETIME"), "1800, not never."),
        Row(
            "``pool_pre_ping=True``",
            _setting("PING_AFTER", "0"),
            "By default only after a second of idle time. A connection that the server"
            " closed is detected without a ping.",
        ),
        Row(
            "``pool_reset_on_return``",
            _setting("RESET"),
            '``"rollback"`` is the same; the default resets the session too.',
        ),
        Row(
            "``pool_use_lifo``",
            NONE,
            "The last connection to come back is used first. Callers wait in order.",
        ),
        Row("``SQLALCHEMY_DATABASE_URI``", _setting("URL")),
        Row("``connect_args``", "keys of the same names"),
        Row(
            "``isolation_level``",
            _setting("SETSESSION"),
            '``["SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"]``',
        ),
    ),
    "pymysql-pool 0.5": (
        Row("``size``, ``maxsize``", _setting("MAX_SIZE"), "One limit."),
        Row("``pre_create_num``", _setting("MIN_SIZE"), "In the background."),
        Row("``con_lifetime``", _setting("MAX_LIFETIME"), "1800, not 3600."),
        Row(
            "``autocommit``",
            _setting("AUTOCOMMIT"),
            "**False, not True**: commit, or set it.",
        ),
        Row("``name``", BIND),
        Row(
            "``pre_ping``",
            _setting("PING_AFTER", "0"),
            "A connection that is checked out is never reconnected.",
        ),
    ),
    "mysql.connector.pooling": (
        Row(
            "``pool_size``",
            _setting("MAX_SIZE"),
            "Opened when needed, not all at the start; no limit of 32.",
        ),
        Row("``pool_name``", BIND),
        Row(
            "``pool_reset_session=True``",
            _setting("RESET", '"session"'),
            "The default resets only what was changed.",
        ),
        Row("``connection_timeout``", _setting("CONNECT_TIMEOUT")),
        Row(
            "``time_zone``",
            _setting("SETSESSION"),
            "``[\"SET time_zone = '+00:00'\"]``",
        ),
        Row(
            "``allow_local_infile``, ``client_flags``",
            f"{_setting('LOCAL_INFILE')}, {_setting('CLIENT_FLAG')}",
        ),
        Row("``option_files``", _setting("READ_DEFAULT_FILE"), "One file."),
        Row("``option_groups``", _setting("READ_DEFAULT_GROUP"), "One group."),
    ),
    "Flask-MySQLdb 2.0": (
        Row(
            "``MYSQL_HOST``, ``MYSQL_PORT``, ``MYSQL_USER``, ``MYSQL_PASSWORD``",
            f"{_setting('HOST')}, {_setting('PORT')}, {_setting('USER')},"
            f" {_setting('PASSWORD')}",
            "The prefix only. The same is true of all that are not below.",
        ),
        Row("``MYSQL_DB``", _setting("DATABASE")),
        Row(
            "``MYSQL_CHARSET``",
            _setting("CHARSET"),
            "PyMySQL's default is ``utf8mb4``, not ``utf8``.",
        ),
        Row(
            "``MYSQL_CUSTOM_OPTIONS``",
            "keys of their own",
            f'``{{"ssl": {{"ca": …}}}}`` is {_setting("SSL_CA")}.',
        ),
    ),
    "Flask-MySQL 1.6": (
        Row(
            "``MYSQL_DATABASE_HOST``, ``MYSQL_DATABASE_PORT``, ``MYSQL_DATABASE_USER``,"
            " ``MYSQL_DATABASE_PASSWORD``",
            f"{_setting('HOST')}, {_setting('PORT')}, {_setting('USER')},"
            f" {_setting('PASSWORD')}",
        ),
        Row("``MYSQL_DATABASE_DB``", _setting("DATABASE")),
        Row("``MYSQL_DATABASE_SOCKET``", _setting("UNIX_SOCKET")),
        Row("``MYSQL_DATABASE_CHARSET``", _setting("CHARSET")),
        Row("``MYSQL_USE_POOL``", NONE, "There is always a pool."),
    ),
    "Other pools and drivers": (
        Row(
            "``db``, ``dbname``, ``schema``",
            _setting("DATABASE"),
            "``db`` and ``passwd`` are PyMySQL's old names.",
        ),
        Row("``passwd``, ``pw``", _setting("PASSWORD")),
        Row("``username``, ``login``", _setting("USER")),
        Row("``hostname``, ``server``, ``address``", _setting("HOST")),
        Row("``socket``, ``socket_path``", _setting("UNIX_SOCKET")),
        Row("``uri``, ``dsn``, ``database_url``, ``database_uri``", _setting("URL")),
        Row("``cursor_type``, ``dict_cursor``", _setting("CURSORCLASS")),
        Row("``encoding``", _setting("CHARSET")),
        Row(
            "``maximum_pool_size``, ``connection_limit``, ``max_conn``, ``limit``",
            _setting("MAX_SIZE"),
        ),
        Row("``minimum_idle``, ``min_idle``, ``init_size``", _setting("MIN_SIZE")),
        Row("``max_idle_time``, ``idle_timeout``", _setting("MAX_IDLE")),
        Row(
            "``max_age``, ``conn_max_age``, ``ttl``, ``lifetime``",
            _setting("MAX_LIFETIME"),
        ),
        Row("``acquire_timeout``, ``max_wait``, ``wait``", _setting("TIMEOUT")),
        Row("``queue_limit``, ``max_queue``", _setting("MAX_WAITING")),
        Row("``health_check``, ``test_on_borrow``", _setting("PING_AFTER", "0")),
        Row("``leak_detection_threshold``", _setting("LEAK_AFTER")),
        Row("``connection_init_sql``, ``isolation``", _setting("SETSESSION")),
    ),
}
