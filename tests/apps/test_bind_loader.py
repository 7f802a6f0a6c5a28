"""Pools on demand: ``bind_loader`` gives the settings of a bind by its name."""

from __future__ import annotations

import contextlib
import gc
import logging
import re
import threading
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import flask
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry
from prometheus_client import generate_latest

from flask_mysqlpool import ConfigError
from flask_mysqlpool import get_db
from flask_mysqlpool import MySQLPool
from flask_mysqlpool import NotInitializedError
from flask_mysqlpool import PoolError
from flask_mysqlpool import PoolFull
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool import transaction
from flask_mysqlpool import UnknownBindError
from flask_mysqlpool.metrics.conventions import POOL_NAME
from flask_mysqlpool.metrics.conventions import pool_names
from flask_mysqlpool.metrics.opentelemetry import instrument
from flask_mysqlpool.metrics.prometheus import PoolCollector
from flask_mysqlpool.status import StatusPage

from ..support.cli_runner import run
from ..support.cli_runner import run_json
from ..support.forked_child import ForkedChild
from ..support.queries import execute

NAMES = [f"tenant-{number}" for number in range(6)]
MakeTenants = Callable[..., flask.Flask]


def load(name: str) -> dict[str, t.Any] | None:
    return {"max_size": 2, "timeout": 3} if name in NAMES else None


@pytest.fixture
def make(base: Path, mysql_url: str) -> Iterator[MakeTenants]:
    """Make an app with a loader: ``make(loader, max_binds=2)``."""
    apps = []

    def make(
        loader: t.Any = load, extension: MySQLPool | None = None, **settings: t.Any
    ) -> flask.Flask:
        app = flask.Flask("an_app", root_path="/")
        app.config["MYSQLPOOL_URL"] = mysql_url
        app.config["MYSQLPOOL_SSL_DISABLED"] = True
        app.config["MYSQLPOOL_RUNTIME_DIR"] = str(base)
        app.config["MYSQLPOOL_MAX_BINDS"] = 3
        for name, value in settings.items():
            app.config[f"MYSQLPOOL_{name.upper()}"] = value
        extension = extension or MySQLPool()
        extension.init_app(app)
        extension.bind_loader(loader)
        app.add_url_rule("/<name>", "tenant", answer)
        apps.append(app)
        return app

    yield make
    for app in apps:
        for pool in dict(app.extensions["mysqlpool"]).values():
            pool.close()
            assert pool.stats().in_use == 0, f"{pool!r} still lends"


def answer(name: str) -> str:
    ((number,),) = execute(get_db(name), "SELECT 1")
    return f"{number}"


# Using them


def test_tenant_has_the_settings_of_the_loader_and_the_plain_ones(
    make: MakeTenants, mysql_url: str
) -> None:
    app = make(
        lambda name: {"max_size": 2, "setsession": ["SET @tenant = 'it'"]},
        max_lifetime=77,
    )
    with app.app_context():
        db = get_db("tenant-1")
        assert db is get_db("tenant-1") is not get_db()
        assert execute(db, "SELECT @tenant") == (("it",),)
        with transaction("tenant-1") as same:
            assert same is db
    settings = app.extensions["mysqlpool"]["tenant-1"].settings
    default = app.extensions["mysqlpool"]["default"].settings
    assert (settings.max_size, settings.max_lifetime) == (2, 77)
    assert (settings.host, settings.port) == (default.host, default.port)
    assert settings.database == default.database
    assert app.extensions["mysqlpool"]["tenant-1"].stats().in_use == 0


def test_binds_of_the_settings_are_not_asked_for(make: MakeTenants) -> None:
    asked: list[str] = []
    app = make(asked.append, binds={"reports": {"max_size": 1}})
    with app.app_context():
        get_db().ping()
        get_db("reports").ping()
    assert not asked


