"""The live page of the example bank."""

from __future__ import annotations

from collections.abc import Iterator

import flask
import pytest

from example_app import create_app


@pytest.fixture
def bank(mysql_url: str) -> Iterator[flask.Flask]:
    bank = create_app({"TESTING": True, "MYSQLPOOL_URL": mysql_url})
    assert bank.test_cli_runner().invoke(args=["init-db"]).exit_code == 0
    yield bank
    bank.extensions["mysqlpool"]["default"].close()


def test_front_page_links_to_the_live_page(bank: flask.Flask) -> None:
    client = bank.test_client()
    assert '<a href="/pool/">Pool</a>' in client.get("/").text
    answer = client.get("/pool/", buffered=True)
    assert answer.status_code == 200
    assert 'src="assets/status.js"' in answer.text
    assert '"app": "example_app"' in client.get("/pool/data.json").text


@pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.1", None])
@pytest.mark.parametrize("view", ["", "data.json", "health", "assets/status.js"])
def test_live_page_is_for_this_machine_only(
    bank: flask.Flask, view: str, address: str | None
) -> None:
    client = bank.test_client()
    answer = client.get(f"/pool/{view}", environ_base={"REMOTE_ADDR": address})
    assert answer.status_code == 403
    assert "on the machine that runs this bank only" in answer.text
    assert "To the accounts" in answer.text


def test_live_page_is_not_opened_by_a_header(bank: flask.Flask) -> None:
    answer = bank.test_client().get(
        "/pool/",
        environ_base={"REMOTE_ADDR": "192.0.2.7"},
        headers={"X-Forwarded-For": "127.0.0.1"},
    )
    assert answer.status_code == 403
