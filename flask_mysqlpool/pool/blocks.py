"""The transactions of a borrower: what ``PooledConnection`` has for them."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager

from pymysql import err

from ..driver.session import Session
from ..driver.session_state import may_be_open
from .attributes import SessionAttributes
from .block import Block
from .entry import PoolEntry
from .on_commit import checked_hook
from .refusals import stale_error
from .retrying import Retrying
from .transaction import Characteristics
from .transaction import characteristics_of
from .transaction import IsolationLevel
from .transaction import out_of_order
from .transaction import Transaction

_Self = t.TypeVar("_Self", bound="TransactionBlocks")


class TransactionBlocks(SessionAttributes):
    """Transactions as blocks, what repeats them, and what follows their commit."""

    __slots__ = ()

    entry: PoolEntry | None
    exchange: Callable[..., t.Any]
    close_because: Callable[[Session, BaseException], None]
    _transaction: Transaction | None
    if t.TYPE_CHECKING:

        @property
        def session(self) -> Session: ...

    def transaction(
        self: _Self,
        *,
        isolation_level: IsolationLevel | None = None,
        read_only: bool | None = None,
    ) -> Block[_Self]:
        """Run a block as a transaction: committed at its end, rolled back on any
        exception. Within another such block it is a savepoint.

        As a decorator it takes functions of every kind; each call is a block.

        :param isolation_level: of this transaction alone.
        :param read_only: whether this transaction may not write.
        :raise pymysql.err.OperationalError: at the latest at the block's end, where
            the server has rolled the transaction back (a deadlock, say), even if the
            block swallowed that error.
        :raise pymysql.err.ProgrammingError: the connection has uncommitted changes
            when the outermost block begins, the block was ended from within, by a
            statement that commits, or an inner block has arguments.
        :raise OnCommitError: a function given to :meth:`on_commit` raised. The
            transaction was committed.
        :raise ValueError, TypeError: an argument is wrong.
        """
        wanted = characteristics_of(isolation_level, read_only)
        return Block(lambda: self._run_block(wanted))

    def transactional(
        self,
        tries: int = 3,
        *,
        isolation_level: IsolationLevel | None = None,
        read_only: bool | None = None,
    ) -> Retrying:
        """Return a decorator, as :func:`flask_mysqlpool.transactional`, for this
        connection.
        """
        return Retrying(lambda: self, tries, isolation_level, read_only)

    def on_commit(self, function: Callable[[], object]) -> None:
        """Have a function called once the outermost ``transaction()`` block is
        committed; never if this block is rolled back.

        :raise TypeError: it is no function, or an asynchronous or generator function.
        :raise pymysql.err.ProgrammingError: there is no such block, nor is autocommit
            on. With that, and within such a function, it is called at once.
        """
        checked_hook(function)
        hooks = None if self._transaction is None else self._transaction.hooks
        if hooks is not None and self.in_block:
            hooks.add(function)
        elif hooks is not None and hooks.running:
            function()
        elif may_be_open(self.session.server_status):
            raise err.ProgrammingError(
                "on_commit() wants a transaction() block: what commits otherwise is not"
                " known"
            )
        else:
            function()

    @property
    def in_block(self) -> bool:
        """Whether a ``transaction()`` block is open."""
        return self._transaction is not None and self._transaction.depth > 0

    @property
    def block_was_ended(self) -> bool:
        """Whether a statement ended the transaction of the last block before that."""
        return self._transaction is not None and self._transaction.ended

    @contextmanager
    def _run_block(self: _Self, wanted: Characteristics) -> Iterator[_Self]:
        session = self.session
        transaction = self._transaction
        if transaction is None:
            transaction = self._transaction = Transaction(self.exchange)
        depth = transaction.depth
        try:
            transaction.begin(session, wanted)
            yield self
            if self.entry is None:
                raise stale_error(None)
            transaction.end(depth)
        except BaseException as error:
            # An error here says no more than the one under way.
            if self.entry is not None:
                # Nothing is to be undone where the block did not begin, but after an
                # interrupt the server may have begun it.
                began = transaction.depth > depth
                ordered = transaction.depth <= depth + 1
                undone = not began and isinstance(error, err.Error)
                try:
                    undone = undone or transaction.roll_back(session, depth)
                finally:
                    if not undone:
                        reason = error if ordered else out_of_order()
                        self.close_because(session, reason)
                if began:
                    transaction.tell(error)
            raise
        if not depth:
            transaction.hooks.run()

    def check_outside_block(self, what: str) -> None:
        """Refuse what would end a block's transaction.

        :raise pymysql.err.ProgrammingError: a block is open.
        """
        if self.in_block:
            raise err.ProgrammingError(
                f"{what} within a transaction() block, which commits at its end and"
                " rolls back on an exception"
            )
