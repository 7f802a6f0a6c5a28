"""What the server's answers tell of a session: its transaction, and what a reset would
have to undo.

Rule: what is not known to be clean is not clean.
"""

from __future__ import annotations

import typing as t

from pymysql.constants import ER
from pymysql.constants import SERVER_STATUS

from .statements import ends_block
from .statements import Kind
from .statements import OTHER
from .statements import TRANSACTION
from .statements import WRITE
from .unseen import calls_stored_function
from .unseen import changes_rows

# MySQL client/server protocol, Status Flags.
IN_TRANS = SERVER_STATUS.SERVER_STATUS_IN_TRANS
AUTOCOMMIT = SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT
NO_BACKSLASH_ESCAPES = SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES
IN_TRANS_READONLY = 0x2000
SESSION_STATE_CHANGED = 0x4000

# MySQL Error Message Reference.
ER_OPTION_PREVENTS_STATEMENT = 1290
ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION = 1792
ER_READ_ONLY_MODE = 1836


class SessionState:
    """The state of one session beyond the status flags of its last packet, which
    PyMySQL keeps as ``server_status``.
    """

    __slots__ = (
        "changed",
        "ended_transactions",
        "found_rows",
        "read_only",
        "uncommitted",
        "unknown",
        "unresettable",
        "unsettled",
        "writes_unseen",
    )

    def __init__(self) -> None:
        #: An ERR packet came since: it carries no flags.
        self.unknown = False
        #: Something was changed that a reset undoes.
        self.changed = False
        #: FOUND_ROWS() tells of a statement. COM_RESET_CONNECTION does not change it.
        self.found_rows = False
        #: Something was changed that no reset undoes.
        self.unresettable = False
        #: There were statements since the last COMMIT or ROLLBACK.
        self.unsettled = False
        #: A statement of the open transaction changed data, or may have.
        self.uncommitted = False
        #: The last statement may have changed data without its answer telling of it.
        self.writes_unseen = False
        #: The server refused a change because it takes none, as after a failover.
        self.read_only = False
        #: How many transactions have ended. A block compares: its own ended if this
        #: is another number than at its beginning.
        self.ended_transactions = 0

    def note_status(self, previous: int, status: int, warnings: int) -> None:
        """Take note of the status flags of an OK or EOF packet.

        :param previous: the flags before.
        """
        if not status & IN_TRANS:
            if (previous | status) & (IN_TRANS | AUTOCOMMIT):
                self.uncommitted = False
            if previous & IN_TRANS:
                self.ended_transactions += 1
        self.unknown = False
        if warnings or status & SESSION_STATE_CHANGED:
            self.changed = True  # SHOW WARNINGS has something to tell

    def note_statement(self, kind: Kind, text: str, status: int, result: t.Any) -> None:
        """Take note of a statement that was answered.

        :param status: the flags of its answer.
        """
        if (kind is TRANSACTION or kind is OTHER) and ends_block(text):
            self.ended_transactions += 1  # though another may have begun with it
            self.uncommitted = False
        if self.uncommitted or not may_be_open(status):
            return
        if status & IN_TRANS and (kind is WRITE or kind is OTHER):
            self.uncommitted = self.writes_unseen or changes_rows(text, result)
        self.uncommitted = self.uncommitted or calls_stored_function(
            text, not status & NO_BACKSLASH_ESCAPES
        )

    def note_further_result(self, status: int) -> None:
        """Take note of one more result of a statement, such as ``CALL``."""
        if self.writes_unseen and status & IN_TRANS:
            self.uncommitted = True

    def note_end(self) -> None:
        """Take note that a command has ended the transaction."""
        self.unsettled = self.uncommitted = self.writes_unseen = False

    def note_error(self, error: BaseException, status: int) -> None:
        """Take note of an ERR packet.

        :param status: the last flags before it.
        """
        code, text = error.args[0], str(error.args[-1])
        self.read_only |= self._is_read_only(code, text, status)
        self.unknown = self.changed = True
        # What ran before it stays, but for a deadlock: that ends the transaction.
        if self.writes_unseen and may_be_open(status) and code != ER.LOCK_DEADLOCK:
            self.uncommitted = True

    def _is_read_only(self, code: int, text: str, status: int) -> bool:
        """Return whether a refusal says that the server takes no changes, as a primary
        after a failover, rather than this session or another option.
        """
        if code == ER_OPTION_PREVENTS_STATEMENT:
            return "read-only" in text or "read_only" in text  # the option's name
        if code == ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION:
            return not (self.changed or status & IN_TRANS_READONLY)
        return code == ER_READ_ONLY_MODE

    def forget(self, changed: bool) -> None:
        """Forget what concerned the last holder, whose session is being reset.

        :param changed: whether the session counts as changed from its start.
        """
        self.note_end()
        self.unknown = self.found_rows = False
        self.changed = changed


def may_be_open(status: int) -> bool:
    """Return whether a transaction is open, or is where a function in a SELECT wrote:
    with autocommit off, the flags that come with its rows do not tell of it yet.

    :param status: the last flags.
    """
    return status & (IN_TRANS | AUTOCOMMIT) != AUTOCOMMIT
