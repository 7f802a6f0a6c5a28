"""The example bank: its pages, its transfers, and its answers to what is wrong."""

import re
import socket
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from threading import Barrier
from typing import Any

import pymysql
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import example_app
from example_app import create_app
from example_app import money
from flask_mysqlpool import get_db
from flask_mysqlpool import transaction

FORM = {"sender": "1", "receiver": "2", "amount": "12.50", "note": "Lemonade 🍋"}
TOTAL = Decimal("20000.00")


OpenBank = Callable[..., Flask]


@pytest.fixture
def open_bank(mysql_url: str) -> Iterator[OpenBank]:
    """Make banks, without tables: ``open_bank(MAX_SIZE=2)``."""
    apps = []

    def make(url: str = mysql_url, **settings: Any) -> Flask:
        config = {f"MYSQLPOOL_{name}": value for name, value in settings.items()}
        app = create_app({"TESTING": True, "MYSQLPOOL_URL": url, **config})
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.extensions["mysqlpool"]["default"].close()


@pytest.fixture
def bank(open_bank: OpenBank) -> Flask:
    """A bank with its sample accounts; each request to it has a context of its own."""
    app = open_bank(MAX_SIZE=4)
    init_db(app)
    return app


@pytest.fixture
def app(bank: Flask) -> Flask:
    """The same bank under the name that pytest-flask looks for."""
    return bank


