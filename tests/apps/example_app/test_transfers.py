"""The transfers of the example bank: all or nothing, and no balance below zero."""

import re
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier

import pymysql
import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_mysqlpool import transaction

from ...support.bank import execute
from ...support.bank import FORM
from ...support.bank import OpenBank
from ...support.bank import send
from ...support.bank import state

TOTAL = Decimal("20000.00")


def test_transfer_moves_money_and_is_in_the_ledger(bank: Flask) -> None:
    before, _ = state(bank)
    response = send(bank)
    after, ledger = state(bank)
    assert response.status_code == 303
    amount = Decimal("12.50")
    assert after == before | {1: before[1] - amount, 2: before[2] + amount}
    assert sum(after.values()) == TOTAL
    entry = {key: ledger[-1][key] for key in FORM}
    assert entry == {"sender": 1, "receiver": 2, "amount": amount, "note": FORM["note"]}


def test_transfer_leads_to_a_page_that_confirms_it_and_can_be_reloaded(
    bank: Flask,
) -> None:
    response = send(bank)
    _, ledger = state(bank)
    for _ in range(2):
        page = bank.test_client().get(response.location).text
        assert re.search(r'role="status"[^>]*>\s*<strong>€12.50</strong> went', page)
        assert page.count("Lemonade 🍋") == 1
        assert 'class="new"' in page
    assert state(bank)[1] == ledger


@pytest.mark.parametrize("number", ["999", "x", "", "-1", "9" * 30])
def test_nothing_is_confirmed_that_was_not_done(
    client: FlaskClient, number: str
) -> None:
    response = client.get("/", query_string={"done": number})
    assert response.status_code == 200
    assert 'role="status"' not in response.text


def test_all_of_a_balance_can_be_sent(bank: Flask) -> None:
    response = send(bank, amount="4080,00")
    assert response.status_code == 303
    assert state(bank)[0][1] == 0


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("amount", "", "Write an amount such as 12.50."),
        ("amount", "abc", "Write an amount such as 12.50."),
        ("amount", "1e3", "Write an amount such as 12.50."),
        ("amount", "NaN", "Write an amount such as 12.50."),
        ("amount", "1,000.00", "Write an amount such as 12.50."),
        ("amount", "0", "The amount must be more than zero."),
        ("amount", "0.00", "The amount must be more than zero."),
        ("amount", "-5", "The amount must be more than zero."),
        ("amount", "-0.01", "The amount must be more than zero."),
        ("amount", "12.345", "Write at most two digits after the point"),
        ("amount", "1,000", "Write at most two digits after the point"),
        ("amount", "9" * 5000, "That is more than this bank can count."),
        ("amount", "10000000000", "That is more than this bank can count."),
        ("amount", "9999999999.99", "Ada Brook has only €4,080.00."),
        ("amount", "4080.01", "Ada Brook has only €4,080.00."),
        ("sender", "", "Choose an account."),
        ("sender", "Ada", "Choose an account."),
        ("sender", "99", "There is no account 99."),
        ("sender", "-1", "There is no account -1."),
        ("receiver", "", "Choose an account."),
        ("receiver", "99", "There is no account 99."),
        ("receiver", "9" * 30, f"There is no account {'9' * 30}."),
        ("receiver", "1", "Choose an account other than the sender&#39;s."),
        ("note", "x" * 81, "Write at most 80 characters."),
    ],
)
def test_refused_transfer_says_why_and_changes_nothing(
    bank: Flask, field: str, value: str, message: str
) -> None:
    before = state(bank)
    response = send(bank, **{field: value})
    assert response.status_code == 422
    assert state(bank) == before
    assert re.search(
        rf'id="{field}"[^>]*aria-invalid="true" aria-describedby="{field}-fault"',
        response.text,
    )
    fault = re.search(rf'id="{field}-fault" role="alert">([^<]*)<', response.text)
    assert fault is not None
    assert message in fault[1]


def test_refused_transfer_keeps_what_was_written(bank: Flask) -> None:
    page = send(bank, amount='"much"', note="<b>").text
    assert re.findall(r'value="(\d+)" selected', page) == ["1", "2"]
    assert 'value="&#34;much&#34;"' in page
    assert 'value="&lt;b&gt;"' in page


def test_empty_form_is_refused(bank: Flask) -> None:
    assert bank.test_client().post("/transfers").status_code == 422


def test_address_of_a_refused_transfer_opened_again_leads_home(
    client: FlaskClient,
) -> None:
    assert client.get("/transfers").location == "/"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "http://localhost"}, 303),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_forms_of_other_sites_are_refused(
    bank: Flask, headers: dict[str, str], status: int
) -> None:
    before = state(bank)
    response = bank.test_client().post("/transfers", data=FORM, headers=headers)
    assert response.status_code == status
    assert (state(bank) == before) == (status == 403)


def test_opposite_transfers_at_once_all_succeed_and_keep_the_sum(bank: Flask) -> None:
    threads, rounds = 8, 10
    start = Barrier(threads, timeout=30)

    def send_often(number: int) -> list[int]:
        sender, receiver = "12" if number % 2 else "21"
        start.wait()
        return [
            send(bank, sender=sender, receiver=receiver).status_code
            for _ in range(rounds)
        ]

    before, ledger = state(bank)
    with ThreadPoolExecutor(threads) as executor:
        answers = list(executor.map(send_often, range(threads), timeout=60))
    after, longer_ledger = state(bank)
    assert answers == [[303] * rounds] * threads
    assert after == before
    assert len(longer_ledger) == len(ledger) + threads * rounds


def test_concurrent_overdraws_never_go_below_zero(bank: Flask) -> None:
    with ThreadPoolExecutor(8) as executor:
        answers = executor.map(
            lambda _: send(bank, sender="4", amount="100").status_code,
            range(12),
            timeout=60,
        )
        assert sorted(answers) == [303] * 6 + [422] * 6
    balances, _ = state(bank)
    assert balances[4] == Decimal("21.85")
    assert sum(balances.values()) == TOTAL


def test_transfer_that_waits_too_long_for_a_lock_says_so(
    bank: Flask, open_bank: OpenBank
) -> None:
    impatient = open_bank(SETSESSION=("SET innodb_lock_wait_timeout = 1",))
    before = state(bank)
    with bank.app_context(), transaction() as db, db.cursor() as cursor:
        cursor.execute("SELECT id FROM account WHERE id = 2 FOR UPDATE")
        response = send(impatient)
    assert response.status_code == 409
    assert 'role="alert">These accounts are busy.' in response.text
    assert re.findall(r'value="(\d+)" selected', response.text) == ["1", "2"]
    assert state(bank) == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE account SET balance = -0.01 WHERE id = 1",
        "INSERT INTO ledger (sender, receiver, amount) VALUES (1, 2, 0)",
        "INSERT INTO ledger (sender, receiver, amount) VALUES (1, 1, 5)",
        "INSERT INTO ledger (sender, receiver, amount) VALUES (1, 99, 5)",
        "DELETE FROM account WHERE id = 1",
    ],
)
def test_schema_refuses_what_no_bank_may_hold(bank: Flask, statement: str) -> None:
    with pytest.raises(pymysql.MySQLError):
        execute(bank, statement)


def test_transfer_that_gets_no_connection_changes_nothing(
    bank: Flask, open_bank: OpenBank
) -> None:
    full = open_bank(MAX_SIZE=1, TIMEOUT=0.05)
    before = state(bank)
    with full.extensions["mysqlpool"]["default"].connection(timeout=10):
        response = send(full)
    assert response.status_code == 503
    assert state(bank) == before
