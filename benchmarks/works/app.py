"""The app of row H: a row by its primary key, through the contender that the
environment names.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from random import randrange
from typing import Any

from flask import Flask

from flask_mysqlpool import get_db
from flask_mysqlpool import MySQLPool

from ..contenders import load
from ..contenders.ours import config
from ..site import parse
from ..site import ROWS

THREADS = 16
URL = "BENCHMARK_URL"
NAME = "BENCHMARK_CONTENDER"


def create_app() -> Flask:
    app = Flask(__name__)
    lend = lender(app, os.environ[NAME], os.environ[URL])

    @app.get("/")
    def account() -> dict[str, Any]:
        with lend() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT id, balance FROM benchmark_account WHERE id = %s",
                (randrange(ROWS),),
            )
            ((number, balance),) = cursor.fetchall()
        return {"id": number, "balance": balance}

    return app


def lender(app: Flask, name: str, url: str) -> Callable[[], Any]:
    """Return what lends a connection to a view: ours is the whole extension."""
    arguments = parse(url) | {"ssl_disabled": True, "autocommit": True}
    if name != "ours":
        return load([name])[0][name](arguments, THREADS).lend
    app.config.update(config(arguments, THREADS))
    MySQLPool(app)
    return lambda: nullcontext(get_db())  # the teardown returns it
