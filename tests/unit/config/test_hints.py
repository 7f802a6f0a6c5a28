"""The name of another pool's setting leads to ours: by the tables of the docs' page on
coming from another pool, which are made of the same data.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flask_mysqlpool.config.hints import hint
from flask_mysqlpool.config.peers import PEERS
from flask_mysqlpool.config.settings import FIELDS

from .test_settings import refusal

PAGE = Path(__file__).parents[3] / "docs" / "migration.rst"
ROWS = [row for rows in PEERS.values() for row in rows]
PAIRS = [pair for row in ROWS for pair in row.pairs()]


@pytest.mark.parametrize(
    ("key", "ours"),
    [
        ("MAXCONNECTIONS", "MAX_SIZE"),
        ("POOL_SIZE", "MAX_SIZE"),
        ("SIZE", "MAX_SIZE"),
        ("MAX_OVERFLOW", "MAX_SIZE"),
        ("MINCACHED", "MIN_SIZE"),
        ("MAX_IDLE_TIME", "MAX_IDLE"),
        ("POOL_RECYCLE", "MAX_LIFETIME"),
        ("RECYCLE", "MAX_LIFETIME"),
        ("POOL_RESET_SESSION", "RESET"),
        ("PRE_PING", "PING_AFTER"),
        ("POOL_PRE_PING", "PING_AFTER"),
        ("POOL_TIMEOUT", "TIMEOUT"),
        ("CONNECTION_TIMEOUT", "CONNECT_TIMEOUT"),
        ("DB", "DATABASE"),
        ("PASSWD", "PASSWORD"),
        ("USERNAME", "USER"),
        ("SOCKET", "UNIX_SOCKET"),
        ("DATABASE_URI", "URL"),
    ],
)
def test_name_of_another_pool_leads_to_ours(key: str, ours: str) -> None:
    said = refusal({"MYSQLPOOL_URL": "mysql://h", f"MYSQLPOOL_{key}": 1})
    assert said == f"MYSQLPOOL_{key} is not a setting; did you mean MYSQLPOOL_{ours}?"
    bind = {key.lower(): 1}
    said = refusal({"MYSQLPOOL_URL": "mysql://h", "MYSQLPOOL_BINDS": {"b": bind}})
    assert said.endswith(f'did you mean MYSQLPOOL_BINDS["b"]["{ours.lower()}"]?')
    said = refusal({"MYSQLPOOL_URL": f"mysql://h?timeout=1&{key.lower()}=1"})
    if ours != "URL":
        assert said.startswith("parameter 2 of MYSQLPOOL_URL is not a setting; did")
        assert said.endswith(f"did you mean {ours.lower()}?")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("POOL_NAME", "here it is the name of a bind"),
        ("MAXSHARED", "there is nothing to set for it here"),
        ("CREATOR", "there is nothing to set for it here"),
    ],
)
def test_name_that_is_no_setting_here_is_explained(key: str, text: str) -> None:
    said = refusal({"MYSQLPOOL_URL": "mysql://h", f"MYSQLPOOL_{key}": 1})
    assert said == f"MYSQLPOOL_{key} is not a setting; {text}"


def test_each_name_of_the_tables_has_a_hint() -> None:
    known = [*FIELDS, "binds"]
    for theirs, ours in PAIRS:
        said = hint(theirs, known, str.upper)
        if theirs not in known:
            assert said, theirs
        if ours in known and theirs not in known:
            assert said.startswith("; did you mean "), theirs


def test_each_setting_of_the_tables_exists() -> None:
    named = {
        name.lower()
        for row in ROWS
        for name in re.findall(r"MYSQLPOOL_(\w+)", str(row))
    }
    assert named <= FIELDS.keys()


@pytest.mark.parametrize("name", ["xyzzy", "retries", "echo", "reconnect", "threads"])
def test_name_that_is_like_none_has_no_hint(name: str) -> None:
    assert hint(name, FIELDS, str.upper) == ""


def test_page_has_each_table() -> None:
    shown = re.findall(r"^\.\. peer:: (.*)$", PAGE.read_text(), re.MULTILINE)
    assert shown == list(PEERS)
