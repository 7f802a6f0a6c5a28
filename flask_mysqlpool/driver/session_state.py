"""What the server's answers tell of a session: its transaction, and what a reset would
have to undo.

Rule: what is not known to be clean is not clean.
"""

from __future__ import annotations

from pymysql.constants import SERVER_STATUS

# MySQL client/server protocol, Status Flags.
IN_TRANS = SERVER_STATUS.SERVER_STATUS_IN_TRANS
AUTOCOMMIT = SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT
NO_BACKSLASH_ESCAPES = SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES
IN_TRANS_READONLY = 0x2000
SESSION_STATE_CHANGED = 0x4000


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
        #: A statement of the open transaction changed data.
        self.uncommitted = False
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
            self.uncommitted = False
            if previous & IN_TRANS:
                self.ended_transactions += 1
        self.unknown = False
        if warnings or status & SESSION_STATE_CHANGED:
            self.changed = True  # SHOW WARNINGS has something to tell

    def note_error(self) -> None:
        """Take note of an ERR packet."""
        self.unknown = self.changed = True

    def forget(self, changed: bool) -> None:
        """Forget what concerned the last holder, whose session is being reset.

        :param changed: whether the session counts as changed from its start.
        """
        self.unknown = self.unsettled = self.uncommitted = self.found_rows = False
        self.changed = changed
