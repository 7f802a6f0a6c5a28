"""A transaction() block that is interrupted, at any moment: what the connection changes
next is committed, or that raises.
"""

from __future__ import annotations

import contextlib
import dis
import os
import sys
import types
import typing as t
from collections.abc import Callable

import pytest
from pymysql import err

from flask_mysqlpool.pool import blocks
from flask_mysqlpool.pool.block import Block
from flask_mysqlpool.pool.pooled_connection import PooledConnection

from ...support.fake_session import connector_of
from ...support.fake_session import fake_pool
from ...support.simulation_threads import handler
from ...support.simulation_threads import Interrupt

_T = t.TypeVar("_T")

TRACED = (os.path.dirname(blocks.__file__), contextlib.__file__)
SIGNALS = ("CALL", "JUMP_ABSOLUTE", "JUMP_BACKWARD", "POP_JUMP_BACKWARD", "RESUME")


def interrupted_at(number: int, call: Callable[[_T], object], argument: _T) -> bool:
    """Interrupt ``call`` at moment ``number`` of the pool's code; return whether it had
    so many.

    Python looks for signals after a call, after a jump back and where a function
    begins. Where an ``__exit__`` begins is left out: no ``with`` statement is proof
    against that.
    """
    moments = 0
    last: dict[types.FrameType, int] = {}

    def trace(frame: types.FrameType, event: str, value: object) -> t.Any:
        nonlocal moments
        code = frame.f_code
        if not code.co_filename.startswith(TRACED) or code.co_name == "__del__":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            at = last.get(frame, -1)
            last[frame] = frame.f_lasti
            before = dis.opname[code.co_code[at]] if at >= 0 else "RESUME"
            begins_exit = code.co_name == "__exit__" and before == "RESUME"
            same = handler(code, at) == handler(code, frame.f_lasti)
            if before.startswith(SIGNALS) and same and not begins_exit:
                moments += 1
                if moments == number:
                    last.clear()
                    raise Interrupt  # which ends the tracing
        return trace

    earlier = sys.gettrace()
    sys.settrace(trace)
    try:
        call(argument)
    except Interrupt:
        return True
    finally:
        sys.settrace(earlier)
        last.clear()
    return False


def enter(block: Block[PooledConnection]) -> None:
    with block:
        pass


def empty(db: PooledConnection) -> None:
    with db.transaction():
        pass


def nested(db: PooledConnection) -> None:
    with db.transaction(), db.transaction():
        db.query("UPDATE t SET v = 1")


def rolled_back(db: PooledConnection) -> None:
    with contextlib.suppress(ZeroDivisionError), db.transaction():
        db.query("UPDATE t SET v = 1")
        raise ZeroDivisionError


@pytest.mark.parametrize("work", [empty, nested, rolled_back])
def test_no_change_after_an_interrupted_block_is_lost(
    work: Callable[[PooledConnection], None],
) -> None:
    number, interrupted = 0, True
    while interrupted:
        number += 1
        pool = fake_pool(max_size=1)
        db = pool.connection()
        interrupted = interrupted_at(number, work, db)
        try:
            with db.transaction():
                db.query("INSERT INTO t VALUES (1)")
        except err.Error:
            pass  # as where the interrupt has ended the connection
        else:
            calls = connector_of(pool).opened[0].calls
            assert calls[-1] == "COMMIT", (number, calls)
        db.close()
        pool.close()
    assert number > 30


@pytest.mark.parametrize("work", [empty, nested, rolled_back])
def test_interrupted_block_leaves_no_transaction_open(
    work: Callable[[PooledConnection], None],
) -> None:
    number, interrupted = 0, True
    while interrupted:
        number += 1
        pool = fake_pool(max_size=1)
        db = pool.connection()
        interrupted = interrupted_at(number, work, db)
        try:
            db.query("INSERT INTO t VALUES (1)")
        except err.Error:
            pass  # as where the interrupt has ended the connection
        else:
            calls = connector_of(pool).opened[0].calls
            ends = [each for each in calls if each in ("BEGIN", "COMMIT", "ROLLBACK")]
            assert ends[-1:] != ["BEGIN"], (number, calls)
        db.close()
        pool.close()
    assert number > 30


def test_block_object_that_was_interrupted_and_is_kept_is_no_open_block() -> None:
    number, interrupted = 0, True
    while interrupted:
        number += 1
        pool = fake_pool(max_size=1)
        db = pool.connection()
        block = db.transaction()
        interrupted = interrupted_at(number, enter, block)
        assert not db.in_block, number
        db.close()
        pool.close()
    assert number > 30
