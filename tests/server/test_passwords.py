"""Any password logs in, however it is given."""

from __future__ import annotations

import secrets
import typing as t
from urllib.parse import quote
from urllib.parse import urlsplit

import pytest

from ..support.pools import MakePool


@pytest.mark.parametrize("password", ["pässword", "пароль€", "@:/%"])
@pytest.mark.parametrize("way", ["url", "key", "callable"])
def test_any_password_logs_in(
    password: str, way: str, make_pool: MakePool, mysql_server: t.Any, mysql_url: str
) -> None:
    user = f"test_{secrets.token_hex(4)}"
    server = urlsplit(mysql_url)
    host = f"{server.hostname}:{server.port}"
    with mysql_server.connect(charset="utf8mb4") as connection:
        cursor = connection.cursor()
        cursor.execute(f"CREATE USER {user}@'%%' IDENTIFIED BY %s", (password,))
        try:
            if way == "url":
                url = f"mysql://{user}:{quote(password, safe='')}@{host}"
                pool = make_pool(url)
            elif way == "key":
                pool = make_pool(f"mysql://{user}@{host}", password=password)
            else:
                pool = make_pool(f"mysql://{user}@{host}", password=lambda: password)
            with pool.connection() as db:
                db.ping()
        finally:
            cursor.execute(f"DROP USER {user}@'%'")