def test_loader_runs_in_the_context_of_the_caller(make: MakeTenants) -> None:
    def loader(name: str) -> dict[str, t.Any] | None:
        seen.append((flask.current_app.name, flask.request.endpoint, get_db()))
        execute(get_db(), "SELECT 1")
        return load(name)

    seen: list[t.Any] = []
    app = make(loader)
    with app.test_request_context("/tenant-1"):
        get_db("tenant-1").ping()
        assert seen == [("an_app", "tenant", get_db())]


def test_one_extension_asks_for_each_of_its_apps(make: MakeTenants) -> None:
    def loader(name: str) -> dict[str, t.Any] | None:
        asked.append((flask.current_app.config["WHICH"], name))
        return load(name)

    asked: list[tuple[int, str]] = []
    extension = MySQLPool()
    apps = [make(loader, extension) for _ in range(2)]
    for number, app in enumerate(apps):
        app.config["WHICH"] = number
        with app.app_context():
            get_db("tenant-1").ping()
    assert asked == [(0, "tenant-1"), (1, "tenant-1")]
    one, other = (app.extensions["mysqlpool"]["tenant-1"] for app in apps)
    assert one is not other
    assert make(loader, None).extensions["mysqlpool"].loads
    app = flask.Flask("no_loader")
    MySQLPool(app)
    assert not app.extensions["mysqlpool"].loads


@pytest.mark.parametrize("loader", [None, "tenant"])
def test_loader_must_be_a_plain_function(loader: t.Any) -> None:
    with pytest.raises(TypeError, match="bind_loader must be a plain function"):
        MySQLPool().bind_loader(loader)


def test_coroutine_function_is_refused() -> None:
    async def loader(name: str) -> None: ...

    with pytest.raises(TypeError, match="bind_loader must be a plain function"):
        MySQLPool().bind_loader(loader)  # type: ignore[type-var]  # as it says


# Names that nobody knows


def test_unknown_name_is_404_and_leaves_no_trace(
    make: MakeTenants, caplog: pytest.LogCaptureFixture
) -> None:
    app = make()
    client = app.test_client()
    with caplog.at_level(logging.INFO):
        for number in range(50):
            assert client.get(f"/nobody-{number}").status_code == 404
    assert not caplog.records
    assert list(app.extensions["mysqlpool"]) == ["default"]
    assert client.get("/tenant-1").text == "1"
    for use in (get_db, lambda name: transaction(name).__enter__()):
        with app.app_context(), pytest.raises(UnknownBindError, match="'nobody'"):
            use("nobody")


def test_app_may_answer_for_unknown_names_itself(make: MakeTenants) -> None:
    app = make()
    app.register_error_handler(404, lambda error: ("our page", 404))
    assert app.test_client().get("/nobody").text == "our page"
    app = make()
    app.register_error_handler(NotInitializedError, lambda error: (str(error), 410))
    response = app.test_client().get("/nobody")
    assert response.status_code == 410
    assert "the bind_loader does not know it" in response.text


def test_without_a_loader_an_unknown_name_is_a_mistake(
    base: Path, mysql_url: str
) -> None:
    app = flask.Flask("an_app")
    app.config["MYSQLPOOL_URL"] = mysql_url
    MySQLPool(app)
    app.add_url_rule("/<name>", "tenant", answer)
    assert app.test_client().get("/nobody").status_code == 500


# Loaders that fail


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ({"hots": "db"}, r'bind_loader\("tenant-1"\)\["hots"\] is not a setting; did'),
        ({"max_size": 0}, r'bind_loader\("tenant-1"\)\["max_size"\] must be'),
        ({"max_binds": 4}, r'\("tenant-1"\)\["max_binds"\] is one setting for all'),
        ({"runtime_dir": "/run"}, "is one setting for all binds"),
        ({"min_size": 20}, r'\("tenant-1"\)\["min_size"\] is 20, which is more than'),
        ({"url": "s3cret"}, r'\("tenant-1"\)\["url"\] must start with'),
        ("mysql://app:s3cret@db/bank", "must return a mapping of settings, .* not str"),
        (False, "not bool"),
        ([], "not list"),
    ],
)
def test_wrong_settings_name_the_bind(
    make: MakeTenants, returned: t.Any, said: str
) -> None:
    app = make(lambda name: returned)
    with app.app_context(), pytest.raises(ConfigError, match=said) as caught:
        get_db("tenant-1")
    assert "tenant-1" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert list(app.extensions["mysqlpool"]) == ["default"]


