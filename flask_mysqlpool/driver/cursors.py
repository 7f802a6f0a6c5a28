"""Cursors of any class for a pooled connection; they end with its checkout."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from functools import partial

from pymysql import err
from pymysql.cursors import Cursor
from pymysql.cursors import SSCursor

from ..errors import ConnectionBusyError
from .templates import are_plain
from .templates import kind_of_template
from .templates import ManyRows

# What makes texts of a template and parameters, as PyMySQL has it.
RENDERING = {
    name: getattr(Cursor, name)
    for name in ("execute", "mogrify", "_mogrify", "_do_execute_many")
}


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
        if self._result is not None and self._result.cut_short:
            raise ConnectionBusyError(
                "the rows left in this cursor are gone: another statement was sent on"
                " its connection; read them first, or check out a second connection"
                " with pool.connection()"
            )
        return self.connection.read_on(read)

    def close(self) -> None:
        """Read what is left of the rows, as PyMySQL does."""
        connection = self.connection
        if connection is not None and connection.open:
            result = self._result
            if result is not None and result is connection._result:
                connection.read_on(lambda raw: result.finish())
        super().close()

    def __del__(self) -> None:
        """Leave unread rows alone: to read them here would block whoever happens to
        collect garbage. The return discards the connection.
        """


class TemplateCursor(GuardedCursor):
    """The same for cursors that put parameters into a template as PyMySQL does: the
    session learns the template of the text that it will be given.
    """

    _many: ManyRows | None = None

    def _mogrify(self, query: t.Any, args: t.Any) -> str:
        """Put parameters into a template, as PyMySQL does but in fewer steps."""
        entry = None if self.connection is None else self.connection.entry
        many, form = self._many, type(args)
        if entry is None or type(query) is not str or form not in (tuple, list, dict):
            if many is not None:
                many.plain = False
            return super()._mogrify(query, args)  # type: ignore[misc,no-any-return]  # not in the stubs
        session = entry.session
        if form is dict:
            filled: t.Any = {key: session.escape(args[key]) for key in args}
            parameters = (args,) if "%s" in query else args.values()  # %s shows it all
        else:
            filled, parameters = tuple(map(session.escape, args)), args
        try:
            text: str = query % filled
        except TypeError as error:
            raise err.ProgrammingError(str(error)) from error
        if many is not None and query is many.values:
            many.plain = (
                many.plain and session.templates_decide and are_plain(parameters)
            )
        else:
            kind = session.templates_decide and kind_of_template(query, parameters)
            session.rendered = (text, query, kind or None)
        return text

    def _do_execute_many(
        self, prefix: str, values: str, postfix: str, *rest: t.Any
    ) -> int:
        """Send many rows in few texts, which PyMySQL gives to ``execute()``."""
        many = self._many = ManyRows(prefix, values, postfix)

        def execute(text: t.Any, args: t.Any = None) -> int:
            if type(text) is bytearray:
                self.connection.session.rendered = many.rendered(text)
            return type(self).execute(self, text, args)

        self.execute = execute  # type: ignore[assignment,method-assign]  # until all are sent
        try:
            return super()._do_execute_many(prefix, values, postfix, *rest)  # type: ignore[misc,no-any-return]  # not in the stubs
        finally:
            self._many = None
            del self.execute


if t.TYPE_CHECKING:

    class ConfiguredCursor(Cursor):
        """A cursor of the class that the settings name: its rows may be anything."""

        def fetchone(self) -> t.Any: ...
        def fetchmany(self, size: int | None = None) -> t.Any: ...
        def fetchall(self) -> t.Any: ...
        def __iter__(self) -> Iterator[t.Any]: ...

else:
    ConfiguredCursor = Cursor

GUARDED: dict[t.Any, type[Cursor]] = {}  # by the class that they are made of

WANTED = (
    "cursor() takes a subclass of pymysql.cursors.Cursor, or a function that is given"
    " the connection and returns a cursor"
)


def guarded(kind: Callable[[t.Any], t.Any]) -> Callable[[t.Any], t.Any]:
    """Return what makes the cursors of ``kind`` so that they end with the checkout.

    :raise TypeError: it is neither a class of PyMySQL's cursors nor a function.
    """
    if not isinstance(kind, type):
        if not callable(kind):
            raise TypeError(f"{WANTED}, not {kind!r}")
        return partial(_made_by, kind)
    if not issubclass(kind, Cursor):
        raise TypeError(f"{WANTED}, not {kind.__module__}.{kind.__qualname__}")
    front = GuardedSSCursor if issubclass(kind, SSCursor) else GuardedCursor
    renders = all(getattr(kind, name) is method for name, method in RENDERING.items())
    fronts = (TemplateCursor, front) if renders else (front,)
    usual = kind.close is Cursor.close and kind.nextset is Cursor.nextset
    members = {"_closes_as_usual": usual}
    made = t.cast("type[Cursor]", type(kind.__name__, (*fronts, kind), members))
    made.__module__, made.__qualname__ = kind.__module__, kind.__qualname__
    return GUARDED.setdefault(kind, made)


def _made_by(function: Callable[[t.Any], t.Any], connection: t.Any) -> t.Any:
    cursor = function(connection)
    if isinstance(cursor, Cursor) and not isinstance(cursor, GuardedCursor):
        cursor.__class__ = guarded(type(cursor))  # type: ignore[assignment]  # is a class
    return cursor
