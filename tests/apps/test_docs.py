"""What README and docs say holds: examples run, and names exist."""

from __future__ import annotations

import contextlib
import doctest
import re
import textwrap
import typing as t
from collections.abc import Iterator
from pathlib import Path

import flask
import pytest
from click.testing import CliRunner

import flask_mysqlpool
from flask_mysqlpool import get_db
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool.cli.commands import pool_cli
from flask_mysqlpool.config.loading import PREFIX
from flask_mysqlpool.config.settings import FIELDS

from ..support.flask_apps import MakeApp

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs"
PAGES = [TOP / "README.md", TOP / "CHANGES.md", *sorted(DOCS.glob("*.rst"))]
EXAMPLE_URL = "mysql://app:secret@127.0.0.1/bank"
IN_RST = re.compile(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)")
IN_MARKDOWN = re.compile(r"```python\n(.*?)```", re.DOTALL)
# Keys of the tests and of other projects, and a wrong one on purpose.
OTHERS = {"MYSQLPOOL_TEST_URL", "MYSQLPOOL_MAXSIZE"}


def examples(page: str) -> str:
    """Return the Python code of a page, its blocks one after the other."""
    path = TOP / page
    pattern = IN_MARKDOWN if path.suffix == ".md" else IN_RST
    return "\n".join(map(textwrap.dedent, pattern.findall(path.read_text())))


def run(page: str, names: dict[str, t.Any]) -> dict[str, t.Any]:
    exec(compile(examples(page), page, "exec"), names)
    return names


@pytest.fixture
def bank(make_app: MakeApp) -> flask.Flask:
    """An app with the quickstart's table and a bind for reports."""
    app = make_app(max_size=4, timeout=1, binds={"reports": {"max_size": 1}})
    with app.app_context(), get_db().cursor() as cursor:
        cursor.execute(
            "CREATE TABLE account (id INT PRIMARY KEY, owner VARCHAR(60), balance INT)"
        )
        cursor.execute("INSERT INTO account VALUES (1, 'Ada', 100), (2, 'Finn', 50)")
        get_db().commit()
    return app


def balances(app: flask.Flask) -> tuple[int, ...]:
    with app.app_context(), get_db().cursor() as cursor:
        cursor.execute("SELECT balance FROM account ORDER BY id")
        return tuple(balance for (balance,) in cursor.fetchall())


