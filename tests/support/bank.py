"""What tests do with the example bank."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from flask_mysqlpool import get_db
from flask_mysqlpool import transaction

FORM = {"sender": "1", "receiver": "2", "amount": "12.50", "note": "Lemonade 🍋"}

OpenBank = Callable[..., Flask]


def init_db(app: Flask) -> str:
    result = app.test_cli_runner().invoke(args=["init-db"])
    assert result.exit_code == 0, result.output
    return result.output


def send(app: Flask, **fields: str) -> TestResponse:
    """Post the transfer form, with ``fields`` in place of a good transfer's."""
    return app.test_client().post("/transfers", data=FORM | fields)


def state(app: Flask) -> tuple[dict[int, Decimal], list[dict[str, Any]]]:
    """Return all balances and the whole ledger."""
    with app.app_context(), get_db().cursor() as cursor:
        cursor.execute("SELECT id, balance FROM account")
        balances = {row["id"]: row["balance"] for row in cursor.fetchall()}
        cursor.execute("SELECT * FROM ledger ORDER BY id")
        return balances, list(cursor.fetchall())


def execute(app: Flask, statement: str) -> None:
    with app.app_context(), transaction() as db, db.cursor() as cursor:
        cursor.execute(statement)
