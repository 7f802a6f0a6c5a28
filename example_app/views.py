"""The pages of the bank."""

from collections.abc import Mapping
from decimal import Decimal
from time import perf_counter
from urllib.parse import urlsplit

from flask import abort
from flask import Blueprint
from flask import redirect
from flask import render_template
from flask import request
from flask import url_for
from flask.typing import ResponseReturnValue
from pymysql import MySQLError
from pymysql.constants import ER

from flask_mysqlpool import get_db

from . import bank
from . import money
from .bank import Refused

bp = Blueprint("bank", __name__)

MAX_SLEEP = 5.0

# Another transaction held a lock, and the server rolled this one back.
LOCKED = {ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT, ER.CHECKREAD}


@bp.before_request
def refuse_other_sites() -> None:
    """Accept forms from the bank's own pages only.

    Browsers send its site in ``Sec-Fetch-Site`` or, without https, in ``Origin``.
    Programs such as curl send neither, and have no cookies of a visitor.
    """
    if request.method != "POST":
        return
    if site := request.headers.get("Sec-Fetch-Site"):
        own = site in {"same-origin", "none"}
    else:
        own = request.origin is None or urlsplit(request.origin).netloc == request.host
    if not own:
        abort(403, "This form was sent from another site.")


@bp.get("/")
def index() -> str:
    """Show accounts, transfer form and ledger."""
    return front_page()


@bp.get("/transfers")
def transfers() -> ResponseReturnValue:
    """Redirect to the front page if a refused transfer is opened again."""
    return redirect(url_for(".index"))


@bp.post("/transfers")
def transfer() -> ResponseReturnValue:
    """Make a transfer, or show the form again with what is wrong."""
    try:
        entry = bank.transfer(*read_transfer(request.form))
    except Refused as refusal:
        return front_page(refusal), 422
    except MySQLError as error:
        if error.args[0] not in LOCKED:
            raise
        busy = "These accounts are busy. Nothing was sent: try again."
        return front_page(Refused("form", busy)), 409
    # After a redirect, reloading the page does not send the money again.
    return redirect(url_for(".index", done=entry), 303)


@bp.get("/accounts/<int:number>")
def account(number: int) -> str:
    """Show one account with its entries in the ledger."""
    found = bank.account(number)
    if found is None:
        abort(404, f"There is no account {number}.")
    return render_template(
        "account.html", account=found, entries=bank.statement(number)
    )


@bp.get("/slow")
def slow() -> str:
    """Sleep in the database, so that you can watch the pool meanwhile."""
    try:
        seconds = float(request.args.get("seconds", 1))
    except ValueError:
        seconds = -1
    # In this form it refuses "nan", too.
    if not 0 <= seconds <= MAX_SLEEP:
        abort(400, f"Give seconds as a number from 0 to {MAX_SLEEP:g}.")
    start = perf_counter()
    get_db()
    connected = perf_counter()
    bank.sleep(seconds)
    return render_template(
        "slow.html",
        seconds=seconds,
        longest=MAX_SLEEP,
        wait_seconds=connected - start,
        query_seconds=perf_counter() - connected,
    )


def front_page(refusal: Refused | None = None) -> str:
    """Render the front page, with the reason if a transfer was refused."""
    done = request.args.get("done", type=int)
    return render_template(
        "index.html",
        accounts=bank.accounts(),
        entries=bank.ledger(),
        totals=bank.totals(),
        done=None if done is None else bank.entry(done),
        refusal=refusal,
        values=request.values,
        note_length=bank.NOTE_LENGTH,
    )


def read_transfer(form: Mapping[str, str]) -> tuple[int, int, Decimal, str]:
    """Return sender, receiver, amount and note from the form.

    :raises Refused: the value of a field is not valid.
    """
    sender = read_account(form, "sender")
    receiver = read_account(form, "receiver")
    if sender == receiver:
        raise Refused("receiver", "Choose an account other than the sender's.")
    try:
        amount = money.parse(form.get("amount", ""))
    except ValueError as error:
        raise Refused("amount", str(error)) from None
    note = form.get("note", "").strip()
    if len(note) > bank.NOTE_LENGTH:
        raise Refused("note", f"Write at most {bank.NOTE_LENGTH} characters.")
    return sender, receiver, amount, note


def read_account(form: Mapping[str, str], field: str) -> int:
    """Return the account number in a field of the form."""
    try:
        return int(form.get(field, ""))
    except ValueError:
        raise Refused(field, "Choose an account.") from None
