"""A return waits for no answer of the server, whatever becomes of the connection."""

from __future__ import annotations

import typing as t

import pytest

from flask_mysqlpool.driver.session_state import AUTOCOMMIT
from flask_mysqlpool.driver.session_state import SESSION_STATE_CHANGED
from flask_mysqlpool.pool import pool as pool_module
from flask_mysqlpool.pool.checkout import QUIT_TIMEOUT

from ...support.scripted_server import IN_TRANS
from ...support.scripted_server import ok
from ...support.scripted_server import scripted_pool
from ...support.scripted_server import ScriptedServer
from ...support.scripted_server import ScriptedSocket


@pytest.mark.parametrize("why", ["usage", "lifetime", "recycled", "surplus", "closed"])
def test_connection_that_retires_waits_for_no_answer(
    script: ScriptedServer, why: str
) -> None:
    script.answer_at("ROLLBACK", [])
    settings: dict[str, t.Any] = {"max_usage": 1} if why == "usage" else {}
    pool = scripted_pool(max_lifetime=60, **settings)
    with pool.connection(), pool.connection() as db:
        with db.cursor() as cursor:
            cursor.execute("INSERT")
        if why == "lifetime":
            script.clock.now += 60
        elif why == "recycled":
            pool.recycle()
        elif why == "surplus":
            pool.resize(1)
        elif why == "closed":
            pool.close()
        began = script.clock.now
        db.close()
    assert script.clock.now == began
    insert = b"\3INSERT"
    after = script.sockets[1].sent.partition(insert)[2]
    assert after == b"\1\0\0\0\1"  # COM_QUIT alone
    assert pool.stats().closed[why] >= 1
    pool.close()
    assert not script.open


def test_return_that_turns_out_to_retire_waits_for_no_reply(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.answer_at("ROLLBACK", [])
    pool = scripted_pool()
    db = pool.connection()
    db.cursor().execute("INSERT")
    start_reset = type(db.session).start_reset

    def recycled_meanwhile(session: t.Any, mode: str) -> bool:
        pool.recycle()
        return start_reset(session, mode)

    monkeypatch.setattr(type(db.session), "start_reset", recycled_meanwhile)
    began = script.clock.now
    db.close()
    assert script.clock.now == began
    assert script.sockets[0].sent.endswith(b"\x03ROLLBACK\1\0\0\0\1")
    assert not script.open


def test_closing_waits_for_replies_no_longer_than_its_limit(
    script: ScriptedServer,
) -> None:
    script.answer_at("ROLLBACK", [])
    pool = scripted_pool()
    with pool.connection() as db, db.cursor() as cursor:
        cursor.execute("INSERT")
    began = script.clock.now
    pool.close()
    assert script.clock.now <= began + QUIT_TIMEOUT
    assert script.sockets[0].sent.endswith(b"\x03ROLLBACK\1\0\0\0\1")
    assert not script.open


def test_exit_gives_all_pools_one_deadline(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = [scripted_pool() for _ in range(3)]
    for pool in pools:
        pool.connection().close()

    def block(sock: t.Any, data: bytes, flags: int = 0) -> t.NoReturn:
        script.clock.now += sock.gettimeout()
        raise TimeoutError("timed out")

    monkeypatch.setattr(ScriptedSocket, "sendall", block)
    monkeypatch.setattr(pool_module, "_pools", pools)
    began = script.clock.now
    pool_module._at_exit()
    assert script.clock.now <= began + QUIT_TIMEOUT + 0.01
    assert not script.open


def test_return_does_not_wait_for_a_server_that_takes_nothing(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = scripted_pool()
    db = pool.connection()
    db.cursor().execute("INSERT")
    sock = script.sockets[0]
    limits: list[float | None] = []

    def block(data: bytes, flags: int = 0) -> int:
        raise BlockingIOError

    def block_for_long(data: bytes, flags: int = 0) -> None:
        limits.append(sock.gettimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr(sock, "send", block)
    monkeypatch.setattr(sock, "sendall", block_for_long)
    monkeypatch.setattr(db.session, "put", lambda data: 0)
    db.close()
    assert limits, "the reset was not sent"
    assert all(limit is not None and limit <= 1.0 for limit in limits)
    assert pool.stats().size == 0
    assert not script.open


def test_transaction_flag_is_read(script: ScriptedServer) -> None:
    """The scripted server is not so simple that a return has nothing to do."""
    pool = scripted_pool()
    with pool.connection() as db:
        db.cursor().execute("INSERT")
        assert db.session.server_status & IN_TRANS
    assert script.sockets[0].sent.endswith(b"ROLLBACK")
    pool.close()


def test_change_that_the_rollback_tells_of_is_reset(script: ScriptedServer) -> None:
    """MySQL reports what a stored function did with the next OK packet: that of the
    ROLLBACK, which is here already at the next checkout.
    """
    tracked = b"\0\4\2\2\0011"  # SESSION_TRACK_STATE_CHANGE
    status = AUTOCOMMIT | SESSION_STATE_CHANGED
    script.answer_at("ROLLBACK", [ok(status=status, rest=tracked)])
    pool = scripted_pool(max_size=1)
    with pool.connection() as db, db.cursor() as cursor:
        cursor.execute("INSERT")
    for _ in range(2):
        with pool.connection():
            after = script.sockets[0].sent.partition(b"\3ROLLBACK")[2]
            assert after.count(b"\1\0\0\0\x1f") == 1, "COM_RESET_CONNECTION"
    assert len(script.sockets) == 1
    pool.close()