@pytest.fixture
def closed_bank(open_bank: OpenBank) -> Iterator[Flask]:
    """A bank whose database is down: its port is taken, and refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        yield open_bank(f"mysql://app@127.0.0.1:{port}/bank", TIMEOUT=0.2)


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


# Pages


def test_front_page_shows_accounts_ledger_and_sum(client: FlaskClient) -> None:
    page = client.get("/").text
    assert re.search(r"<h1[^>]*>€20,000.00</h1>", page)
    assert "✓ Exactly what was paid in: €20,000.00" in page
    for text in ("Ada Brook", "Wanda Lake", "Opening deposit", "Rope and paint"):
        assert text in page


def test_front_page_tells_when_the_sum_is_wrong(bank: Flask) -> None:
    execute(bank, "UPDATE account SET balance = balance + 0.01 WHERE id = 1")
    page = bank.test_client().get("/").text
    assert "✗ But €20,000.00 was paid in" in page
    assert "✓" not in page


def test_ledger_is_limited_to_the_last_entries(bank: Flask) -> None:
    execute(
        bank,
        "INSERT INTO ledger (receiver, amount, note)"
        f" VALUES {', '.join(f'(1, 1, {n})' for n in range(1000, 1060))}",
    )
    for address in ("/", "/accounts/1"):
        page = bank.test_client().get(address).text
        assert "the last 50 entries" in page
        assert re.findall(r'class="note">(\d+)<', page)[::49] == ["1059", "1010"]


def test_account_page_shows_its_own_ledger_with_balances(client: FlaskClient) -> None:
    page = client.get("/accounts/5").text
    rows = re.findall(r"[+−]€[\d,.]+|(?<=left\">)€[\d,.]+", page)
    assert rows == [
        *("+€64.95", "€4,914.95"),
        *("−€450.00", "€4,850.00"),
        *("+€5,300.00", "€5,300.00"),
    ]
    assert "Sail repair" not in page


def test_account_page_links_to_a_form_filled_in(client: FlaskClient) -> None:
    assert 'href="/?sender=5#transfer"' in client.get("/accounts/5").text
    page = client.get("/?sender=5").text
    assert re.findall(r'value="(\d+)" selected', page) == ["5"]


@pytest.mark.parametrize("address", ["/nope", "/accounts/99", f"/accounts/{'9' * 30}"])
def test_unknown_address_has_a_page(client: FlaskClient, address: str) -> None:
    response = client.get(address)
    assert response.status_code == 404
    assert "Nothing lives here" in response.text
    assert 'href="/"' in response.text


def test_error_page_keeps_the_headers_of_the_error(client: FlaskClient) -> None:
    response = client.post("/")
    assert response.status_code == 405
    assert "GET" in response.headers["Allow"]
    assert "<h1>Method Not Allowed</h1>" in response.text


def test_fault_of_our_own_has_a_page(open_bank: OpenBank) -> None:
    app = open_bank()
    app.testing = False
    app.add_url_rule("/broken", view_func=lambda: str(1 // 0))
    response = app.test_client().get("/broken")
    assert response.status_code == 500
    assert "Something broke" in response.text


@pytest.mark.parametrize(
    "address", ["/", "/?done=1", "/accounts/1", "/slow?seconds=0", "/nope"]
)
def test_page_is_accessible_and_has_no_outside_assets(
    client: FlaskClient, address: str
) -> None:
    page = client.get(address).text
    assert '<html lang="en">' in page
    assert 'href="#main"' in page
    assert 'id="main"' in page
    assert page.count("<h1") == 1
    for field in re.findall(r'<(?:input|select) id="(\w+)"', page):
        assert f'<label for="{field}">' in page
    for asset in re.findall(r'(?:src|href|action)="([^"]*)"', page):
        assert asset[0] in "/#", asset
        assert not asset.startswith("//"), asset


def test_style_and_icon_are_complete_in_themselves(client: FlaskClient) -> None:
    with client.get("/static/style.css") as response:
        style = response.get_data(as_text=True)
    with client.get("/static/icon.svg") as response:
        icon = response.get_data(as_text=True)
    assert "prefers-color-scheme: dark" in style
    assert "</svg>" in icon
    for reference in ("url(", "@import", "href"):
        assert reference not in style + icon


# Transfers


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
    assert 'role="alert">Others are moving money here just now.' in response.text
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


# The slow query


def test_slow_query_takes_as_long_as_asked(client: FlaskClient) -> None:
    page = client.get("/slow?seconds=0.2").text
    assert "The database slept for 0.2 s" in page
    times = [float(time) for time in re.findall(r"<dd>([\d.]+) s</dd>", page)]
    assert times[1] >= 0.2


@pytest.mark.parametrize("seconds", ["-1", "5.1", "1e9", "nan", "inf", "x", ""])
def test_slow_query_is_bounded(client: FlaskClient, seconds: str) -> None:
    response = client.get("/slow", query_string={"seconds": seconds})
    assert response.status_code == 400
    assert "Give seconds as a number from 0 to 5." in response.text


# No connection, no tables


@pytest.mark.parametrize("address", ["/", "/accounts/1", "/slow?seconds=0"])
def test_full_pool_has_a_page(open_bank: OpenBank, address: str) -> None:
    init_db(open_bank())
    app = open_bank(MAX_SIZE=1, TIMEOUT=0.05)
    with app.extensions["mysqlpool"]["default"].connection(timeout=10):
        response = app.test_client().get(address)
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert "No connection just now" in response.text
    assert app.test_client().get(address).status_code == 200


def test_transfer_that_gets_no_connection_changes_nothing(
    bank: Flask, open_bank: OpenBank
) -> None:
    full = open_bank(MAX_SIZE=1, TIMEOUT=0.05)
    before = state(bank)
    with full.extensions["mysqlpool"]["default"].connection(timeout=10):
        response = send(full)
    assert response.status_code == 503
    assert state(bank) == before


def test_database_that_is_down_has_a_page(closed_bank: Flask) -> None:
    response = closed_bank.test_client().get("/")
    assert response.status_code == 503
    assert "No connection just now" in response.text


@pytest.mark.parametrize(
    ("method", "address"),
    [("GET", "/"), ("GET", "/accounts/1"), ("POST", "/transfers")],
)
def test_missing_tables_have_a_page_that_says_what_to_run(
    open_bank: OpenBank, method: str, address: str
) -> None:
    response = open_bank().test_client().open(address, method=method, data=FORM)
    assert response.status_code == 503
    assert "flask --app example_app init-db" in response.text


# Commands and settings


def test_init_db_says_what_it_made(open_bank: OpenBank) -> None:
    output = init_db(open_bank())
    assert "Made the tables account and ledger anew." in output
    assert "8 accounts hold €20,000.00 in all" in output
    assert "Wanda Lake" in output


def test_init_db_starts_over(bank: Flask) -> None:
    fresh, ledger = state(bank)
    send(bank)
    assert state(bank)[0] != fresh
    init_db(bank)
    balances, new_ledger = state(bank)
    assert balances == fresh
    assert len(new_ledger) == len(ledger)


def test_init_db_without_a_database_fails_with_the_reason(closed_bank: Flask) -> None:
    result = closed_bank.test_cli_runner().invoke(args=["init-db"])
    assert result.exit_code == 1
    assert "Error: the tables were not made: " in result.output


def test_settings_come_from_the_environment_and_then_from_the_caller(
    monkeypatch: pytest.MonkeyPatch, mysql_url: str, open_bank: OpenBank
) -> None:
    monkeypatch.setenv("FLASK_MYSQLPOOL_URL", "mysql://app@127.0.0.1/elsewhere")
    monkeypatch.setenv("FLASK_MYSQLPOOL_MAX_SIZE", "3")
    app = open_bank()
    assert app.config["MYSQLPOOL_URL"] == mysql_url
    assert app.config["MYSQLPOOL_MAX_SIZE"] == 3
    assert app.config["MYSQLPOOL_CURSORCLASS"] == "DictCursor"


def test_settings_are_looked_for_in_the_checkout(open_bank: OpenBank) -> None:
    package = Path(example_app.__file__).parent
    assert Path(open_bank().instance_path) == package.parent / "instance"


# Money


@pytest.mark.parametrize(
    ("text", "amount"),
    [("5", "5"), (" 12.5 ", "12.5"), ("12,50", "12.5"), ("0.01", "0.01"), ("+3", "3")],
)
def test_amounts_are_read_as_people_write_them(text: str, amount: str) -> None:
    assert money.parse(text) == Decimal(amount)


@pytest.mark.parametrize(
    ("amount", "signed", "text"),
    [
        ("1234567.5", False, "€1,234,567.50"),
        ("0", False, "€0.00"),
        ("3", True, "+€3.00"),
        ("-0.01", True, "−€0.01"),
    ],
)
def test_amounts_are_written_for_people(amount: str, signed: bool, text: str) -> None:
    assert money.display(Decimal(amount), signed) == text
