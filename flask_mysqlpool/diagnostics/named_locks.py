"""Looks for what takes named locks where ``MYSQLPOOL_RESET="auto"`` does not see it."""

from __future__ import annotations

from collections.abc import Callable

from pymysql.cursors import Cursor

from ..config.settings import Settings
from ..stats.text import printable
from .findings import Finding
from .server_info import session_of

MAX_NAMED = 3  # in a finding

_QUERY = r"""
SELECT routine_schema, routine_name FROM information_schema.routines
WHERE LOWER(routine_definition) LIKE '%get\_lock%'
UNION SELECT trigger_schema, trigger_name FROM information_schema.triggers
WHERE LOWER(action_statement) LIKE '%get\_lock%'
UNION SELECT table_schema, table_name FROM information_schema.views
WHERE LOWER(view_definition) LIKE '%get\_lock%'
"""
_OF_THE_SERVER = {"information_schema", "mysql", "performance_schema", "sys"}


def query_named_locks(settings: Settings) -> list[str]:
    """Return the functions, procedures, triggers and views that have ``GET_LOCK``, as
    far as the account may read them.

    :raise pymysql.Error: the server cannot be reached or refuses us.
    """
    with session_of(settings) as session, session.cursor(Cursor) as cursor:
        cursor.execute(_QUERY)
        found = [row for row in cursor.fetchall() if row[0] not in _OF_THE_SERVER]
    return sorted(f"{schema}.{name}" for schema, name in found)


def judge_named_locks(
    bind: str, settings: Settings, query: Callable[[Settings], list[str]]
) -> Finding:
    try:
        found = query(settings)
    except Exception as error:
        text = f"could not look for what takes named locks: {printable(error)}"
        change = 'if routines take them, set MYSQLPOOL_RESET to "session"'
        return Finding([bind], "named locks", "warning", text, change)
    if not found:
        text = "no routine, trigger or view takes any, as far as they can be read"
        return Finding([bind], "named locks", "ok", text)
    named = ", ".join(map(printable, found[:MAX_NAMED]))
    if more := len(found[MAX_NAMED:]):
        named += f" and {more} more"
    text = f"{named} may take named locks, which outlive a return"
    change = 'set MYSQLPOOL_RESET to "session", or release them where they are taken'
    return Finding([bind], "named locks", "warning", text, change)
