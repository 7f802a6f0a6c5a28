"""The socket of a process comes with its pools and goes with them."""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import sys
import threading
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_mysqlpool import Pool
from flask_mysqlpool.config.settings import Settings
from flask_mysqlpool.control.client import ask_stats
from flask_mysqlpool.control.commands import answer
from flask_mysqlpool.control.server import Control
from flask_mysqlpool.pool.pools import Pools

from ...support.control_workers import assert_well
from ...support.control_workers import Worker
from ...support.waiting import wait_until


def test_sockets_of_dead_processes_are_swept(
    address: str, folder: Path, publish: Callable[[], Worker]
) -> None:
    for number in range(3):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(folder / f"{1000 + number}.0.sock"))
    assert_well(folder)
    assert [str(path) for path in folder.iterdir()] == [address]


def test_other_files_are_left_alone(address: str, folder: Path) -> None:
    for name in ("notes.txt", "x.sock", ".sock", "-1.0.sock", "1000.0.sock.new"):
        (folder / name).touch()
    assert_well(folder)
    assert len(list(folder.iterdir())) == 6


def waits_for_a_question(thread: threading.Thread) -> bool:
    frame = sys._current_frames()[t.cast(int, thread.ident)]
    return frame.f_code.co_name == "accept"


def test_socket_goes_with_the_pools(
    base: Path, folder: Path, publish: Callable[[], Worker]
) -> None:
    pools = Pools({"default": Pool(Settings.from_config({})["default"])})
    threads = set(threading.enumerate())
    Control(lambda: folder, pools, answer).publish(pools["default"])
    (thread,) = set(threading.enumerate()) - threads
    assert ask_stats(folder)
    wait_until(lambda: waits_for_a_question(thread))
    del pools
    gc.collect()
    assert list(folder.iterdir()) == []
    wait_until(lambda: not thread.is_alive())


def test_withdrawn_process_answers_no_more(
    folder: Path, publish: Callable[[], Worker]
) -> None:
    worker = publish()
    worker.control.withdraw()
    worker.control.withdraw()
    assert ask_stats(folder) == []
    assert list(folder.iterdir()) == []


def test_child_keeps_no_socket_of_its_parent_open(
    folder: Path, publish: Callable[[], Worker]
) -> None:
    ready, over = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            publish()
            if os.fork() == 0:  # lives on without using a pool
                os.write(ready[1], b"r")
                os.close(over[1])
                os.read(over[0], 1)
            else:
                os.read(ready[0], 1)
        finally:
            os._exit(0)
    try:
        os.waitpid(child, 0)
        assert len(list(folder.iterdir())) == 1
        assert ask_stats(folder) == []
    finally:
        for end in (*ready, *over):
            os.close(end)  # lets the grandchild end


def test_child_answers_under_its_own_pid_once_it_uses_a_pool(
    folder: Path, publish: Callable[[], Worker]
) -> None:
    worker = publish()
    asked, answer = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            os.read(asked[0], 1)
            worker.control.publish(worker.pools["default"])
            os.write(answer[1], b"p")
            os.read(asked[0], 1)
            worker.control.withdraw()
        finally:
            os._exit(0)
    try:
        assert_well(folder)  # the child listens on nothing of its parent's
        os.write(asked[1], b"p")
        assert os.read(answer[0], 1) == b"p"
        assert {worker.pid for worker in ask_stats(folder)} == {os.getpid(), child}
    finally:
        os.write(asked[1], b"e")
        os.waitpid(child, 0)
        for end in (*asked, *answer):
            os.close(end)
    assert len(list(folder.iterdir())) == 1
    assert_well(folder)


@pytest.mark.parametrize("amid", [False, True])
def test_child_of_a_fork_without_hooks_answers_for_itself(
    amid: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uWSGI forks in C: after its parent's first use of a pool, or amid it."""
    pools = Pools({"default": Pool(Settings.from_config({})["default"])})
    ready, over = os.pipe(), os.pipe()

    def fork_and_use() -> None:  # pragma: no cover
        child = ctypes.PyDLL(None).fork()
        if child:  # ends first, without removing its socket
            if not select.select([ready[0]], [], [], 10)[0]:
                os.kill(child, signal.SIGKILL)
            os._exit(0)
        monkeypatch.undo()
        control.publish(pools["default"])
        os.write(ready[1], b"%d" % os.getpid())
        os.close(over[1])
        os.read(over[0], 1)
        os._exit(0)

    amid_use = [fork_and_use] if amid else []

    def find() -> Path:
        while amid_use:
            amid_use.pop()()
        return folder

    control = Control(find, pools, answer)
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            # A thread that waits for the GIL would be missing after the fork.
            monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
            control.publish(pools["default"])
            fork_and_use()
        finally:
            os._exit(0)
    try:
        os.waitpid(child, 0)
        assert select.select([ready[0]], [], [], 0)[0], "the grandchild was blocked"
        (reply,) = ask_stats(folder)
        assert (reply.pid, reply.error) == (int(os.read(ready[0], 10)), "")
    finally:
        for end in (*ready, *over):
            os.close(end)  # lets the grandchild end
