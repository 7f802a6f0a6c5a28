"""The socket of a process comes with its pools and goes with them."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import typing as t
from collections.abc import Callable
from pathlib import Path

from flask_mysqlpool import Pool
from flask_mysqlpool.config.settings import Settings
from flask_mysqlpool.control.commands import answer
from flask_mysqlpool.control.commands import ask_stats
from flask_mysqlpool.control.server import Control
from flask_mysqlpool.control.server import Pools

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
