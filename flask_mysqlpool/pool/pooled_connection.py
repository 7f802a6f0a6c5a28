"""What a borrower holds: a connection for one checkout, and its cursors.

The rule of this room: after the return, or in another process, or while another
thread is in an exchange, no byte reaches the server.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from os import getpid
from threading import get_ident
from types import MappingProxyType

from pymysql import err
from pymysql.cursors import Cursor

from ..driver.cursors import bind
from ..driver.cursors import BOUND
from ..driver.session import Connection
from ..errors import ConnectionBusyError
from ..errors import StaleConnectionError

_C = t.TypeVar("_C", bound=Cursor)
_P = t.ParamSpec("_P")
_R = t.TypeVar("_R")

# What PyMySQL's connection tells without talking to the server.
_READABLE = """
    affected_rows autocommit_mode bind_address character_set_name charset client_flag
    collation cursorclass db decoders encoders encoding get_autocommit get_host_info
    get_proto_info get_server_info host host_info insert_id literal max_allowed_packet
    port protocol_version server_capabilities server_charset server_language
    server_status server_thread_id server_version sql_mode ssl thread_id unix_socket
    use_unicode user Warning Error InterfaceError DatabaseError DataError
    OperationalError IntegrityError InternalError ProgrammingError NotSupportedError
