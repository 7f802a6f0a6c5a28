"""Puts the pool's modules into a simulated world."""

from __future__ import annotations

import gc
import logging
import sys
import types
import typing as t
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flask_mysqlpool.pool import checkout
from flask_mysqlpool.pool import circuit_breaker
from flask_mysqlpool.pool import entry
from flask_mysqlpool.pool import maintenance
from flask_mysqlpool.pool import pool as pool_module
from flask_mysqlpool.pool import pooled_connection
from flask_mysqlpool.pool import slots
from flask_mysqlpool.pool import waiter

from .simulation_server import SimulatedServer
from .simulation_threads import Scheduler
from .simulation_threads import SimulatedThreading


@contextmanager
def simulated(scheduler: Scheduler, server: SimulatedServer) -> Iterator[None]:
    """Put the pool's modules into a simulated world."""
    plain = SimulatedThreading(scheduler)
    dice = types.SimpleNamespace(uniform=scheduler.random.uniform)
    modules: tuple[t.Any, ...] = (slots, waiter, circuit_breaker, pool_module)
    logger = logging.getLogger("flask_mysqlpool")
    level = logger.level
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            patch.setattr(module, "threading", plain)
        patch.setattr(pooled_connection, "Lock", plain.Lock)
        for module in (checkout, maintenance, pool_module):
            patch.setattr(module, "monotonic", scheduler.clock)
        for module in (checkout, circuit_breaker, entry):
            patch.setattr(module, "random", dice)
        for module in (pool_module, pooled_connection):
            patch.setattr(module, "getpid", server.getpid)
        patch.setattr(sys, "unraisablehook", lambda *_: None)
        logger.setLevel(logging.CRITICAL)
        gc.collect()
        gc.freeze()  # what was there before costs the collections nothing
        gc.disable()
        try:
            yield
        finally:
            gc.enable()
            logger.setLevel(level)
