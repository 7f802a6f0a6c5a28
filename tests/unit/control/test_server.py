"""Each process answers on a socket that is its user's alone, whatever comes in."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import socket
import threading
import time
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_mysqlpool.control.client import ask_recycle
from flask_mysqlpool.control.client import ask_resize
from flask_mysqlpool.control.client import ask_stats
from flask_mysqlpool.control.client import merged
from flask_mysqlpool.control.runtime_dir import make_private
from flask_mysqlpool.stats.readings import PoolStats

from ...support.control_workers import assert_well
from ...support.control_workers import connect
from ...support.control_workers import impostor
from ...support.control_workers import Worker
from ...support.waiting import wait_until


def test_nobody_runs_where_there_is_no_folder(folder: Path) -> None:
    assert ask_stats(folder) == []
    assert not folder.exists()


def test_process_answers_for_all_its_pools(address: str, folder: Path) -> None:
    assert Path(address).name.startswith(f"{os.getpid()}.")
    assert os.stat(address).st_uid == os.geteuid()
    assert_well(folder)


def test_process_answers_on_one_socket_for_all_its_pools(
    publish: Callable[[], Worker], folder: Path
) -> None:
    worker = publish()
    (path,) = folder.iterdir()
    before, threads = path.stat().st_ino, threading.active_count()
    for pool in worker.pools.values():
        worker.control.publish(pool)
    (path,) = folder.iterdir()
    assert (path.stat().st_ino, threading.active_count()) == (before, threads)


def test_second_app_in_one_process_has_a_socket_of_its_own(
    publish: Callable[[], Worker], folder: Path
) -> None:
    publish()
    publish()
    workers = ask_stats(folder)
    assert [worker.pid for worker in workers] == 2 * [os.getpid()]
    assert merged(workers)["default"].max_size == 20


MALFORMED = {
    "nothing": b"",
    "an empty line": b"\n",
    "binary": bytes(range(256)),
    "binary line": b"\xff\xfe\x00\n",
    "huge": b"x" * 1_000_000,
    "huge line": b'{"command": "' + b"x" * 1_000_000 + b'"}\n',
    "deep": b"[" * 4000 + b"\n",
    "half": b'{"command": ',
    "no mapping": b"[1, 2]\n",
    "unknown": b'{"command": "stop"}\n',
    "unknown bind": b'{"command": "stats", "bind": "nope"}\n',
    "resize to what": b'{"command": "resize"}\n',
    "bind of a kind": b'{"command": "recycle", "bind": [1]}\n',
    "command of a kind": b'{"command": {"a": 1}}\n',
    "nan": b"NaN\n",
}


def test_ten_thousand_malformed_messages(address: str, folder: Path) -> None:
    dice = random.Random(5)
    seeds = [m for m in MALFORMED.values() if 0 < len(m) < 5000]
    threads = threading.active_count()
    for _ in range(10_000):
        message = bytearray(dice.choice(seeds)[: dice.randrange(1, 60)])
        message[dice.randrange(len(message))] = dice.randrange(256)
        with connect(address) as asker, contextlib.suppress(OSError):
            asker.sendall(message)
            asker.shutdown(socket.SHUT_WR)
            assert asker.recv(100) == b""
    assert_well(folder)
    wait_until(lambda: threading.active_count() <= threads)


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_message_changes_nothing(
    what: str, address: str, folder: Path
) -> None:
    for _ in range(3):
        with connect(address) as asker, contextlib.suppress(OSError):
            asker.sendall(MALFORMED[what])
            asker.shutdown(socket.SHUT_WR)
            assert asker.recv(100) == b""
        assert_well(folder)


def test_endless_message_is_cut_off(address: str, folder: Path) -> None:
    with connect(address) as asker, pytest.raises(OSError):
        for _ in range(1000):
            asker.sendall(b"x" * 10_000)
    assert_well(folder)


def test_silent_asker_delays_the_others_by_less_than_their_patience(
    address: str, folder: Path
) -> None:
    with connect(address) as silent:
        silent.sendall(b'{"comm')
        assert_well(folder)


def test_asker_that_does_not_listen_harms_nobody(address: str, folder: Path) -> None:
    for _ in range(10):
        with connect(address) as asker:
            asker.sendall(b'{"command": "stats"}\n')
    assert_well(folder)


def test_message_may_come_in_pieces(address: str) -> None:
    with connect(address) as asker:
        for byte in b'{"command": "stats"}\n':
            asker.send(bytes([byte]))
        answer = asker.makefile("rb").readline()
    assert json.loads(answer)["pid"] == os.getpid()


def test_process_without_a_descriptor_to_spare_answers_later(
    address: str, folder: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        askers = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in "123"]
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            for asker in askers:
                asker.settimeout(0.3)
                asker.connect(address)
                asker.sendall(b'{"command": "stats"}\n')
            # The first may have a descriptor that was set aside for it before.
            with pytest.raises(TimeoutError):
                askers[2].recv(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for asker in askers:
            asker.settimeout(5)
            assert asker.recv(1) == b"{"
    assert_well(folder)


@pytest.mark.parametrize(
    "said",
    [
        b"\n",
        b"\xff\n",
        b"[]\n",
        b"null\n",
        b"{}\n",
        b'{"binds": 1}\n',
        b'{"binds": {"default": {}}}\n',
        b'{"binds": {"default": {"wait_seconds": {"counts": {"9999": 1}}}}}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_answer_that_makes_no_sense_is_listed_as_none(
    said: bytes, folder: Path, publish: Callable[[], Worker]
) -> None:
    publish()
    with impostor(folder, said):
        strange, own = ask_stats(folder)
    assert strange.pid == 999
    assert strange.complaint.startswith("worker 999: answered rubbish")
    assert strange.binds == {}
    assert own.error == ""


def test_workers_that_do_not_answer_are_given_a_second_in_all(folder: Path) -> None:
    make_private(folder)
    pids = [997, 998, 999]
    with contextlib.ExitStack() as stack:
        for pid in pids:
            hung = stack.enter_context(socket.socket(socket.AF_UNIX))
            hung.bind(str(folder / f"{pid}.0.sock"))
            hung.listen()
        began = time.monotonic()
        workers = ask_stats(folder)
        assert 0.9 < time.monotonic() - began < 2
    assert [worker.pid for worker in workers] == pids
    assert {worker.error for worker in workers} == {"not answering (timed out)"}


def test_answer_that_is_too_long_is_not_read_to_its_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_mysqlpool.control.client.MAX_ANSWER", 100)
    with impostor(folder, b'{"binds": {}, "x": "' + 100 * b"x" + b'"}\n'):
        (reply,) = ask_stats(folder)
    assert reply.error.startswith("answered rubbish")


def test_all_workers_are_asked_before_the_first_has_answered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_private(folder)
    pids = [*range(900, 932)]
    answer = json.dumps({"binds": {"default": PoolStats(size=1).pack()}}).encode()
    with contextlib.ExitStack() as stack:
        listeners = []
        for pid in pids:
            listeners.append(stack.enter_context(socket.socket(socket.AF_UNIX)))
            listeners[-1].bind(str(folder / f"{pid}.0.sock"))
            listeners[-1].listen()
            listeners[-1].settimeout(5)

        def serve() -> None:
            askers = [listener.accept()[0] for listener in listeners]
            for asker in askers:
                with asker:
                    assert asker.recv(100).endswith(b"\n")
                    for part in (answer[:7], answer[7:], b"\n"):
                        asker.sendall(part)

        thread = threading.Thread(target=serve)
        thread.start()
        monkeypatch.setattr(threading.Thread, "start", refuse_to_start)
        workers = ask_stats(folder)
        thread.join()
    assert [(worker.pid, worker.error) for worker in workers] == [(p, "") for p in pids]
    assert merged(workers)["default"].size == len(pids)


def refuse_to_start(thread: threading.Thread) -> t.NoReturn:
    raise AssertionError("a thread for each question")


def test_silent_askers_delay_nobody(address: str, folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(address))
        assert_well(folder)


def test_resize_is_for_all_binds_or_none(
    publish: Callable[[], Worker], folder: Path
) -> None:
    pools = publish().pools
    object.__setattr__(pools["reports"].settings, "min_size", 3)
    (reply,) = ask_resize(folder, 2)
    assert reply.error.startswith("pool 'reports': max_size must be")
    assert [pool.stats().max_size for pool in pools.values()] == [10, 4]
    (reply,) = ask_resize(folder, 2, bind="default")
    assert reply.binds == {"default": {"was": 10, "max_size": 2}}
    (reply,) = ask_resize(folder, 7)
    assert reply.binds["reports"] == {"was": 4, "max_size": 7}
    assert ask_resize(folder, 7, pid=1) == []
    assert [pool.stats().max_size for pool in pools.values()] == [7, 7]


def test_recycle_tells_what_it_closes(folder: Path, publish: t.Any) -> None:
    publish()
    (reply,) = ask_recycle(folder)
    nothing = {"closed": 0, "at_return": 0}
    assert reply.binds == {"default": nothing, "reports": nothing}