""".split()


class Lender(t.Protocol):
    """Who takes a connection back; see :class:`~flask_mysqlpool.pool.pool.Pool`."""

    def give_back(self, lease: int) -> None: ...

    def lost(self, lease: int) -> None: ...


class PooledConnection:
    """A connection out of the pool, for one checkout.

    It has the interface of :class:`pymysql.connections.Connection`. It goes back to
    the pool with :meth:`close` or at the end of a ``with`` block; from then on it and
    its cursors raise :exc:`~flask_mysqlpool.StaleConnectionError`.
    """

    __slots__ = ("_lease", "_lender", "_raw", "__weakref__")

    def __init__(self, lender: Lender, raw: Connection) -> None:
        self._lender = lender
        self._lease = raw.lease
        self._raw: Connection | None = raw

    def __enter__(self) -> PooledConnection:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._raw is not None:  # close() itself would be one call more
            self._raw = None
            self._lender.give_back(self._lease)

    def __del__(self) -> None:
        if self._raw is not None:
            self._lender.lost(self._lease)

    if t.TYPE_CHECKING:  # see _READABLE

        def __getattr__(self, name: str) -> t.Any: ...

    def __repr__(self) -> str:
        state = "returned" if self._raw is None else f"lease {self._lease}"
        return f"<{type(self).__name__} {state}>"

    @property
    def open(self) -> bool:
        """Whether the connection is lent and its socket is open."""
        return self._raw is not None and self._raw.open

    @property
    def holder(self) -> str:
        """Who took the connection, in words."""
        return "" if self._raw is None else self._raw.holder

    @property
    def uncommitted(self) -> bool:
        """Whether the open transaction has changed data, as far as that is known."""
        return self._raw is not None and self._raw.uncommitted

    @property
    def returned(self) -> bool:
        """Whether the connection is this holder's no more: it went back to the pool,
        or is the parent process'.
        """
        return self._raw is None or self._raw.pid != getpid()

    @property
    def _result(self) -> t.Any:  # read by PyMySQL's cursors, for each statement
        raw = self._raw
        if raw is None:
            raise _stale(None)
        return raw._result

    @t.overload
    def cursor(self, cursor: type[_C]) -> _C: ...

    @t.overload
    def cursor(self, cursor: None = None) -> t.Any: ...

    def cursor(self, cursor: type[Cursor] | None = None) -> t.Any:
        """Create a cursor.

        :param cursor: its class; without it that of the settings.
        """
        kind = cursor or (self._raw or self._lent()).cursorclass
        return (BOUND.get(kind) or bind(kind))(t.cast(t.Any, self))

    def commit(self) -> None:
        """Commit the transaction.

        :raise pymysql.err.ProgrammingError: within ``transaction()``, which does it.
        """
        self._outside_block("commit()")
        self._exchange(Connection.commit)

    def rollback(self) -> None:
        """Roll the transaction back.

        :raise pymysql.err.ProgrammingError: within ``transaction()``, which does it.
        """
        self._outside_block("rollback()")
        self._exchange(Connection.rollback)

    def begin(self) -> None:
        """Begin a transaction.

        :raise pymysql.err.ProgrammingError: within ``transaction()``, which did it.
        """
        self._outside_block("begin()")
        self._exchange(Connection.begin)

    def close(self) -> None:
        """Return the connection to the pool; a second time does nothing.

        What was not committed is rolled back. Never raises.
        """
        if self._raw is not None:
            self._raw = None
            self._lender.give_back(self._lease)

    def ping(self, reconnect: bool = False) -> None:
        """Ask the server whether the connection lives.

        :param reconnect: without effect: a connection that was lost took its
            transaction along, and the next checkout gets a new one.
        """
        self._exchange(Connection.ping, False)

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:
        """Send a statement and read its result (used by cursors)."""
        raw = self._enter()  # from here on as in _exchange(), on the hot path
        try:
            count = raw.query(sql, unbuffered)
        except BaseException as error:
            raw.failed(error)
            raw.turn.release()
            raise
        raw.turn.release()
        return count

    def next_result(self, unbuffered: bool = False) -> int:
        return self._exchange(Connection.next_result, unbuffered)

    def select_db(self, db: str) -> None:
        self._exchange(Connection.select_db, db)

    def show_warnings(self) -> t.Any:
        return self._exchange(Connection.show_warnings)

    def set_character_set(self, charset: str, collation: str | None = None) -> None:
        self._exchange(Connection.set_character_set, charset, collation)

    def autocommit(self, value: bool) -> None:
        self._exchange(Connection.autocommit, value)

    def kill(self, thread_id: int) -> None:
        self._exchange(Connection.kill, thread_id)

    def escape(self, obj: object, mapping: t.Any = None) -> str:
        return self._lent().escape(obj, mapping)

    def escape_string(self, s: str) -> str:
        return self.escape(s)[1:-1]

    @contextmanager
    def transaction(self) -> Iterator[PooledConnection]:
        """Run the block as a transaction: committed at its end, rolled back on any
        exception. Within another such block it is a savepoint.

        :raise pymysql.err.OperationalError: at the latest at the block's end, where
            the server has rolled the transaction back (a deadlock, say), even if the
            block swallowed that error.
        :raise pymysql.err.ProgrammingError: the connection has uncommitted changes
            when the outermost block begins, or the block was ended from within, by a
            statement that commits.
        """
        depth = self._begin_block()
        try:
            yield self
        except BaseException as error:
            self._roll_back_block(depth, error)
            raise
        self._end_block(depth)

    def _begin_block(self) -> int:
        raw = self._lent()
        depth = raw.depth
        if depth:
            self._exchange(Connection.query, f"SAVEPOINT {_savepoint(depth)}")
        else:
            if raw.uncommitted:
                raise err.ProgrammingError(
                    "transaction() would commit changes that were made before it:"
                    " commit() or rollback() them first"
                )
            self._exchange(Connection.begin)
        raw.depth = depth + 1
        return depth

    def _end_block(self, depth: int) -> None:
        raw = self._lent()
        try:
            if raw.depth != depth + 1:
                raise err.ProgrammingError(
                    "a transaction block ended before another that began within it"
                )
            if depth:
                self._exchange(
                    Connection.query, f"RELEASE SAVEPOINT {_savepoint(depth)}"
                )
            else:
                self._exchange(Connection.commit)
        except BaseException as error:
            self._roll_back_block(depth, error)
            raise
        raw.depth = depth

    def _roll_back_block(self, depth: int, why: BaseException) -> None:
        """Undo the block. An error here says no more than the one under way; where
        nothing else helps, the server rolls back as the connection ends.
        """
        raw = self._raw
        if raw is None or raw.lease != self._lease:
            return
        ordered, raw.depth = raw.depth == depth + 1, min(raw.depth, depth)
        try:
            if not ordered:
                raw.give_up(why)
            elif depth:
                self._exchange(
                    Connection.query, f"ROLLBACK TO SAVEPOINT {_savepoint(depth)}"
                )
            else:
                if raw.open:
                    raw.trouble = raw.doomed = None
                self._exchange(Connection.rollback)
        except err.Error as error:  # such as another thread's exchange
            if raw.doomed is None:  # else the outermost block has still to end
                raw.give_up(error)

    def _exchange(
        self,
        call: Callable[t.Concatenate[Connection, _P], _R],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _R:
        """Call a method of the connection that talks to the server.

        The turn is given back only once the outcome is known: after a second
        interrupt, amid the first, the return finds it taken and closes the connection.
        """
        raw = self._enter()
        try:
            result = call(raw, *args, **kwargs)
        except BaseException as error:
            raw.failed(error)
            raw.turn.release()
            raise
        raw.turn.release()
        return result

    def _enter(self) -> Connection:
        """Begin an exchange: take the connection's turn, or raise."""
        raw = self._raw
        if raw is None or raw.pid != getpid():
            raise _stale(raw)
        if not raw.turn.acquire(False):
            raise _busy()
        if raw.lease != self._lease or raw.unread_by or raw.trouble is not None:
            self._look_again(raw)
        return raw

    def _look_again(self, raw: Connection) -> None:
        """Look what stands against an exchange, and give the turn back if it does."""
        try:
            if raw.lease != self._lease:  # returned by another thread just now
                raise _stale(None)
            if raw.unread_by != get_ident() and raw.in_exchange:
                raise _busy()
            if raw.trouble is not None:
                raw.check_transaction()
        except err.Error:  # anything else: see _exchange()
            raw.turn.release()
            raise

    def _lent(self) -> Connection:
        raw = self._raw
        if raw is None:
            raise _stale(None)
        return raw

    def _outside_block(self, what: str) -> None:
        if self._lent().depth:
            raise err.ProgrammingError(
                f"{what} within a transaction() block, which commits at its end and"
                " rolls back on an exception"
            )


def _readable(name: str) -> property:
    def read(self: PooledConnection) -> t.Any:
        value = getattr(self._lent(), name)
        return MappingProxyType(value) if isinstance(value, dict) else value

    return property(read)


# No __getattr__(): it would slow down the access to every other attribute.
for _name in _READABLE:
    setattr(PooledConnection, _name, _readable(_name))


def _savepoint(depth: int) -> str:
    return f"flask_mysqlpool_{depth}"


def _busy() -> ConnectionBusyError:
    return ConnectionBusyError(
        "another thread is using this connection: give each thread a connection of"
        " its own, with pool.connection()"
    )


def _stale(raw: Connection | None) -> StaleConnectionError:
    if raw is not None:
        return StaleConnectionError(
            f"this connection was opened in process {raw.pid} and cannot be used in"
            f" process {getpid()}: take one with get_db() after the fork"
        )
    return StaleConnectionError(
        "this connection went back to the pool: take another with get_db(), and keep"
        " neither it nor a cursor longer than the request or the with block (a streamed"
        " response wants stream_with_context())"
    )
