"""``stats --watch`` shows the recent past of workers that come and go."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flask_mysqlpool.cli import watch as watch_module
from flask_mysqlpool.cli.watch import ASCII_BARS
from flask_mysqlpool.cli.watch import BARS
from flask_mysqlpool.cli.watch import bars
from flask_mysqlpool.cli.watch import pace
from flask_mysqlpool.cli.watch import Watch
from flask_mysqlpool.control.client import Reply
from flask_mysqlpool.stats.readings import EndpointStats
from flask_mysqlpool.stats.readings import PoolStats


def worker(pid: int, checkouts: int, in_use: int = 0, waiting: int = 0) -> Reply:  # type: ignore[type-arg]
    reading = PoolStats(
        checkouts=checkouts,
        in_use=in_use,
        waiting=waiting,
        max_size=4,
        endpoints={"GET accounts": EndpointStats(checkouts)},
    )
    return Reply(pid, {"default": reading})


def screen(watch: Watch, width: int = 80, height: int = 24) -> list[str]:
    """Return what a terminal shows."""
    console = Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=True,
        color_system=None,
    )
    console.print(watch)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


def plain(watch: Watch) -> str:
    console = Console(file=io.StringIO(), width=80)
    for line in watch.lines():
        console.print(line, soft_wrap=True)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def rates(watch: Watch, bind: str = "default") -> list[float]:
    return list(watch.binds[bind].rate)


def test_rate_is_what_was_lent_between_two_readings() -> None:
    watch = Watch(["default"])
    watch.add([worker(41, 1000), worker(42, 500)], 10.0)
    assert rates(watch) == []
    watch.add([worker(41, 1010), worker(42, 530)], 12.0)
    assert rates(watch) == [20.0]


def test_workers_come_and_go() -> None:
    watch = Watch(["default"])
    watch.add([worker(41, 1000)], 0.0)
    watch.add([worker(42, 7)], 1.0)  # new, and all of its own since
    watch.add([], 2.0)
    watch.add([worker(42, 3)], 3.0)  # the number of a dead one, used again
    assert rates(watch) == [7.0, 0.0, 3.0]
    text = "\n".join(screen(watch))
    assert " 42 " in text and " 41 " not in text


def test_worker_that_answers_again_makes_no_peak() -> None:
    watch = Watch(["default"])
    silent: Reply[PoolStats] = Reply(41, error="not answering (timed out)")
    watch.add([worker(41, 1000)], 0.0)
    watch.add([silent], 1.0)
    assert "Worker 41 is not answering (timed out)" in screen(watch)
    watch.add([worker(41, 1004)], 2.0)
    assert rates(watch) == [0.0, 4.0]


def test_bars_show_the_past_at_80_columns() -> None:
    watch = Watch(["default"])
    for second in range(200):
        reading = worker(41, 100 * second, in_use=second % 5, waiting=second % 3)
        watch.add([reading], float(second))
    lines = screen(watch)
    assert all(len(line) <= 80 for line in lines)
    in_use, waiting, rate = lines[-3:]
    assert in_use.split()[:3] == ["in", "use", "4"] and in_use.endswith("of 4")
    assert waiting.split()[:2] == ["waiting", "1"] and waiting.endswith("peak 2")
    assert rate.split()[:2] == ["checkouts/s", "100"] and rate.endswith("peak 100")
    assert "▁▃▅▇█▁▃▅▇█" in in_use.replace("▆", "▅").replace("▂", "▃").replace("▄", "▅")
    assert in_use.count("█") >= 9 and set(rate.split()[2]) == {"█"}


def test_latest_is_on_the_right() -> None:
    watch = Watch(["default"])
    for second in range(100):
        watch.add([worker(41, 0, in_use=4 * (second == 99))], float(second))
    in_use = screen(watch)[-3]
    assert in_use.removesuffix(" of 4").endswith("▁▁▁█")


def test_only_nothing_looks_like_nothing() -> None:
    assert bars([0, 0.001, 1, 8], 8) == "▁▂▂█"
    assert bars([0, 0], 0) == "▁▁"
    assert bars([5], 4) == "█"  # a pool that was made smaller
    assert bars([0, 1], 1, ASCII_BARS) == "_#"
    assert len(BARS) == len(ASCII_BARS)


@pytest.mark.parametrize("binds", [1, 2, 4])
@pytest.mark.parametrize("endpoints", [False, True])
def test_many_workers_fit_into_the_terminal(binds: int, endpoints: bool) -> None:
    names = ["default", "b", "c", "d"][:binds]
    watch = Watch(names, endpoints)
    for second in range(3):
        replies = []
        for pid in range(100, 140):
            reading = worker(pid, 10 * second, in_use=pid % 4).binds["default"]
            reading.endpoints = {f"GET {n}": EndpointStats() for n in range(40)}
            replies.append(Reply(pid, dict.fromkeys(names, reading)))
        watch.add(replies, float(second))
    lines = screen(watch)
    assert len(lines) <= 24 - 1  # the heading has one
    assert sum(line.startswith("     in use ") for line in lines) == binds
    assert sum(line.endswith(" not shown") for line in lines) == binds


def test_plain_text_has_the_numbers() -> None:
    watch = Watch(["default", "reports"])
    watch.add([worker(41, 0)], 0.0)
    assert "0 of 4 in use, 0 waiting, - checkouts/s" in plain(watch)
    watch.add([worker(41, 5, in_use=3, waiting=2)], 2.0)
    text = plain(watch)
    assert "3 of 4 in use, 2 waiting, 2.5 checkouts/s" in text
    assert "Pool default" in text and "Pool reports" in text
    assert "\x1b" not in text and not set(BARS) & set(text)


def test_endpoints_instead_of_workers() -> None:
    watch = Watch(["default"], endpoints=True)
    watch.add([worker(41, 5)], 0.0)
    text = "\n".join(screen(watch))
    assert "GET accounts" in text and "worker" not in text


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_pace_is_kept_whatever_the_work_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(watch_module, "time", clock)
    times = pace(2.0)
    assert next(times) == 100.0
    clock.now += 0.5  # work
    assert next(times) == 102.0
    clock.now += 3.0  # a worker that does not answer
    assert next(times) == 105.0
    assert next(times) == 107.0, "nothing is caught up with"