def test_error_of_the_loader_is_the_callers(make: MakeTenants) -> None:
    def loader(name: str) -> None:
        raise errors[name]

    errors = {"down": PoolTimeout("down", retry_after=7), "odd": ZeroDivisionError()}
    app = make(loader)
    client = app.test_client()
    response = client.get("/down")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "7")
    assert client.get("/odd").status_code == 500
    assert list(app.extensions["mysqlpool"]) == ["default"]


# Making room


def test_all_in_use_is_503(make: MakeTenants) -> None:
    app = make(max_binds=2)
    with app.app_context():
        get_db("tenant-1").ping()
        get_db("tenant-2").ping()
        with pytest.raises(PoolFull, match="MYSQLPOOL_MAX_BINDS"):
            get_db("tenant-3")
        response = app.test_client().get("/tenant-3")
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "3"
    assert app.test_client().get("/tenant-3").text == "1"


def test_caller_whose_pool_is_closed_for_another_gets_a_new_one(
    make: MakeTenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make(max_binds=1)
    pools = app.extensions["mysqlpool"]
    with app.app_context():
        first = pools.load("tenant-1")
        real = first.connection

        def too_late(**arguments: t.Any) -> t.Any:
            pools.load("tenant-2")  # as another thread would
            return real(**arguments)

        monkeypatch.setattr(first, "connection", too_late)
        get_db("tenant-1").ping()
        assert first.closed
        assert list(pools) == ["default", "tenant-1"]


def test_pool_of_the_settings_stays_closed(make: MakeTenants) -> None:
    app = make()
    app.extensions["mysqlpool"]["default"].close()
    with app.app_context(), pytest.raises(Exception, match="'default' is closed"):
        get_db()


def test_refusal_keeps_nothing_of_its_caller(make: MakeTenants) -> None:
    class Thing:
        pass

    def view() -> None:
        thing = Thing()
        things.append(weakref.ref(thing))
        get_db()

    app = make()
    app.extensions["mysqlpool"]["default"].close()
    things: list[weakref.ref[Thing]] = []
    gc.disable()
    try:
        with app.app_context():
            with contextlib.suppress(PoolError):
                view()
            assert things[0]() is None
    finally:
        gc.enable()


def test_few_pools_serve_many_threads(make: MakeTenants) -> None:
    app = make(max_binds=4)
    statuses: list[int] = []

    def visit() -> None:
        client = app.test_client()
        for name in NAMES * 5:
            statuses.append(client.get(f"/{name}").status_code)

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [200] * 120
    assert len(app.extensions["mysqlpool"]) == 5


def test_warnings_of_lost_changes_do_not_multiply_with_names(
    make: MakeTenants, caplog: pytest.LogCaptureFixture
) -> None:
    app = make()

    @app.get("/change/<name>")
    def change(name: str) -> str:
        execute(get_db(name), "INSERT INTO visit VALUES (1)")
        return "lost"

    with app.app_context():
        execute(get_db(), "CREATE TABLE visit (id INT)")
    for name in NAMES:
        app.test_client().get(f"/change/{name}")
    warnings = [each for each in caplog.records if "did not commit" in each.message]
    assert len(warnings) == 1


# Seeing them


def test_command_line_shows_loaded_pools(make: MakeTenants) -> None:
    app = make()
    client = app.test_client()
    for name in NAMES[:4]:
        assert client.get(f"/{name}").text == "1"
    stats = run_json(app, "stats")
    kept = NAMES[1:4]
    assert list(stats["totals"]) == ["default", "(loaded)", *kept]
    assert list(stats["server"]) == ["default"]
    assert stats["totals"]["(loaded)"]["checkouts"] == 4
    assert stats["totals"]["(loaded)"]["closed"] == {"closed": 1}
    assert stats["totals"]["tenant-1"]["checkouts"] == 1
    shown = run(app, "stats").stdout
    assert shown.count("Loaded pools") == 1
    for name in kept:
        assert shown.count(name) == 1
    assert "tenant-0" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    one = run(app, "stats", "--bind", "tenant-1").stdout
    assert "Pool tenant-1" in one
    assert "Server of tenant-1: " in one
    assert "default" not in one
    by_endpoint = run(app, "stats", "--endpoints").stdout
    assert "Pool (loaded)" in by_endpoint
    assert "GET tenant" in by_endpoint
    of_one = run(app, "stats", "--endpoints", "--bind", "tenant-1").stdout
    assert "GET tenant" in of_one


def test_command_line_without_loaded_pools(make: MakeTenants) -> None:
    app = make()
    assert "Loaded pools" not in run(app, "stats").stdout  # there is no worker
    with app.app_context():
        get_db().ping()
    shown = run(app, "stats").stdout
    assert shown.endswith("Loaded pools\nNo worker has loaded one\n")
    assert run_json(app, "stats")["totals"]["(loaded)"]["max_size"] == 0
    assert run_json(app, "check")["ok"]


def test_command_line_names_binds_that_no_worker_has_loaded(make: MakeTenants) -> None:
    app = make()
    assert app.test_client().get("/tenant-1").text == "1"
    for command in ("stats", "who", "recycle", "resize 3"):
        result = run(app, *command.split(), "--bind", "tenant-5")
        assert result.exit_code == 2
        said = "there is no bind 'tenant-5', only 'default', and no worker has loaded"
        assert said in " ".join(result.stderr.split())
    assert list(app.extensions["mysqlpool"]) == ["default", "tenant-1"]


def test_who_shows_holders_of_loaded_pools(make: MakeTenants) -> None:
    app = make()
    with app.app_context():
        get_db("tenant-1").ping()
        get_db("tenant-2").close()
        shown = run(app, "who").stdout
        assert "Pool tenant-1" in shown
        assert "Pool tenant-2" not in shown
        assert "Pool default" in shown
        ((worker,),) = run_json(app, "who").values()
        assert len(worker["binds"]["tenant-1"]) == 1
        assert worker["binds"]["tenant-2"] == []


def test_commands_change_loaded_pools(make: MakeTenants) -> None:
    app = make()
    for name in NAMES[:2]:
        app.test_client().get(f"/{name}")
    pools = app.extensions["mysqlpool"]
    result = run_json(app, "resize", "5", "--bind", "tenant-1")
    assert [list(each["binds"]) for each in result["workers"]] == [["tenant-1"]]
    assert pools["tenant-1"].stats().max_size == 5
    assert pools["tenant-0"].stats().max_size == 2
    run_json(app, "recycle")
    assert all(pool.stats().idle == 0 for pool in pools.values())


def test_check_covers_loaded_pools(make: MakeTenants) -> None:
    app = make()
    for name in NAMES[:3]:
        app.test_client().get(f"/{name}")
    found = run_json(app, "check")["findings"]
    (limits,) = (each for each in found if each["check"] == "limits")
    assert limits["binds"] == ["default", *NAMES[:3]]
    assert "may open 16 connections" in limits["text"]
    connected = [each["binds"] for each in found if each["check"] == "connect"]
    assert connected == [["default"], *([name] for name in NAMES[:3])]
    shown = run(app, "check").stdout
    assert shown.count("can connect") == 2  # of the default, and of all loaded ones


def test_config_and_check_tell_what_the_loader_does_not_know_any_more(
    make: MakeTenants,
) -> None:
    app = make()
    for name in NAMES[:2]:
        app.test_client().get(f"/{name}")
    shown = run_json(app, "config")
    assert list(shown) == ["default", *NAMES[:2]]
    assert shown["tenant-1"]["max_size"] == 2
    # The command is a process of its own, which asks the loader itself.
    command = make(lambda name: load(name) if name == "tenant-0" else None)
    result = run(command, "config")
    assert result.exit_code == 1
    assert "Settings of tenant-0" in result.stdout
    assert "Settings of tenant-1: " in result.stderr
    found = run_json(command, "check", status=1)["findings"]
    errors = [each for each in found if each["verdict"] == "error"]
    assert [(each["binds"], each["check"]) for each in errors] == [
        (["tenant-1"], "bind_loader")
    ]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_check_is_no_worker_where_its_loader_uses_a_pool(make: MakeTenants) -> None:
    def loader(name: str) -> dict[str, t.Any] | None:
        execute(get_db(), "SELECT 1")
        return load(name)

    def check() -> list[str]:
        findings = run_json(command, "check")["findings"]
        assert any(each["binds"] == ["tenant-1"] for each in findings)
        return [each["text"] for each in findings if each["check"] == "workers"]

    app, command = make(), make(loader)
    assert app.test_client().get("/tenant-1").text == "1"
    assert ForkedChild(check).join() == ["1 worker answers"]


def test_page_shows_loaded_pools_as_one(make: MakeTenants) -> None:
    app = make()
    app.register_blueprint(StatusPage(lambda: True), url_prefix="/pool")
    client = app.test_client()
    for name in NAMES[:4]:
        client.get(f"/{name}")
    with app.app_context():
        get_db("tenant-1").ping()
        data = client.get("/pool/data.json").get_json()
    assert list(data["totals"]) == ["default", "(loaded)"]
    assert data["totals"]["(loaded)"]["checkouts"] == 5
    assert list(data["totals"]["(loaded)"]["endpoints"])[0] == "GET tenant"
    (worker,) = data["workers"]
    assert sorted(worker["binds"]) == sorted(["default", "(loaded)", *NAMES[1:4]])
    (holder,) = worker["holders"]["(loaded)"]
    assert holder["holder"] == "outside a request (tenant-1)"


def test_health_does_not_depend_on_what_visitors_load(
    make: MakeTenants,
) -> None:
    app = make(lambda name: {"port": 1, "timeout": 0.1})
    app.register_blueprint(StatusPage(lambda: True), url_prefix="/pool")
    client = app.test_client()
    assert client.get("/tenant-1").status_code == 503
    health = client.get("/pool/health").get_json()
    assert (health["status"], list(health["binds"])) == ("ok", ["default"])


# Metrics


def test_prometheus_has_one_label_for_all(make: MakeTenants) -> None:
    app = make()
    for name in NAMES:
        app.test_client().get(f"/{name}")
    registry = CollectorRegistry()
    registry.register(PoolCollector(app))
    text = generate_latest(registry).decode()
    assert "tenant-" not in text
    (line,) = re.findall(r'flask_mysqlpool_checkouts_total{.*"\(loaded\)".*', text)
    assert line.endswith(" 6.0")
    (line,) = re.findall(r'db_client_connection_max{.*"\(loaded\)".*', text)
    assert line.endswith(" 6.0")


def test_opentelemetry_has_one_pool_for_all(make: MakeTenants) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    app = make()
    instrument(app, provider)
    assert names_in(reader) == {pool_names(app)["default"]}
    for name in NAMES:
        app.test_client().get(f"/{name}")
    assert names_in(reader) == {pool_names(app)["default"], "(loaded)"}
    provider.shutdown()


def names_in(reader: InMemoryMetricReader) -> set[t.Any]:
    data: t.Any = reader.get_metrics_data()
    ((scope,),) = [each.scope_metrics for each in data.resource_metrics]
    return {
        point.attributes[POOL_NAME]
        for metric in scope.metrics
        for point in metric.data.data_points
    }
