"""What a session starts with, and is put back to: the commands that bring it there."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

from ..config.settings import Settings
from .session_state import NO_BACKSLASH_ESCAPES
from .wire import COM_INIT_DB
from .wire import COM_QUERY
from .wire import COM_RESET_CONNECTION
from .wire import Command
from .wire import WireConnection

ROLLBACK: Command = (COM_QUERY, b"ROLLBACK")
COMMIT: Command = (COM_QUERY, b"COMMIT")
CURRENT_ROLE: Command = (COM_QUERY, b"SELECT CURRENT_ROLE()")
FORGET_FOUND_ROWS: Command = (COM_QUERY, b"SELECT 1")


def first_commands(
    connection: WireConnection, settings: Settings, ask_role: bool
) -> list[Command]:
    """Return what a new session is sent after the login.

    :param ask_role: the reply to the last command is to have the session's role.
    """
    return [*_settings(connection, settings), *([CURRENT_ROLE] if ask_role else [])]


def reset_commands(
    connection: WireConnection, settings: Settings, role: str
) -> list[Command]:
    """Return what puts a session back to its start.

    COM_RESET_CONNECTION leaves the character set and autocommit at the server's
    defaults, and the role and the default database as they are.

    :param role: that of the start, as SET ROLE takes it.
    """
    commands = [(COM_RESET_CONNECTION, b""), *_settings(connection, settings)]
    commands.insert(2, _statement(connection, f"SET ROLE {role}"))
    if connection.db:  # PyMySQL has encoded it for the login
        commands.insert(3, (COM_INIT_DB, t.cast(bytes, connection.db)))
    return commands


def role_of(rows: t.Any, encoding: str) -> str:
    """Return the role in a row of SELECT CURRENT_ROLE(), as SET ROLE takes it."""
    ((role,),) = rows
    if isinstance(role, bytes):
        role = role.decode(encoding)
    if role is None or role == "NONE":  # of MariaDB, of MySQL
        return "NONE"
    # MySQL quotes them, there may be several; MariaDB does not.
    return role if role.startswith("`") else f"`{role.replace('`', '``')}`"


def _settings(connection: WireConnection, settings: Settings) -> tuple[Command, ...]:
    """Return the commands of the settings, which sessions of one pool share."""
    escapes = connection.server_status & NO_BACKSLASH_ESCAPES
    key = connection.charset, connection.collation, connection.tracked, escapes
    commands = connection.setups.get(key)
    if commands is None:
        commands = connection.setups[key] = (*_commands(connection, settings),)
    return commands


def _commands(connection: WireConnection, settings: Settings) -> Iterator[Command]:
    """Yield what PyMySQL sends when it connects, in its order but in fewer steps, and
    what is ours.
    """
    collate = f" COLLATE {connection.collation}" if connection.collation else ""
    first = [f"NAMES {connection.charset}{collate}"]
    if settings.sql_mode is not None:
        first.append(f"sql_mode = {connection.escape(settings.sql_mode)}")
    last = []
    if settings.autocommit is not None:
        last.append(f"autocommit = {settings.autocommit:d}")
    if connection.tracked:
        last.append("session_track_state_change = 1")
    if settings.init_command is None:
        yield _statement(connection, f"SET {', '.join(first + last)}")
    else:
        yield _statement(connection, f"SET {', '.join(first)}")
        yield _statement(connection, settings.init_command)
        if last:
            yield _statement(connection, f"SET {', '.join(last)}")
    for statement in settings.setsession:
        yield _statement(connection, statement)
    if settings.setsession or settings.init_command is not None:
        yield COMMIT  # they may have read a table


def _statement(connection: WireConnection, sql: str) -> Command:
    return COM_QUERY, sql.encode(connection.encoding)
