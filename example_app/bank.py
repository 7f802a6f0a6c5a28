"""The accounts and transfers of the bank: all of its SQL except the schema."""

from decimal import Decimal
from typing import Any

from flask_mysqlpool import get_db
from flask_mysqlpool import transaction

from . import money

Row = dict[str, Any]

NOTE_LENGTH = 80

ENTRIES = """
    SELECT ledger.id, made_at, amount, note, sender, receiver,
        sending.owner AS sender_name, receiving.owner AS receiver_name
    FROM ledger
    LEFT JOIN account AS sending ON sending.id = sender
    LEFT JOIN account AS receiving ON receiving.id = receiver
"""


class Refused(Exception):
    """A transfer that the bank refuses: the reason, and the field with the mistake."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def accounts() -> list[Row]:
    """Return all accounts."""
    with get_db().cursor() as cursor:
        cursor.execute("SELECT id, owner, balance FROM account ORDER BY owner")
        return list(cursor.fetchall())


def account(number: int) -> Row | None:
    """Return one account, or None if there is no such account."""
    with get_db().cursor() as cursor:
        cursor.execute(
            "SELECT id, owner, balance FROM account WHERE id = %s", (number,)
        )
        row: Row | None = cursor.fetchone()
        return row


def totals() -> Row:
    """Return the sum of all balances and that of all deposits. They are equal."""
    with get_db().cursor() as cursor:
        cursor.execute("""
            SELECT
                (SELECT COALESCE(SUM(balance), 0) FROM account) AS balances,
                (SELECT COALESCE(SUM(amount), 0) FROM ledger WHERE sender IS NULL)
                    AS deposits
        """)
        row: Row = cursor.fetchone()
        return row


def entry(number: int) -> Row | None:
    """Return one entry of the ledger, or None if there is no such entry."""
    with get_db().cursor() as cursor:
        cursor.execute(ENTRIES + "WHERE ledger.id = %s", (number,))
        row: Row | None = cursor.fetchone()
        return row


def ledger(limit: int = 50) -> list[Row]:
    """Return the last entries of the ledger, newest first."""
    with get_db().cursor() as cursor:
        cursor.execute(ENTRIES + "ORDER BY ledger.id DESC LIMIT %s", (limit,))
        return list(cursor.fetchall())


def statement(number: int, limit: int = 50) -> list[Row]:
    """Return the last entries of one account, newest first.

    Outgoing amounts are negative; each entry has the balance after it.
    """
    with get_db().cursor() as cursor:
        cursor.execute(
            """
            SELECT entry.*, account.owner AS other_name
            FROM (
                SELECT id, made_at, note,
                    IF(receiver = %(number)s, sender, receiver) AS other,
                    IF(receiver = %(number)s, amount, -amount) AS amount,
                    SUM(IF(receiver = %(number)s, amount, -amount))
                        OVER (ORDER BY id) AS balance
                FROM ledger
                WHERE sender = %(number)s OR receiver = %(number)s
                ORDER BY id DESC
                LIMIT %(limit)s
            ) AS entry
            LEFT JOIN account ON account.id = entry.other
            ORDER BY entry.id DESC
            """,
            {"number": number, "limit": limit},
        )
        return list(cursor.fetchall())


def transfer(sender: int, receiver: int, amount: Decimal, note: str = "") -> int:
    """Move money from one account to another; return the number of the entry.

    :raises Refused: an account is unknown, or the sender has too little.
    """
    with transaction() as db, db.cursor() as cursor:
        # Lock the accounts in the order of their numbers: two transfers in opposite
        # directions then wait for each other and do not deadlock.
        cursor.execute(
            "SELECT id, owner, balance FROM account WHERE id IN (%s, %s)"
            " ORDER BY id FOR UPDATE",
            (sender, receiver),
        )
        found = {row["id"]: row for row in cursor.fetchall()}
        if sender not in found:
            raise Refused("sender", f"There is no account {sender}.")
        if receiver not in found:
            raise Refused("receiver", f"There is no account {receiver}.")
        owner, balance = found[sender]["owner"], found[sender]["balance"]
        if balance < amount:
            raise Refused("amount", f"{owner} has only {money.display(balance)}.")
        cursor.execute(
            "UPDATE account SET balance = balance - %s WHERE id = %s", (amount, sender)
        )
        cursor.execute(
            "UPDATE account SET balance = balance + %s WHERE id = %s",
            (amount, receiver),
        )
        cursor.execute(
            "INSERT INTO ledger (sender, receiver, amount, note)"
            " VALUES (%s, %s, %s, %s)",
            (sender, receiver, amount, note),
        )
        return int(cursor.lastrowid)


def sleep(seconds: float) -> None:
    """Keep the connection busy in the database for a while."""
    with get_db().cursor() as cursor:
        cursor.execute("SELECT SLEEP(%s)", (seconds,))
