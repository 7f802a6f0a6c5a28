"""Why a test of another suite comes out otherwise with a pool of ours.

By suite: a pattern for ``test: message``, and the reason. The first one that matches
counts.
"""

from __future__ import annotations

Reasons = tuple[tuple[str, str], ...]

REASONS: dict[str, Reasons] = {
    "PyMySQL": (
        (
            r"DEFER_CONNECT|test_ssl_required_error",
            "No connection is made later: the pool connects, and defer_connect is no"
            " setting",
        ),
        (
            r"no attribute '_(sock|auth_plugin_name)'",
            "A private attribute of PyMySQL's connection",
        ),
        (
            r"test_read_default_group: .*needs MYSQLPOOL_READ_DEFAULT_FILE",
            "A group without its file is refused: no option file is read unasked",
        ),
        (
            r"test_issue_114: .*went back to the pool|has no connect: ",
            "A connection that was closed went back; it does not connect again",
        ),
        (
            r"test_close: .*not raised by close",
            "A second close() does nothing",
        ),
        (
            r"test_execution_time_limit: .*DID NOT WARN",
            "The rows that a stream left unread are read without a warning",
        ),
    ),
    "DBUtils": (
        (
            r"_shared_cache|_maxshared|shared_in_transaction|above_maxshared",
            "A connection has one holder: none is shared",
        ),
        (
            r"'_(con|usage|shared_con|maxusage)'|SteadyDBConnection|no_failover",
            "A private attribute of DBUtils' connections",
        ),
        (
            r"_(maxusage|setsession|isfatal)\b",
            "A private attribute of DBUtils' pool; here: pool.settings",
        ),
        (
            r"_idle_cache|[0-9]>\._connections",
            "A connection that was dropped without close() is closed, not reused; it"
            " counts until somebody asks for one or for stats()",
        ),
        (
            r"_maxconnections",
            "There is always a limit",
        ),
        (
            r"creator|test_no_threadsafety",
            "The creator is always PyMySQL",
        ),
        (
            r"has no dbapi_connection",
            "Refused in words: what DBUtils adds to a connection of PyMySQL's",
        ),
    ),
    "SQLAlchemy": (
        (
            r"NullPool|_ConnectionRecord|special_reset_method|call\(\)|PrePing",
            "Without SQLAlchemy's own pool, as in the docs, nothing is kept, pinged"
            " or counted there",
        ),
        (
            r"(restart_on_execute|autocommits)\w*: .*went back to the pool",
            "cursor() of a connection that was closed raises, not only its execute()",
        ),
    ),
}
