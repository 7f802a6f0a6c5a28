"""It is known who holds a connection, what for, where it was taken and what he does."""

from __future__ import annotations

import gc
import json
import os
import threading
import time
import typing as t
import weakref
from collections.abc import Callable
from pathlib import Path

import flask
import pytest
from werkzeug.routing import Rule

from flask_mysqlpool import get_db
from flask_mysqlpool import MySQLPool
from flask_mysqlpool import Pool
from flask_mysqlpool import PoolFull
from flask_mysqlpool.stats.holders import capture_stack
from flask_mysqlpool.stats.holders import current_stack
from flask_mysqlpool.stats.holders import format_stack
from flask_mysqlpool.stats.holders import Holder
from flask_mysqlpool.stats.holders import thread_name

from ..support.flask_apps import MakeApp
from ..support.flask_apps import pool_of
from ..support.pools import MakePool
from ..support.queries import execute
from ..support.waiting import wait_until


def only(holders: list[Holder]) -> Holder:
    (holder,) = holders
    return holder


def line_of(function: Callable[..., t.Any], offset: int) -> str:
    number = function.__code__.co_firstlineno + offset
    return f"tests/server/test_holders.py:{number} in {function.__code__.co_name}"


def take(pool: Pool) -> t.Any:
    return pool.connection()


def test_holder_of_a_plain_checkout(make_pool: MakePool) -> None:
    pool = make_pool()
    assert pool.holders() == []
    with take(pool) as db:
        holder = only(pool.holders())
        assert holder.taken == [line_of(take, 1)]
        assert holder.holder == ""
        assert holder.thread == "MainThread"
        assert holder.connection_id == db.thread_id()
        assert (holder.statement, holder.in_transaction) == ("", False)
        assert holder.stands == []
        execute(db, "SELECT SLEEP(0), %s FROM dual", "secret")
        holder = only(pool.holders())
        assert holder.statement == "SELECT SLEEP(?), %s FROM dual"
        db.begin()
        assert only(pool.holders()).in_transaction
    assert pool.holders() == []


