"""Execute statements on a connection."""

from __future__ import annotations

import typing as t

import pymysql


def execute(db: t.Any, sql: str, *parameters: t.Any) -> t.Any:
    """Execute a statement and return its rows."""
    with db.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchall()


def error_number(db: t.Any, sql: str) -> int:
    try:
        execute(db, sql)
    except pymysql.MySQLError as error:
        return int(error.args[0])
    return 0
