"""The ``transaction()`` blocks of one checkout.

Rule: COMMIT is sent only for the transaction that the outermost block began. A block
learns from the session that its transaction has ended before it did.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from pymysql import err

from ..driver.session import Session
from ..driver.wire import refused_by_server

Exchange = Callable[..., t.Any]  # PooledConnection's way to call a session's method


class Transaction:
    """The open blocks of a checkout: one transaction, and savepoints within it.

    :param exchange: calls a method of the session that talks to the server.
    """

    __slots__ = ("_ended_before", "_exchange", "aborted_by", "depth", "error")

    def __init__(self, exchange: Exchange) -> None:
        self.depth = 0
        #: An error within a block: whether the transaction still exists is not known.
        self.error: BaseException | None = None
        #: The error that ended the transaction.
        self.aborted_by: BaseException | None = None
        self._exchange = exchange
        self._ended_before = 0

    def begin(self, session: Session) -> int:
        """Begin a block; return how many there were.

        :raise pymysql.err.ProgrammingError: the block would commit earlier changes.
        """
        depth = self.depth
        if depth:
            self._exchange(Session.query, f"SAVEPOINT {_savepoint(depth)}")
        elif session.state.uncommitted:
            raise err.ProgrammingError(
                "transaction() would commit changes that were made before it:"
                " commit() or rollback() them first"
            )
        else:
            self.error = self.aborted_by = None
            self._ended_before = self._exchange(_begin)
        self.depth = depth + 1
        return depth

    def end(self, depth: int) -> None:
        """End a block well.

        :param depth: what :meth:`begin` returned.
        """
        if self.depth != depth + 1:
            raise err.ProgrammingError(
                "a transaction block ended before another that began within it"
            )
        if depth:
            self._exchange(Session.query, f"RELEASE SAVEPOINT {_savepoint(depth)}")
        else:
            self._exchange(Session.commit)
        self.depth = depth

    def roll_back(self, depth: int) -> bool:
        """Undo a block; return whether that went well. Where it did not, nothing but
        the end of the connection makes the server roll back.
        """
        ordered, self.depth = self.depth == depth + 1, min(self.depth, depth)
        if not ordered:
            return False
        try:
            if depth:
                self._exchange(
                    Session.query, f"ROLLBACK TO SAVEPOINT {_savepoint(depth)}"
                )
            else:
                self.error = self.aborted_by = None
                self._exchange(Session.rollback)
        except err.Error:  # such as another thread's exchange
            # Where the transaction was ended, the outermost block has still to end.
            return self.aborted_by is not None
        return True

    def check(self, session: Session) -> None:
        """Make sure that the transaction still exists, before something is sent.

        :raise pymysql.err.OperationalError: the server has ended it.
        :raise pymysql.err.ProgrammingError: a statement of the block has.
        """
        if not self.depth:
            return
        if self.aborted_by is None:
            self._look_for_end(session)
            if self.aborted_by is None and self.error is not None:
                session.ping()  # its OK packet has the status flags
                self._look_for_end(session)
        if self.aborted_by is None:
            self.error = None
        elif refused_by_server(self.aborted_by):
            code, text = self.aborted_by.args[0], self.aborted_by.args[-1]
            raise err.OperationalError(
                code,
                f"the server has ended the whole transaction ({text}); nothing more"
                " can be done within it",
            ) from self.aborted_by
        else:
            raise self.aborted_by  # one of ours

    def _look_for_end(self, session: Session) -> None:
        if session.state.ended_transactions != self._ended_before:
            self.aborted_by = self.error or err.ProgrammingError(
                "the transaction was ended within its block, by a statement that"
                " commits or rolls back (DDL does); what the block did is not all or"
                " nothing"
            )


def _begin(session: Session) -> int:
    """Begin a transaction; return how many have ended before it, its own number."""
    session.begin()
    return session.state.ended_transactions


def _savepoint(depth: int) -> str:
    return f"flask_mysqlpool_{depth}"
