"""What another process answers costs a bounded amount of memory and time, and is
checked before anybody uses it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import threading
import tracemalloc
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_mysqlpool.control import client
from flask_mysqlpool.control.client import ask_holders
from flask_mysqlpool.control.client import ask_recycle
from flask_mysqlpool.control.client import ask_stats
from flask_mysqlpool.control.client import MAX_ANSWER
from flask_mysqlpool.control.server import MAX_ASKERS
from flask_mysqlpool.stats.holders import Holder
from flask_mysqlpool.stats.readings import EndpointStats
from flask_mysqlpool.stats.readings import PoolStats

from ...support.control_workers import assert_well
from ...support.control_workers import connect
from ...support.control_workers import impostor
from ...support.control_workers import Worker
from ...support.waiting import wait_until

CHUNK = b"[" * 65536
WRONG: list[t.Any] = [
    *(None, True, -1, 1.5, math.nan, math.inf, 10**30, "x", "1", [], [1], ["x"]),
    *({}, {"x": 1}, {"x": "y"}, {"x": -1}, {"x": None}, {"x": {}}, {1: 1}, [[]]),
    *({"counts": {}}, {"counts": [1], "max": 1.0}, {"counts": {"x": 1}, "max": 1.0}),
    *({"counts": {"1": "1"}, "max": 1.0}, {"counts": {"1": 1}, "max": "1"}),
    {str(number): EndpointStats().pack() for number in range(1000)},
]
RIGHT: dict[str, list[t.Any]] = {  # of the above, by type of the field
    "int": [],
    "float": [-1, 1.5],
    "float | None": [None, -1, 1.5],
    "bool": [True],
    "str": ["x", "1"],
    "list[str]": [[], ["x"]],
    "dict[str, int]": [{}, {"x": 1}],
    "dict[str, EndpointStats]": [{}],
    "Histogram": [],
}
HOLDER = Holder(1.0, "GET a", "t", "SELECT ?", True, 7, ["a"], ["b"]).as_dict()
KINDS: dict[t.Any, dict[str, t.Any]] = {
    PoolStats: PoolStats().pack(),
    EndpointStats: EndpointStats().pack(),
    Holder: HOLDER,
}


def same(one: t.Any, other: t.Any) -> bool:
    return type(one) is type(other) and one == other


@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind in KINDS for field in dataclasses.fields(kind)],
    ids=lambda value: getattr(value, "name", None) or value.__name__,
)
def test_value_of_a_wrong_type_is_no_answer(kind: t.Any, field: t.Any) -> None:
    right = RIGHT[field.type]
    for value in WRONG:
        packed = KINDS[kind] | {field.name: value}
        if any(same(value, each) for each in right):
            kind.unpack(packed)
            continue
        with pytest.raises((AttributeError, LookupError, TypeError, ValueError)):
            pytest.fail(f"{value!r} became {kind.unpack(packed)}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [None, 1, "x", [], [1], True])
def test_answer_of_a_wrong_type_is_none(kind: t.Any, value: t.Any) -> None:
    with pytest.raises((AttributeError, LookupError, TypeError, ValueError)):
        kind.unpack(value)


NO_ERRORS: list[t.Any] = [None, 1, [], {}, ""]
NO_BINDS: list[t.Any] = [None, 1, "x", [], [1], {}, {"a": 1.5}]
WRONG_ANSWERS: list[t.Any] = [
    *(None, 1, "x", [], {}, {"binds": None}, {"binds": []}, {"binds": [1]}),
    *({"binds": {"default": each}} for each in NO_BINDS),
    *({"error": each} for each in NO_ERRORS),
]
QUESTIONS: list[tuple[Callable[[Path], t.Any], t.Any]] = [
    (ask_stats, "none of them"),
    (ask_holders, []),
    (ask_recycle, {}),
]


@pytest.mark.parametrize(("question", "right"), QUESTIONS)
def test_each_question_has_its_own_answers(
    question: Callable[[Path], t.Any],
    right: t.Any,
    folder: Path,
    publish: Callable[[], Worker],
) -> None:
    publish()
    for answer in WRONG_ANSWERS:
        with impostor(folder, json.dumps(answer).encode() + b"\n"):
            strange, own = question(folder)
        if answer == {"binds": {"default": right}}:
            assert strange.error == ""
        else:
            assert strange.error.startswith("answered rubbish"), answer
        assert own.error == "" and own.binds.keys() == {"default", "reports"}


def test_process_that_closes_the_connection_says_nothing(folder: Path) -> None:
    with impostor(folder):
        (reply,) = ask_stats(folder)
    assert reply.complaint == ("worker 999 is not answering (it closed the connection)")


def test_error_that_is_long_is_cut(folder: Path) -> None:
    said = json.dumps({"error": "x" * 100_000}).encode() + b"\n"
    with impostor(folder, said):
        (reply,) = ask_stats(folder)
    assert len(reply.error) == client.MAX_ERROR


@contextlib.contextmanager
def little_memory(megabytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("number", [1, 20])
def test_endless_answers_are_read_to_a_limit_and_others_are_shown(
    number: int, folder: Path, publish: Callable[[], Worker]
) -> None:
    endless = [CHUNK] * 10_000  # 655 MB
    publish()
    with contextlib.ExitStack() as stack, little_memory(100):
        sent = [
            stack.enter_context(impostor(folder, *endless, pid=900 + pid))
            for pid in range(number)
        ]
        *replies, own = sorted(ask_stats(folder), key=lambda reply: not reply.error)
    assert [reply.pid for reply in replies] == [900 + pid for pid in range(number)]
    assert all(reply.error and not reply.binds for reply in replies)
    assert own.binds.keys() == {"default", "reports"}
    buffered = 4 * len(CHUNK)  # by the kernel
    assert all(sum(each) <= MAX_ANSWER + buffered for each in sent)


def test_answers_are_limited_in_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_ANSWERS", 10_000)
    packed = {"default": PoolStats().pack(), "x" * 3000: PoolStats().pack()}
    said = json.dumps({"binds": packed}).encode() + b"\n"
    with contextlib.ExitStack() as stack:
        for pid in range(901, 909):
            stack.enter_context(impostor(folder, said, pid=pid))
        replies = ask_stats(folder)
    assert sum(bool(reply.binds) for reply in replies) == 10_000 // len(said)
    assert sum(bool(reply.error) for reply in replies) == 8 - 10_000 // len(said)


def many_endpoints(number: int) -> bytes:
    one = {"counts": {"303": 1}, "max": 1}
    each = {"wait_seconds": one, "use_seconds": one}
    packed = PoolStats().pack() | {"endpoints": {f"{n}": each for n in range(number)}}
    return json.dumps({"binds": {"default": packed}}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "said",
    [
        b"[" * (MAX_ANSWER - 9),
        b"[" + b"[]," * (MAX_ANSWER // 3 - 9) + b"[]]",
        b'{"binds":' + b"9" * 1_000_000 + b"}",
        many_endpoints(15_000),
    ],
    ids=["deep", "wide", "long number", "endpoints"],
)
def test_answer_that_swells_when_it_is_read(said: bytes, folder: Path) -> None:
    assert len(said) < MAX_ANSWER
    with little_memory(150), impostor(folder, said, b"\n"):
        (reply,) = ask_stats(folder)
    assert reply.error.startswith("answered rubbish")


# The other side


def answering() -> int:
    return sum(each.name == "mysqlpool-answer" for each in threading.enumerate())


def test_askers_who_say_nothing_take_a_bounded_number_of_threads(
    address: str, folder: Path
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(2 * MAX_ASKERS):
            stack.enter_context(connect(address))
        seen = [0]

        def all_left() -> bool:  # each has its time
            seen.append(answering())
            return seen[-1] == 0 < max(seen)

        wait_until(all_left)
    assert max(seen) <= MAX_ASKERS
    assert_well(folder)


def test_asker_who_never_reads_is_left(
    publish: Callable[[], Worker], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = publish().control
    answered = itertools.count()

    def answer(pools: t.Any, request: t.Any) -> str:
        next(answered)
        return "x" * 2**23

    monkeypatch.setattr(control, "_answer_to", answer)
    (path,) = folder.iterdir()
    with connect(str(path)) as asker:
        asker.sendall(b'{"command": "stats"}\n')
        wait_until(lambda: answering() == 1)
        wait_until(lambda: answering() == 0)
    assert next(answered) == 1
