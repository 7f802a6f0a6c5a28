"""The example bank: pages, commands, settings, and answers to what is wrong."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

import example_app
from example_app import money

from ...support.bank import execute
from ...support.bank import FORM
from ...support.bank import init_db
from ...support.bank import OpenBank
from ...support.bank import send
from ...support.bank import state

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
    assert "Created the tables account and ledger." in output
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
    assert "Error: the tables were not created: " in result.output


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
