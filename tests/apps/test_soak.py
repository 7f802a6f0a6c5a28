"""Many requests that fail in every way the bank knows: no place and no cent is lost."""

from __future__ import annotations

import itertools
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

from example_app import create_app
from flask_mysqlpool import get_db
from flask_mysqlpool import transaction

REQUESTS = int(os.environ.get("MYSQLPOOL_SOAK_REQUESTS", "100000"))
THREADS = 8

GOOD = {"sender": "1", "receiver": "2", "amount": "1.00", "note": "soak"}
ELSEWHERE = {"Sec-Fetch-Site": "cross-site"}
# Method, path, form, headers and the status that each is answered with.
WAYS: list[tuple[str, str, dict[str, str] | None, dict[str, str] | None, int]] = [
    ("POST", "/transfers", GOOD | {"amount": "999999.00"}, None, 422),  # overdrawn
    ("POST", "/transfers", GOOD | {"receiver": "4711"}, None, 422),
    ("POST", "/transfers", GOOD | {"sender": "4711"}, None, 422),
    ("POST", "/transfers", GOOD | {"receiver": "1"}, None, 422),
    ("POST", "/transfers", GOOD | {"amount": "much"}, None, 422),
    ("POST", "/transfers", GOOD | {"note": "x" * 81}, None, 422),
    ("POST", "/transfers", GOOD, ELSEWHERE, 403),
    ("POST", "/crash", None, None, 500),  # in the middle of a transfer
    ("POST", "/uncommitted", None, None, 200),
    ("POST", "/killed", None, None, 500),  # the server ends the session
    ("GET", "/accounts/4711", None, None, 404),
    ("GET", "/nowhere", None, None, 404),
    ("DELETE", "/transfers", None, None, 405),
    ("GET", "/slow?seconds=many", None, None, 400),
]


@pytest.fixture
def bank(mysql_url: str) -> Iterator[Flask]:
    # Fewer connections than threads: some requests find the pool exhausted.
    app = create_app(
        {
            "MYSQLPOOL_URL": mysql_url,
            "MYSQLPOOL_MAX_SIZE": 3,
            "MYSQLPOOL_TIMEOUT": 0.02,
            "MYSQLPOOL_SSL_DISABLED": True,
            "PROPAGATE_EXCEPTIONS": False,
        }
    )
    app.logger.disabled = True
    half = "UPDATE account SET balance = balance - 1 WHERE id = %s"

    @app.post("/crash")
    def crash() -> str:
        with transaction() as db, db.cursor() as cursor:
            cursor.execute(half, (3,))
            raise RuntimeError("in the middle of a transfer")

    @app.post("/uncommitted")
    def uncommitted() -> str:
        with get_db().cursor() as cursor:
            cursor.execute(half, (4,))
        return ""

    @app.post("/killed")
    def killed() -> str:
        with transaction() as db, db.cursor() as cursor:
            cursor.execute(half, (5,))
            cursor.execute("KILL CONNECTION_ID()")
            cursor.execute(half, (6,))
        return ""

    assert app.test_cli_runner().invoke(args=["init-db"]).exit_code == 0
    yield app
    app.extensions["mysqlpool"]["default"].close()


def balances(app: Flask) -> dict[int, Decimal]:
    with app.app_context(), get_db().cursor() as cursor:
        cursor.execute("SELECT id, balance FROM account")
        return {row["id"]: row["balance"] for row in cursor.fetchall()}


@pytest.mark.soak
def test_failing_requests_lose_nothing(bank: Flask) -> None:
    before = balances(bank)
    statuses: Counter[tuple[str, str, int, int]] = Counter()
    lock = threading.Lock()
    numbers = itertools.count()

    def work(_: Any) -> None:
        client = bank.test_client()
        mine: Counter[tuple[str, str, int, int]] = Counter()
        while (number := next(numbers)) < REQUESTS:
            method, path, data, headers, status = WAYS[number % len(WAYS)]
            response = client.open(path, method=method, data=data, headers=headers)
            mine[method, path, status, response.status_code] += 1
        with lock:
            statuses.update(mine)

    with ThreadPoolExecutor(THREADS) as workers:
        list(workers.map(work, range(THREADS)))

    for (method, path, expected, actual), count in statuses.items():
        # 409: another holds the account's lock; 503: the pool is exhausted.
        allowed = {expected, 409, 503}
        assert actual in allowed, f"{method} {path}: {actual} {count} times"
    print(dict(Counter(actual for *_, actual in statuses.elements())))
    assert statuses.total() == REQUESTS
    stats = bank.extensions["mysqlpool"]["default"].stats()
    assert (stats.in_use, stats.waiting) == (0, 0)
    assert stats.size == stats.idle
    assert balances(bank) == before
