"""A connection URL is taken apart into settings, or refused without a word of it."""

from __future__ import annotations

import dataclasses
import typing as t
from urllib.parse import quote

import pytest

from flask_mysqlpool.config.settings import Settings

from .test_settings import MARKER
from .test_settings import refusal


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:3306/shop",
        "postgresql://user:{0}@host/shop",
        "mysql://user:{0}@host:port/shop",
        "mysql://user:{0}@host:99999/shop",
        "mysql://user:{0}@host/shop#fragment",
        "mysql://user:{0}@:/%@host/shop",
        "mysql://user:{0}/x@host/shop",
        "mysql://user:{0}?x@host/shop",
        "mysql://user:12/{0}@host/shop",
        "mysql://user:12/?a={0}@host/shop",
        "mysql://user:{0}#x@host/shop",
        "mysql://user:{0}[x@host/shop",
        "mysql://user:{0}%@host/shop",
        "mysql://user:{0}%zz@host/shop",
        "mysql://user:{0}%ff@host/shop",
        "mysql://user:{0}@host/shop?max_size",
        "mysql://user:{0}@host/shop?sql_mode",
        "mysql://user:{0}@host/shop?max_size=",
        "mysql://user:{0}@host/shop?max_size=0",
        "mysql://user:{0}@host:0/shop",
        "mysql://user:{0}@host/shop?url=mysql://host",
        "mysql://user:{0}@host/shop?poolsize=3",
        "mysql://user:{0}@host/shop?runtime_dir=x",
    ],
)
def test_malformed_url_is_refused_without_its_password(url: str) -> None:
    said = refusal({"MYSQLPOOL_URL": url.format(MARKER)})
    assert "MYSQLPOOL_URL" in said
    assert MARKER not in said
    assert "did you mean url" not in said


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("mysql://host", {"host": "host"}),
        ("mariadb://host/", {"host": "host"}),
        ("mysql+pymysql://h:1/d", {"host": "h", "port": 1, "database": "d"}),
        ("mysql://[::1]:3306/d", {"host": "::1", "port": 3306, "database": "d"}),
        ("mysql://u@h", {"host": "h", "user": "u"}),
        ("mysql://u:@h", {"host": "h", "user": "u", "password": ""}),
        ("mysql://u:p@ss@h", {"host": "h", "user": "u", "password": "p@ss"}),
        ("mysql://u:a:b@h", {"host": "h", "user": "u", "password": "a:b"}),
        ("mysql://u%40v:%C3%A9@h", {"host": "h", "user": "u@v", "password": "é"}),
        ("mysql:///d?unix_socket=/s", {"database": "d", "unix_socket": "/s"}),
        ("mysql:///d?host=h&password=p", {"host": "h", "password": "p"}),
        ("mysql://h?max_size=3&timeout=0.5", {"max_size": 3, "timeout": 0.5}),
        ("mysql://h?sql_mode=&charset=latin1", {"sql_mode": "", "charset": "latin1"}),
    ],
)
def test_url_is_taken_apart(url: str, settings: dict[str, t.Any]) -> None:
    read = Settings.from_config({"MYSQLPOOL_URL": url})["default"]
    assert settings.items() <= dataclasses.asdict(read).items()


@pytest.mark.parametrize("password", ["@:/%", "%41", "a b+c", "#?&=[]", "пароль"])
def test_encoded_password_comes_out_of_the_url_unchanged(password: str) -> None:
    url = f"mysql://user:{quote(password, safe='')}@host/shop"
    assert Settings.from_config({"MYSQLPOOL_URL": url})["default"].password == password