@pytest.fixture
def built(
    mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[t.Callable[[str], dict[str, t.Any]]]:
    """Run a page that makes an app of its own, on a fresh database."""
    apps = []
    monkeypatch.setenv("FLASK_MYSQLPOOL_URL", mysql_url)

    def build(page: str) -> dict[str, t.Any]:
        code = examples(page).replace(EXAMPLE_URL, mysql_url)
        names: dict[str, t.Any] = {"__name__": "app"}
        exec(compile(code, page, "exec"), names)
        apps.append(names["app"])
        return names

    yield build
    for app in apps:
        app.extensions["mysqlpool"]["default"].close()


def test_readme_and_quickstart_transfer_money(
    built: t.Callable[[str], dict[str, t.Any]],
) -> None:
    quickstart = built("docs/quickstart.rst")["app"]
    made = quickstart.test_cli_runner().invoke(args=["init-db"])
    assert made.exit_code == 0, made.output
    for app in (quickstart, built("README.md")["app"]):
        before = balances(app)
        answer = app.test_client().post("/transfers", data={"amount": "30"})
        assert answer.status_code == 204
        assert balances(app) == (before[0] - 30, before[1] + 30)
        accounts = app.test_client().get("/accounts").json
        assert accounts == {
            "accounts": [[1, "Ada", balances(app)[0]], [2, "Finn", balances(app)[1]]]
        }


def test_factory_of_quickstart_makes_an_app(
    built: t.Callable[[str], dict[str, t.Any]],
) -> None:
    app = built("docs/quickstart.rst")["create_app"]()
    assert list(app.extensions["mysqlpool"]) == ["default"]


def test_requests_page_does_what_it_says(
    bank: flask.Flask, caplog: pytest.LogCaptureFixture
) -> None:
    names = run("docs/requests.rst", {"app": bank})
    client = bank.test_client()
    assert client.get("/accounts/1").json == {"account": ["Ada", 100]}
    assert client.post("/transfers").status_code == 204
    assert balances(bank) == (95, 55)
    assert client.post("/payments").status_code == 204
    assert balances(bank) == (85, 55)  # the savepoint took its part back
    with bank.app_context():
        names["move"](5)
    assert balances(bank) == (80, 60)
    with caplog.at_level("INFO", "an_app"):
        assert client.post("/moves").status_code == 204
    assert caplog.messages[-1] == "moved 5"
    assert balances(bank) == (75, 65)
    assert client.get("/sum").json == {"sum": ["140"]}
    assert client.get("/report").json == {"total": ["140"]}
    assert client.get("/async").json == {"row": [1]}
    assert client.get("/side-by-side").json == {"rows": [[0], [1], [2]]}
    assert client.get("/export").text == "1,Ada\n2,Finn\n"
    names["nightly"](bank)
    assert balances(bank) == (76, 66)
    assert names["count"](bank) == 2
    assert names["total"](bank.config["MYSQLPOOL_URL"]) == 81 + 61


def test_documented_stream_is_a_503_where_the_pool_is_full(bank: flask.Flask) -> None:
    run("docs/requests.rst", {"app": bank})
    client, pool = bank.test_client(), bank.extensions["mysqlpool"]["default"]
    for _ in range(2):
        with contextlib.ExitStack() as held:
            for _ in range(4):
                held.enter_context(pool.connection())
            refused = client.get("/export")
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        streamed = client.get("/export")
        assert next(streamed.iter_encoded()) == b"1,Ada\n"
        assert pool.stats().in_use == 1
        streamed.close()  # by a client that has enough
        assert pool.stats().in_use == 0


def test_requests_page_has_a_page_for_503(bank: flask.Flask) -> None:
    def refuse() -> t.NoReturn:
        raise PoolTimeout("no connection")

    run("docs/requests.rst", {"app": bank})
    bank.add_url_rule("/refused", view_func=refuse)
    answer = bank.test_client().get("/refused")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "Please try again soon" in answer.text


@pytest.mark.parametrize("page", [page.name for page in PAGES if page.suffix == ".rst"])
def test_examples_compile(page: str) -> None:
    compile(examples(f"docs/{page}"), page, "exec")


def test_errors_of_wrong_settings_read_as_shown() -> None:
    outcome = doctest.testfile(str(DOCS / "configuration.rst"), module_relative=False)
    assert outcome.attempted > 5
    assert outcome.failed == 0


def test_configuration_describes_each_setting_once() -> None:
    text = (DOCS / "configuration.rst").read_text()
    described = " ".join(re.findall(r"\.\. settings::(.*\n(?:   .*\n)*)", text)).split()
    assert sorted(described) == sorted(FIELDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_key_that_is_named_exists(page: Path) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in [*FIELDS, "binds"]} | OTHERS
    named = set(re.findall(rf"{PREFIX}[A-Z_]+", page.read_text()))
    assert named <= known


def test_api_page_has_each_public_name() -> None:
    text = (DOCS / "api.rst").read_text()
    described = set(
        re.findall(r"\.\. (?:auto\w+|py:data):: (\w+)(?:\(\))?$", text, re.MULTILINE)
    )
    assert described == set(flask_mysqlpool.__all__)


def test_design_page_has_each_room() -> None:
    text = (DOCS / "design.rst").read_text()
    rooms = set(re.findall(r"^   \* - ``([\w./]+)``", text, re.MULTILINE))
    package = TOP / "flask_mysqlpool"
    edge = {"status", "metrics", "testing"}
    files = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.parent == package or path.name != "__init__.py"
    }
    inside = {file for file in files if file.partition("/")[0] not in edge}
    assert rooms == inside | {f"{name}/" for name in edge}


def test_command_line_page_has_each_command() -> None:
    titles = re.findall(r"^(\w+)\n-+$", (DOCS / "cli.rst").read_text(), re.MULTILINE)
    assert set(titles) == set(pool_cli.commands)
    shown = (DOCS / "captured" / "help.txt").read_text().partition("\n")[2]
    help = CliRunner().invoke(pool_cli, ["--help"], prog_name="flask pool").output
    assert shown.split() == help.split()


def test_readme_shows_what_was_captured() -> None:
    captured = (DOCS / "captured" / "stats.txt").read_text()
    assert f"```console\n{captured}```" in (TOP / "README.md").read_text()
