"""Checks what the running workers answer: that they do, waiting callers, leaks."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

from ..control.client import merged
from ..control.client import Reply
from ..stats.readings import PoolStats
from .findings import Finding
from .sizing import Demand
from .sizing import longest_holder

EXHAUSTION_WINDOW = 300.0  # seconds for which an exhausted pool is reported
SAMPLE_INTERVAL = 1.0  # seconds between the two readings of a demand
OTHER_FILES = 20  # that a worker has open besides: listeners, clients, its log

Replies = list[Reply[PoolStats]]


def check_workers(binds: list[str], replies: Replies) -> Finding:
    silent = [reply for reply in replies if reply.error]
    if silent:
        text = "; ".join(reply.complaint for reply in silent)
        change = "check whether the process is stopped or its threads are blocked"
        return Finding(binds, "workers", "error", text, change)
    if not replies:
        change = "run this as their user, with their settings and on their machine"
        return Finding(binds, "workers", "unknown", "no worker was reached", change)
    if short := [text for reply in replies if (text := _short_of_files(reply))]:
        change = (
            "raise the workers' limit of open files (ulimit -n, LimitNOFILE= of"
            " systemd) or lower MYSQLPOOL_MAX_SIZE"
        )
        return Finding(binds, "workers", "warning", "; ".join(short), change)
    many = len(replies) > 1
    text = f"{len(replies)} worker{'s' * many} answer{'s' * (not many)}"
    return Finding(binds, "workers", "ok", text)


def _short_of_files(reply: Reply[PoolStats]) -> str:
    """Say that the pools of a worker may open more sockets than its limit of open files
    lets it; nothing where they may not, or the limit cannot be read.
    """
    try:
        limit, _ = resource.prlimit(reply.pid, resource.RLIMIT_NOFILE)
    except (AttributeError, OSError):  # Linux has it, for processes of one's own
        return ""
    size = sum(reading.max_size for reading in reply.binds.values())
    if limit == resource.RLIM_INFINITY or size + OTHER_FILES <= limit:
        return ""
    return f"worker {reply.pid} may open {limit} files, its pools {size} connections"


def check_pools(
    binds: Iterable[str],
    before: Replies,
    ask: Callable[[], Replies],
    pause: Callable[[float], None],
    asked_at: float,
) -> Iterator[Finding]:
    """Check whether callers had to wait, and whether connections leak."""
    known = merged(before)
    totals = {bind: known[bind] for bind in binds if bind in known}
    after, seconds = before, 0.0
    if any(_exhausted(total) for total in totals.values()):
        pause(max(0.0, asked_at + SAMPLE_INTERVAL - time.monotonic()))
        after, seconds = ask(), time.monotonic() - asked_at
    for bind in binds:
        total = totals.get(bind)
        if total is None:
            for name in ("exhausted", "leaks"):
                yield Finding([bind], name, "unknown", "no worker answered")
            continue
        if _exhausted(total):
            pairs = _pairs(bind, before, after)
            yield _exhaustion(bind, total, pairs, seconds)
        else:
            minutes = f"{EXHAUSTION_WINDOW / 60:.0f} minutes"
            text = f"no caller had to wait in the last {minutes}"
            yield Finding([bind], "exhausted", "ok", text)
        yield _leaks(bind, total)


def _exhausted(total: PoolStats) -> bool:
    return total.exhausted_ago is not None and total.exhausted_ago < EXHAUSTION_WINDOW


def _pairs(
    bind: str, before: Replies, after: Replies
) -> list[tuple[PoolStats, PoolStats]]:
    """Return both readings of each worker that answered twice."""
    first = {reply.pid: reply.binds.get(bind) for reply in before}
    second = {reply.pid: reply.binds.get(bind) for reply in after}
    return [(a, b) for pid, b in second.items() if b and (a := first.get(pid))]


def _exhaustion(
    bind: str,
    total: PoolStats,
    pairs: list[tuple[PoolStats, PoolStats]],
    seconds: float,
) -> Finding:
    """Describe the demand, the size that it needs, and the longest holder."""
    before = PoolStats.merged(a for a, _ in pairs)
    after = PoolStats.merged(b for _, b in pairs)
    demand = Demand.between(before, after, seconds)
    text = (
        f"a caller had to wait {total.exhausted_ago or 0:.0f} s ago; since the workers"
        f" started, {total.queued} of {total.checkouts} checkouts waited and"
        f" {total.timeouts} timed out. "
    )
    text += f"Now {demand}" if demand else _describe_stall(after)
    changes = [*_advise_size(demand, after, len(pairs)), *_advise_endpoint(total)]
    if demand is None and after.in_use:
        changes.append(f"`flask pool who --stack --bind {bind}` shows the holders")
    return Finding([bind], "exhausted", "warning", text, "; ".join(changes))


def _advise_size(
    demand: Demand | None, reading: PoolStats, workers: int
) -> Iterator[str]:
    if demand is not None:
        needed, have = demand.size(workers), reading.max_size // workers
        if needed > have:
            yield f"set MYSQLPOOL_MAX_SIZE to {needed} or more (it is {have})"
        else:
            yield f"MYSQLPOOL_MAX_SIZE ({have}) is enough on average, but not for peaks"


def _advise_endpoint(total: PoolStats) -> Iterator[str]:
    name, share = longest_holder(total)
    if share:
        p99 = total.endpoints[name].use_seconds.percentile(0.99)
        part = f"{share:.0%} of the time that connections are held"
        yield f"shorten {name}: {part}, p99 {p99:.3f} s"


def _describe_stall(reading: PoolStats) -> str:
    uses = reading.use_seconds
    return (
        f"Now no connection is returned: {reading.in_use} are checked out, the oldest"
        f" for {reading.oldest_use_seconds:.1f} s, and {reading.waiting} callers wait;"
        f" earlier ones were held {uses.mean:.3f} s on average,"
        f" p99 {uses.percentile(0.99):.3f} s"
    )


def _leaks(bind: str, total: PoolStats) -> Finding:
    if not total.leaks:
        text = "no connection was held longer than MYSQLPOOL_LEAK_AFTER"
        return Finding([bind], "leaks", "ok", text)
    text = (
        f"{total.leaks} held longer than MYSQLPOOL_LEAK_AFTER since the workers"
        f" started; the oldest checkout now lasts {total.oldest_use_seconds:.1f} s"
    )
    change = f"`flask pool who --stack --bind {bind}` shows holders and stacks"
    return Finding([bind], "leaks", "warning", text, change)
