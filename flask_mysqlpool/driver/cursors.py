"""Cursors of any class for a pooled connection; they end with its checkout."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

from pymysql import err
from pymysql.cursors import Cursor
from pymysql.cursors import SSCursor


class GuardedCursor(Cursor):
    """What each cursor of a pooled connection has in front of its own class: it ends
    with the checkout.
    """

    connection: t.Any
    _executed: t.Any
    _result: t.Any
    _closes_as_usual = False  # whether its own class leaves that to PyMySQL

    def _check_executed(self) -> None:
        connection = self.connection
        if connection is not None and connection.entry is None:
            raise connection.stale_error()
        if not self._executed:
            raise err.ProgrammingError("execute() first")

    def close(self) -> None:
        result = self._result
        if self._closes_as_usual and (result is None or not result.has_next):
            self.connection = None  # all that PyMySQL would come to
            return
        if self.connection is not None and not self.connection.open:
            self.connection = None  # nothing is left to be read
        super().close()


class GuardedSSCursor(GuardedCursor):
    """The same for unbuffered cursors, which talk to the server as they are read."""

    def read_next(self) -> t.Any:
        def read(session: t.Any) -> t.Any:
            session.touched = True
            return super(GuardedSSCursor, self).read_next()  # type: ignore[misc]  # of SSCursor

        if self.connection is None:
            raise err.ProgrammingError("cursor closed")
        return self.connection.exchange(read)

    def close(self) -> None:
        """Read what is left of the rows, as PyMySQL does."""
        connection = self.connection
        if connection is not None and connection.open:
            result = self._result
            if result is not None and result is connection._result:
                connection.exchange(lambda raw: result._finish_unbuffered_query())
        super().close()

    def __del__(self) -> None:
        """Leave unread rows alone: to read them here would block whoever happens to
        collect garbage. The return discards the connection.
        """


if t.TYPE_CHECKING:

    class ConfiguredCursor(Cursor):
        """A cursor of the class that the settings name: its rows may be anything."""

        def fetchone(self) -> t.Any: ...
        def fetchmany(self, size: int | None = None) -> t.Any: ...
        def fetchall(self) -> t.Any: ...
        def __iter__(self) -> Iterator[t.Any]: ...

else:
    ConfiguredCursor = Cursor

GUARDED: dict[type[Cursor], type[Cursor]] = {}


def guarded(kind: type[Cursor]) -> type[Cursor]:
    """Return the class of cursors that are ``kind`` and end with the checkout."""
    front = GuardedSSCursor if issubclass(kind, SSCursor) else GuardedCursor
    usual = kind.close is Cursor.close and kind.nextset is Cursor.nextset
    members = {"_closes_as_usual": usual}
    made = t.cast("type[Cursor]", type(kind.__name__, (front, kind), members))
    made.__module__, made.__qualname__ = kind.__module__, kind.__qualname__
    return GUARDED.setdefault(kind, made)
