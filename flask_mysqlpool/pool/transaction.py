"""The ``transaction()`` blocks of one checkout.

Rule: COMMIT is sent only for the transaction that the outermost block began. A block
learns from the session that its transaction has ended before it did.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from pymysql import err
from pymysql.constants import ER

from ..driver.session import Session
from ..driver.statements import commits_first
from ..driver.statements import kind_of
from ..driver.statements import READ
from ..driver.statements import values_are_data
from ..driver.wire import refused_by_server
from .on_commit import CommitHooks

Exchange = Callable[..., t.Any]  # PooledConnection's way to call a session's method
Characteristics = tuple[str, str]  # isolation level and access mode, empty: as usual
IsolationLevel = t.Literal[
    "READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"
]

GUARD = "flask_mysqlpool_guard"
RELEASE_GUARD = f"RELEASE SAVEPOINT {GUARD}"
# With these the server may have rolled the whole transaction back (MySQL manual, InnoDB
# Error Handling).
DEADLOCKS = {ER.LOCK_DEADLOCK, ER.CHECKREAD}  # it has
ROLLED_BACK = DEADLOCKS | {ER.LOCK_WAIT_TIMEOUT}


class Transaction:
    """The open blocks of a checkout: one transaction, and savepoints within it.

    The status flags tell that a transaction is open, not which one: a procedure may end
    it and begin another. So a savepoint is set before each statement that may run such
    a procedure; it is gone afterwards if its transaction is. That is asked before the
    next statement that is more than a query, or at the end of the block.

    :param exchange: calls a method of the session that talks to the server.
    """

    __slots__ = (
        "_ended_before",
        "_exchange",
        "_guarded",
        "_may_be_committed",
        "_reported",
        "aborted_by",
        "depth",
        "ended",
        "error",
        "hooks",
    )

    def __init__(self, exchange: Exchange) -> None:
        self.depth = 0
        #: An error within a block: whether the transaction still exists is not known.
        self.error: BaseException | None = None
        #: What is called after the commit.
        self.hooks = CommitHooks()
        #: The error that ended the transaction.
        self.aborted_by: BaseException | None = None
        #: A statement had ended it before the block was rolled back.
        self.ended = False
        self._exchange = exchange
        self._ended_before = 0
        self._guarded = False  # the savepoint was set, and not asked for since
        self._reported = False  # the block has raised aborted_by
        self._may_be_committed = False  # by the statement that raised the error

    def begin(self, session: Session, characteristics: Characteristics) -> None:
        """Begin a block.

        :raise pymysql.err.ProgrammingError: the block would commit earlier changes, or
            has characteristics within another block.
        """
        depth = self.depth
        if depth and any(characteristics):
            raise err.ProgrammingError(
                "isolation_level and read_only are for the outermost block only"
            )
        if depth:
            self._prove_guard()
            self._exchange(Session.query, f"SAVEPOINT {_savepoint(depth)}")
        elif session.uncommitted:
            raise err.ProgrammingError(
                "transaction() would commit what was changed before it, or may have"
                " been (by CALL, or by a stored function in a SELECT): commit() or"
                " rollback() first"
            )
        else:
            self.error = self.aborted_by = None
            self._guarded = self._reported = self.ended = False
            self._ended_before = self._exchange(_begin, characteristics)
        self.hooks.begin(depth)
        self.depth = depth + 1

    def end(self, depth: int) -> None:
        """End a block well.

        :param depth: how many there were when it began.
        """
        if self.depth != depth + 1:
            raise out_of_order()
        self._prove_guard()
        if depth:
            self._prove(f"RELEASE SAVEPOINT {_savepoint(depth)}")
        else:
            try:
                self._exchange(Session.commit)
            except err.Error as error:
                # If the transaction has ended, the COMMIT has rolled it back.
                self.aborted_by = self.aborted_by or error
                raise
        self.depth = depth

    def roll_back(self, session: Session, depth: int) -> bool:
        """Undo a block; return whether that went well. Where it did not, nothing but
        the end of the connection makes the server roll back.
        """
        ordered, self.depth = self.depth == depth + 1, min(self.depth, depth)
        if not ordered:
            return False
        self.hooks.drop(depth)
        reported = self._reported
        try:
            if depth:
                self._prove(f"ROLLBACK TO SAVEPOINT {_savepoint(depth)}")
                self._guarded = False  # set after the block's own, and gone with it
                return True
            self._look_back(session)
            self.ended = isinstance(self.aborted_by, TransactionEnded)
            self.error = self.aborted_by = None
            self._exchange(Session.rollback)
        except err.Error:  # such as another thread's exchange
            # Where the transaction was ended, the outermost block has still to end.
            self._reported = reported  # the block's own error goes on
            return self.aborted_by is not None
        return True

    def tell(self, error: BaseException) -> None:
        """Tell of the end of a transaction of which its block did not hear.

        :param error: that ended the block, which has been rolled back.
        :raise pymysql.err.ProgrammingError: a statement had ended the transaction: what
            came before cannot be undone.
        """
        if self.ended and not self._reported and isinstance(error, Exception):
            raise TransactionEnded from error

    def note_error(self, session: Session, error: BaseException) -> None:
        """Take note of a statement that the server refused within a block. DDL commits
        before it fails.
        """
        self.error = error
        sql = session.last_statement
        text = sql if isinstance(sql, str) else str(sql, "latin-1")
        if values_are_data(text) and not session.runs_unseen(text):
            # If a savepoint was set, then for a procedure that nobody asked about yet.
            self._may_be_committed = self._guarded
        else:
            deadlock = _code(error) in DEADLOCKS
            self._may_be_committed = not deadlock or commits_first(text)

    def check(self, session: Session, sql: str | bytes) -> None:
        """Make sure that the transaction still exists, before something is sent.

        :param sql: the statement, empty for another command.
        :raise pymysql.err.OperationalError: the server has ended it.
        :raise pymysql.err.ProgrammingError: a statement of the block has.
        """
        if not self.depth:
            return
        if self.aborted_by is None:
            rendered = session.rendered  # the statement's, not that of ours
            try:
                self._ask(session, sql)
                session.rendered = rendered
            except err.Error as error:
                session.note_error(error)
                self.note_error(session, error)
                raise
        if self.aborted_by is not None:
            self._raise_aborted()
        self.error = None

    def _ask(self, session: Session, sql: str | bytes) -> None:
        """Find out whether the transaction still exists, with what that takes."""
        unseen = bool(sql) and session.runs_unseen(sql)  # first, for it may be no text
        if session.in_exchange:
            session.finish_answer()  # its flags may show the end
        self._look_for_end(session)
        if self.aborted_by is None and self.error is not None:
            session.ping()  # its OK packet has the status flags
            self._look_for_end(session)
        if self.aborted_by is None and sql:
            if self._guarded and (unseen or not _only_reads(sql)):
                self._use_savepoint(session, RELEASE_GUARD)
            if unseen and self.aborted_by is None:
                session.query(f"SAVEPOINT {GUARD}")
                self._guarded = True

    def _look_back(self, session: Session) -> None:
        """Find out whether the transaction existed to the end of a block that failed,
        which is then to be rolled back.
        """
        if self.aborted_by is not None or self._rolled_back:
            return
        if session.in_exchange:
            self._exchange(Session.finish_answer)
        if self._guarded:
            self._exchange(self._use_savepoint, RELEASE_GUARD)
        elif self.error is not None and self._may_be_committed:
            self._exchange(Session.ping)
        if self.aborted_by is None:
            self._look_for_end(session)

    @property
    def _rolled_back(self) -> bool:
        """Whether the server has rolled the transaction back with the error, or may
        have, and no statement has committed it.
        """
        return _code(self.error) in ROLLED_BACK and not self._may_be_committed

    def _look_for_end(self, session: Session) -> None:
        if session.state.ended_transactions != self._ended_before:
            self._note_end()

    def _note_end(self) -> None:
        if self._rolled_back:
            self.aborted_by = self.error
        else:
            self.aborted_by = TransactionEnded()
            self.aborted_by.__cause__ = self.error

    def _prove_guard(self) -> None:
        if self._guarded:
            self._prove(RELEASE_GUARD)

    def _prove(self, sql: str) -> None:
        """Execute a statement for a savepoint of ours; raise where that is gone."""
        self._exchange(self._use_savepoint, sql)
        if self.aborted_by is not None:
            self._raise_aborted()

    def _use_savepoint(self, session: Session, sql: str) -> None:
        """Execute a statement for a savepoint of ours. Where that is gone, so is the
        transaction in which it was set.
        """
        self._guarded = self._guarded and sql != RELEASE_GUARD
        try:
            session.query(sql)
        except err.OperationalError as error:
            if error.args[0] != ER.SP_DOES_NOT_EXIST:
                raise
            session.note_error(error)
            self._note_end()

    def _raise_aborted(self) -> t.NoReturn:
        self._reported = True
        cause = t.cast(BaseException, self.aborted_by)
        if not refused_by_server(cause):
            raise cause  # one of ours
        code, text = cause.args[0], cause.args[-1]
        raise err.OperationalError(
            code,
            f"the server has ended the whole transaction ({text}); nothing more can be"
            " done within it",
        ) from cause


def characteristics_of(
    isolation_level: IsolationLevel | None, read_only: bool | None
) -> Characteristics:
    """Return the characteristics of a transaction.

    :raise ValueError: there is no such isolation level.
    :raise TypeError: ``read_only`` is neither a bool nor ``None``.
    """
    if isolation_level not in (None, *t.get_args(IsolationLevel)):
        known = ", ".join(map(repr, t.get_args(IsolationLevel)))
        raise ValueError(
            f"isolation_level must be one of {known}, not {isolation_level!r}"
        )
    if read_only not in (None, True, False):
        raise TypeError(f"read_only must be True, False or None, not {read_only!r}")
    access = {None: "", True: "READ ONLY", False: "READ WRITE"}[read_only]
    return isolation_level or "", access


class TransactionEnded(err.ProgrammingError):
    """The transaction of a block was ended by one of its statements."""

    def __init__(self) -> None:
        super().__init__(
            "the transaction was ended within its block, by a statement or a procedure"
            " that commits or rolls back (DDL does, also where it fails); what the"
            " block did is not all or nothing"
        )


def out_of_order() -> err.ProgrammingError:
    """Return why nothing more can be done within either of two blocks."""
    return err.ProgrammingError(
        "a transaction block ended before another that began within it"
    )


def _code(error: BaseException | None) -> object:
    return error.args[0] if isinstance(error, err.MySQLError) and error.args else None


def _begin(session: Session, characteristics: Characteristics) -> int:
    """Begin a transaction; return how many have ended before it, its own number."""
    level, access = characteristics
    statements = []
    if level:
        if session.in_transaction:  # which has read only, but stands against the next
            statements.append("ROLLBACK")
        statements.append(f"SET TRANSACTION ISOLATION LEVEL {level}")
    if statements or access:
        statements.append(f"START TRANSACTION {access}".rstrip())
    session.begin(*statements)
    return session.state.ended_transactions


def _only_reads(sql: str | bytes) -> bool:
    """Return whether a statement only reads and is in nobody's way, or asks for what a
    statement of ours would change.
    """
    if not isinstance(sql, str):
        return False
    capitals = sql.upper()
    asks = "ROW_COUNT" in capitals or "DIAGNOSTICS" in capitals
    locks = "FOR UPDATE" in capitals or "SHARE" in capitals
    return asks or (kind_of(sql) is READ and not locks)


def _savepoint(depth: int) -> str:
    return f"flask_mysqlpool_{depth}"