def test_statement_of_the_last_holder_is_not_shown(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    with pool.connection() as db:
        execute(db, "SELECT 1")
    with pool.connection():
        assert only(pool.holders()).statement == ""


def test_longest_holder_comes_first(make_pool: MakePool) -> None:
    pool = make_pool()
    with pool.connection(holder="first"), pool.connection(holder="second"):
        first, second = pool.holders()
        assert [first.holder, second.holder] == ["first", "second"]
        assert first.seconds >= second.seconds >= 0
        packed = first.as_dict()
        assert Holder.unpack(packed).as_dict() == packed


def test_view_is_named_with_its_line(make_app: MakeApp) -> None:
    app = make_app()
    seen = []

    @app.get("/accounts")
    def accounts() -> str:
        execute(get_db(), "SELECT 1")
        seen.append(only(pool_of(app).holders(stacks=True)))
        return ""

    app.test_client().get("/accounts")
    holder = only(seen)
    assert holder.holder == "GET accounts"
    assert holder.taken[-1] == line_of(accounts, 2)
    assert holder.stands[-1] == line_of(accounts, 3)
    assert not any("site-packages" in place for place in holder.taken + holder.stands)


def test_stack_of_a_view_is_noted_up_to_flasks_own(make_app: MakeApp) -> None:
    app = make_app()

    def helper() -> list[str]:
        get_db()
        (entry,) = pool_of(app)._slots.lent_entries()
        return [code.co_name for code, _ in entry.stack]

    @app.get("/accounts")
    def accounts() -> list[str]:
        return helper()

    assert app.test_client().get("/accounts").json == ["helper", "accounts"]


def test_command_is_named(make_app: MakeApp) -> None:
    app = make_app()
    seen = []

    @app.cli.command("seed")
    def seed() -> None:
        get_db()
        seen.extend(pool_of(app).holders())

    app.test_cli_runner().invoke(args=["seed"])
    with app.app_context():
        get_db()
        seen.extend(pool_of(app).holders())
    assert [holder.holder for holder in seen] == ["command seed", "outside a request"]


def test_holder_in_another_thread_is_seen_where_it_stands(make_pool: MakePool) -> None:
    pool = make_pool()
    done = threading.Event()

    def hold() -> None:
        with pool.connection():
            done.wait(30)

    thread = threading.Thread(target=hold, name="worker-7")
    thread.start()
    try:
        wait_until(lambda: pool.stats().in_use)
        wait_until(lambda: only(pool.holders(stacks=True)).stands)
        holder = only(pool.holders(stacks=True))
        assert holder.thread == "worker-7"
        assert holder.taken == [line_of(hold, 1)]
        assert holder.stands == [line_of(hold, 2)]
    finally:
        done.set()
        thread.join()


def test_who_waits_for_a_check_is_seen_under_his_own_name(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(ping_after=0)
    seen = []

    def look(*_: object) -> bool:
        seen.append(only(pool.holders()))
        return True

    thread = threading.Thread(target=lambda: take(pool).close())
    thread.start()
    thread.join()
    monkeypatch.setattr("flask_mysqlpool.driver.session.Session.validate", look)
    pool.connection(holder="second").close()
    holder = only(seen)
    assert (holder.holder, holder.thread) == ("second", "MainThread")
    assert "in test_who_waits" in holder.taken[0]


def test_ended_thread_stands_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = threading.Thread(target=lambda: None, name="leaker")
    thread.start()
    thread.join()
    # Its number may be another's by now.
    monkeypatch.setattr(thread, "_ident", threading.get_ident())
    assert current_stack(thread) == []
    assert thread_name(thread) == "leaker (ended)"


def test_stack_without_the_application_is_shown_whole() -> None:
    assert format_stack(capture_stack(None)) == []
    code = json.loads.__code__
    outer, inner = format_stack([(code, 0), (json.dumps.__code__, 0)])
    assert outer.endswith("in dumps")
    assert inner.endswith(f"json/__init__.py:{code.co_firstlineno} in loads")


def test_endpoints_are_counted_apart(make_app: MakeApp) -> None:
    app = make_app(max_size=1, timeout=0)

    @app.get("/one")
    def one() -> str:
        execute(get_db(), "SELECT 1")
        return ""

    @app.post("/two")
    def two() -> str:
        with pool_of(app).connection():
            get_db()
        return ""

    client = app.test_client()
    for _ in range(3):
        client.get("/one")
    assert client.post("/two").status_code == 503
    reading = pool_of(app).stats()
    counts = {n: (e.checkouts, e.timeouts) for n, e in reading.endpoints.items()}
    assert counts == {"GET one": (3, 0), "POST two": (1, 1)}
    assert reading.use_seconds.count == reading.wait_seconds.count == 4
    assert reading.checkouts == 4
    assert (reading.queued, reading.timeouts) == (1, 1)
    assert reading.exhausted_ago is not None


def test_lent_connection_counts_for_its_endpoint(make_pool: MakePool) -> None:
    pool = make_pool()
    with pool.connection(holder="GET slow"):
        slow = pool.stats().endpoints["GET slow"]
        assert (slow.checkouts, slow.use_seconds.count) == (1, 0)
    slow = pool.stats().endpoints["GET slow"]
    assert (slow.checkouts, slow.use_seconds.count) == (1, 1)


def test_invented_endpoints_are_counted_together(make_pool: MakePool) -> None:
    pool = make_pool()
    for number in range(300):
        pool.connection(holder=f"GET /{number}").close()
    with pool.connection(holder="GET /new"):
        endpoints = pool.stats().endpoints
    assert len(endpoints) == 201
    assert endpoints["(others)"].checkouts == 101
    assert pool.stats().use_seconds.count == 301


def test_opening_is_timed(make_pool: MakePool) -> None:
    pool = make_pool()
    with pool.connection(), pool.connection():
        pass
    created = pool.stats().create_seconds
    assert created.count == 2
    assert 0 < created.max < 10


def test_program_name_joins_the_servers_view(
    make_app: MakeApp, make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []

    def connect(self: t.Any, deadline: float, role: t.Any = None) -> None:
        names.append(self._connect_attrs.get("program_name"))
        raise AssertionError("enough")

    target = "flask_mysqlpool.driver.session.Session.log_in"
    monkeypatch.setattr(target, connect)
    apps = [make_app(), make_app(program_name="mine")]
    for app in apps:
        with pytest.raises(AssertionError):
            pool_of(app).connection()
    with pytest.raises(AssertionError):
        make_pool().connection()
    pid = os.getpid()
    assert names == [f"{apps[0].name}:{pid}", "mine", f"flask_mysqlpool:{pid}"]


def test_flask_app_is_not_kept_alive_by_its_control(make_app: MakeApp) -> None:
    app = flask.Flask("short_lived")
    app.config["MYSQLPOOL_URL"] = "mysql://nobody@127.0.0.1:1/"
    MySQLPool(app)
    pools = weakref.ref(app.extensions["mysqlpool"])
    del app
    gc.collect()
    assert pools() is None


def test_nothing_that_a_client_invents_is_a_holder(make_app: MakeApp) -> None:
    app = make_app()
    app.before_request(lambda: execute(get_db(), "SELECT 1") and None)
    for number in range(3):
        app.test_client().open(f"/secret-{number}", method=f"M{number}")
    assert list(pool_of(app).stats().endpoints) == ["no endpoint"]


def test_methods_that_a_client_invents_are_one_holder(make_app: MakeApp) -> None:
    app = make_app()
    app.url_map.add(Rule("/any", endpoint="any"))  # of any method

    @app.endpoint("any")
    def take() -> str:
        get_db()
        return ""

    client = app.test_client()
    for number in range(300):
        assert client.open("/any", method=f"BREW{number}").status_code == 200
    for method in ("GET", "post", "DELETE"):
        client.open("/any", method=method)
    counted = pool_of(app).stats().endpoints
    assert counted.keys() == {"other any", "GET any", "POST any", "DELETE any"}
    assert counted["other any"].checkouts == 300


def test_dedicated_connection_has_a_holder(make_app: MakeApp) -> None:
    app = make_app()

    @app.get("/")
    def view() -> str:
        with pool_of(app).dedicated_connection():
            holder = only(pool_of(app).holders())
        return f"{holder.holder}, {holder.taken[-1]}"

    expected = f"GET view, {line_of(view, 2)}"
    assert app.test_client().get("/").text == expected


def test_working_directory_may_be_gone(
    make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()
    gone = tmp_path / "release"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with take(pool):
        assert only(pool.holders(stacks=True)).taken == [line_of(take, 1)]
    monkeypatch.undo()


def test_values_of_many_rows_are_not_shown(make_pool: MakePool) -> None:
    # In this encoding the second byte of a character may be a backslash.
    pool = make_pool(charset="cp932")
    with pool.connection() as db, db.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE p (a VARCHAR(99), b VARCHAR(99))")
        rows = [("表", "hunter two"), ("card", "表")]
        cursor.executemany("INSERT INTO p VALUES (%s, %s)", rows)
        statement = only(pool.holders()).statement
    assert statement == "INSERT INTO p VALUES (%s, %s)"


def test_statement_is_read_in_the_mode_that_it_was_sent_in(
    make_pool: MakePool,
) -> None:
    pool = make_pool()
    with pool.connection() as db:
        execute(db, "SET @x = 'a\\' secret', sql_mode = 'NO_BACKSLASH_ESCAPES'")
        assert only(pool.holders()).statement == "SET @x = ?, sql_mode = ?"
        execute(db, "SET @x = 'a\\', @y = 'secret'")
        assert only(pool.holders()).statement == "SET @x = ?, @y = ?"


def test_statement_is_not_kept_whole(make_pool: MakePool) -> None:
    pool = make_pool()
    with pool.connection() as db:
        execute(db, f"SELECT LENGTH('{'x' * 1_000_000}')")
        assert len(db.session.last_statement) == 20_001
        assert only(pool.holders()).statement == "SELECT …"


def test_checkouts_never_go_down(make_pool: MakePool, mysql_url: str) -> None:
    pool = make_pool(ping_after=0, timeout=1)
    pool.connection().close()
    seen = []

    def fail(*_: object) -> bool:
        seen.append(pool.stats().checkouts)
        return False

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("flask_mysqlpool.driver.session.Session.validate", fail)
        pool.connection().close()
    seen.append(pool.stats().checkouts)
    assert seen == sorted(seen)
    assert seen[-1] == 2


def test_refused_caller_shows_that_the_pool_is_exhausted(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, max_waiting=1, timeout=30)
    with pool.connection() as held:
        thread = threading.Thread(target=lambda: pool.connection().close())
        thread.start()
        wait_until(lambda: pool.stats().waiting)
        with pytest.raises(PoolFull):
            pool.connection()
        assert pool.stats().queued == 2
        held.close()
        thread.join()


def test_check_of_a_connection_is_not_its_use(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(ping_after=0)
    pool.connection().close()
    later = time.monotonic() + 50
    monkeypatch.setattr("flask_mysqlpool.pool.checkout.monotonic", lambda: later)
    db = pool.connection()
    monkeypatch.undo()
    assert db.entry is not None
    assert db.entry.lent_at == later
    db.entry.lent_at = 0
    db.close()
