"""Checks whether the settings, the workers and the server fit together."""

from __future__ import annotations

import dataclasses
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping

from ..config.settings import FIELDS
from ..config.settings import Settings
from ..control.client import merged
from ..control.client import Reply
from ..stats.readings import PoolStats
from .server_info import query_servers
from .server_info import ServerInfo
from .sizing import Demand
from .sizing import longest_holder

# The first with session tracking and session resets.
MIN_VERSIONS = {"MariaDB": (10, 3), "MySQL": (8, 0)}
EXHAUSTION_WINDOW = 300.0  # seconds for which an exhausted pool is reported
SAMPLE_INTERVAL = 1.0  # seconds between the two readings of a demand
MAX_CLOCK_SKEW = 2.0  # seconds
MAX_MAINTENANCE_INTERVAL = 30.0  # seconds, of the housekeeper
FULL_UNICODE = {"utf8mb4", "utf16", "utf16le", "utf32", "gb18030"}

Replies = list[Reply[PoolStats]]
Servers = Mapping[str, ServerInfo | Exception]


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    :param binds: the binds that it concerns.
    :param verdict: "ok", "warning" or "error".
    :param text: what was found, with its numbers.
    :param change: what to change, empty if the verdict is "ok".
    """

    binds: list[str]
    check: str
    verdict: str
    text: str
    change: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        return dataclasses.asdict(self)


def run_checks(
    binds: Mapping[str, Settings],
    ask: Callable[[], Replies],
    query: Callable[[Mapping[str, Settings]], Servers] = query_servers,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Finding]:
    """Check each bind, each server and account, and the workers.

    :param ask: asks the running workers. If a pool was exhausted, it is called again
        after :data:`SAMPLE_INTERVAL`.
    """
    replies, asked_at = ask(), time.monotonic()
    servers = query(binds)
    reached = {b: info for b, info in servers.items() if isinstance(info, ServerInfo)}
    for bind, settings in binds.items():
        info = servers[bind]
        if isinstance(info, ServerInfo):
            yield Finding([bind], "connect", "ok", "can connect")
            yield _version(bind, info)
            yield _tls(bind, settings, info)
            yield _charset(bind, info)
            yield _wait_timeout(bind, settings, info)
        else:
            yield Finding([bind], "connect", "error", f"cannot connect: {info}")
        yield from _settings(bind, settings)
    for group in _grouped(reached, lambda info: info.identity):
        yield _clock(group, reached)
        yield _limit(group, binds, reached, replies)
    for group in _grouped(reached, lambda info: (info.identity, info.account)):
        yield _account(group, binds, reached, replies)
    yield _workers(list(binds), replies)
    yield from _pools(binds, replies, ask, pause, asked_at)


def _version(bind: str, info: ServerInfo) -> Finding:
    product = "MariaDB" if "MariaDB" in info.version else "MySQL"
    major, minor, *_ = info.version.split(".")
    if (int(major), int(minor)) >= MIN_VERSIONS[product]:
        return Finding([bind], "version", "ok", info.version)
    oldest = ".".join(map(str, MIN_VERSIONS[product]))
    text = f"{info.version} is too old to reset sessions"
    return Finding([bind], "version", "error", text, f"use {product} {oldest} or newer")


def _tls(bind: str, settings: Settings, info: ServerInfo) -> Finding:
    checked = settings.ssl or settings.ssl_verify_cert or settings.ssl_verify_identity
    local = settings.unix_socket or settings.host in ("127.0.0.1", "::1", "localhost")
    change = ""
    if info.tls and checked:
        text = f"encrypted with {info.tls}"
    elif local:
        text = (
            f"{info.tls or 'not encrypted'}, but the connection stays on this machine"
        )
    elif info.tls:
        text = f"encrypted with {info.tls}, but the server is not authenticated"
        change = "set MYSQLPOOL_SSL_CA and MYSQLPOOL_SSL_VERIFY_IDENTITY"
    else:
        text = "not encrypted: passwords and rows can be read on the network"
        change = "enable TLS on the server and set MYSQLPOOL_SSL_CA"
    return Finding([bind], "tls", "warning" if change else "ok", text, change)


def _charset(bind: str, info: ServerInfo) -> Finding:
    """Check that the connection and new tables can hold all of Unicode."""
    text = (
        f"{info.charset} on the connection, {info.charset_of_database} in new tables,"
        f" {info.charset_of_server} as the server's default"
    )
    changes = []
    if info.charset not in FULL_UNICODE:
        changes.append("set MYSQLPOOL_CHARSET to utf8mb4 or remove it")
    if info.charset_of_database not in FULL_UNICODE:
        database = f"`{info.database}`" if info.database else "the database"
        changes.append(
            f"ALTER DATABASE {database} CHARACTER SET utf8mb4 and convert its tables"
        )
    verdict = "warning" if changes else "ok"
    return Finding([bind], "charset", verdict, text, "; ".join(changes))


def _wait_timeout(bind: str, settings: Settings, info: ServerInfo) -> Finding:
    """Check that the pool closes an idle connection before the server does."""
    times = {"MAX_LIFETIME": settings.max_lifetime, "MAX_IDLE": settings.max_idle}
    limits = [limit for limit in times.values() if limit]
    interval = min([MAX_MAINTENANCE_INTERVAL, *(limit / 2 for limit in limits)])
    if settings.min_size:  # does not apply to min_size connections
        del times["MAX_IDLE"]
    longest = min((limit for limit in times.values() if limit), default=0.0)
    text = f"the server closes a connection after {info.wait_timeout} s idle, the pool "
    text += f"after at most {longest + interval:.0f} s" if longest else "never"
    if longest and longest + interval < info.wait_timeout:
        return Finding([bind], "wait_timeout", "ok", text)
    key = "MYSQLPOOL_MAX_LIFETIME" if settings.min_size else "MYSQLPOOL_MAX_IDLE"
    change = (
        f"set {key} to {max(1, info.wait_timeout // 2)} or raise wait_timeout: the pool"
        " reconnects more often than necessary"
    )
    return Finding([bind], "wait_timeout", "warning", text, change)


def _settings(bind: str, settings: Settings) -> Iterator[Finding]:
    """Look for settings that have no effect because of another."""
    found = []
    if settings.timeout == 0 and settings.max_waiting:
        found.append(("MAX_WAITING", "TIMEOUT", "no caller waits"))
    max_idle = _is_chosen(settings, "max_idle")
    if max_idle and 0 < settings.max_lifetime <= settings.max_idle:
        found.append(("MAX_IDLE", "MAX_LIFETIME", "connections are closed before that"))
    if max_idle and settings.min_size == settings.max_size:
        found.append(("MAX_IDLE", "MIN_SIZE", "all connections are kept open"))
    if _is_chosen(settings, "connect_timeout") and not settings.min_size:
        if 0 < settings.timeout < settings.connect_timeout:
            found.append(("CONNECT_TIMEOUT", "TIMEOUT", "the checkout times out first"))
    for key, other, why in found:
        text = " ".join(
            f"MYSQLPOOL_{name} is {getattr(settings, name.lower()):.10g}{end}"
            for name, end in ((key, " but has no effect:"), (other, f", so {why}"))
        )
        change = f"remove MYSQLPOOL_{key} or change MYSQLPOOL_{other}"
        yield Finding([bind], "settings", "warning", text, change)
    if not found:
        yield Finding([bind], "settings", "ok", "no setting contradicts another")


def _is_chosen(settings: Settings, name: str) -> bool:
    """Return whether a setting is neither 0 nor its default."""
    value = getattr(settings, name)
    return bool(value) and value != FIELDS[name].default


def _clock(group: list[str], servers: Mapping[str, ServerInfo]) -> Finding:
    info = servers[group[0]]
    ahead = info.clock_ahead_seconds
    direction = "ahead of" if ahead > 0 else "behind"
    text = (
        f"the server's clock is {abs(ahead):.3f} s {direction} ours"
        f" (a round trip takes {info.round_trip_seconds * 1000:.1f} ms)"
    )
    if abs(ahead) - info.round_trip_seconds / 2 <= MAX_CLOCK_SKEW:
        return Finding(group, "clock", "ok", text)
    change = (
        "synchronize both with NTP: times from the app and NOW() cannot be compared"
    )
    return Finding(group, "clock", "warning", text, change)


def _limit(
    group: list[str],
    binds: Mapping[str, Settings],
    servers: Mapping[str, ServerInfo],
    replies: Replies,
) -> Finding:
    """Check all binds on one server against its ``max_connections``."""
    info = servers[group[0]]
    open_now = sum(reading.size for _, reading in _readings(group, replies))
    others = max(0, info.threads_connected - open_now - len(group))
    possible, text = _possible_connections(group, binds, replies)
    text += f"; the server allows {info.max_connections}, others have {others} open"
    if possible + others <= info.max_connections:
        return Finding(group, "limits", "ok", text)
    verdict = "error" if possible > info.max_connections else "warning"
    advice = _advise_max_size(group, replies, info.max_connections - others)
    change = f"{advice} or raise max_connections"
    return Finding(group, "limits", verdict, text, change)


def _account(
    group: list[str],
    binds: Mapping[str, Settings],
    servers: Mapping[str, ServerInfo],
    replies: Replies,
) -> Finding:
    """Check all binds of one account against its ``MAX_USER_CONNECTIONS``."""
    info = servers[group[0]]
    limit = info.max_user_connections
    if not limit:
        text = f"{info.account} has no limit of its own"
        return Finding(group, "account", "ok", text)
    possible, text = _possible_connections(group, binds, replies)
    text += f"; the server allows {limit} to {info.account}"
    if possible <= limit:
        return Finding(group, "account", "ok", text)
    advice = _advise_max_size(group, replies, limit)
    change = f"{advice} or raise its MAX_USER_CONNECTIONS"
    return Finding(group, "account", "error", text, change)


def _possible_connections(
    group: list[str], binds: Mapping[str, Settings], replies: Replies
) -> tuple[int, str]:
    """Return how many connections all workers may open, and a text about it. For a
    worker that does not answer the settings count. Without workers, one is assumed.
    """
    silent = sum(bool(reply.error) for reply in replies) if replies else 1
    each = dict.fromkeys(group, 0)
    for bind, reading in _readings(group, replies):
        each[bind] += reading.max_size
    for bind in group:
        each[bind] += silent * binds[bind].max_size
    possible = sum(each.values())
    count = len(replies) or 1
    workers = f"{count} worker{'s' * (count > 1)}"
    shares = ", ".join(f"{bind} {number}" for bind, number in each.items())
    text = f"{workers} may open {possible} connections"
    return possible, f"{text} ({shares})" if len(group) > 1 else text


def _advise_max_size(group: list[str], replies: Replies, limit: int) -> str:
    size = limit // (len(replies) or 1)
    if size < len(group):
        return "run fewer workers"
    if len(group) > 1:
        return f"lower MYSQLPOOL_MAX_SIZE of these binds to {size} in total"
    return f"lower MYSQLPOOL_MAX_SIZE to {size}"


def _workers(binds: list[str], replies: Replies) -> Finding:
    silent = [reply for reply in replies if reply.error]
    if silent:
        text = "; ".join(f"worker {reply.pid} is {reply.error}" for reply in silent)
        change = "check whether the process is stopped or its threads are blocked"
        return Finding(binds, "workers", "error", text, change)
    if not replies:
        return Finding(binds, "workers", "ok", "no running worker found")
    many = len(replies) > 1
    text = f"{len(replies)} worker{'s' * many} answer{'s' * (not many)}"
    return Finding(binds, "workers", "ok", text)


def _pools(
    binds: Mapping[str, Settings],
    before: Replies,
    ask: Callable[[], Replies],
    pause: Callable[[float], None],
    asked_at: float,
) -> Iterator[Finding]:
    """Check whether callers had to wait, and whether connections leak."""
    totals = {bind: merged(before).get(bind, PoolStats()) for bind in binds}
    after, seconds = before, 0.0
    if any(_exhausted(total) for total in totals.values()):
        pause(max(0.0, asked_at + SAMPLE_INTERVAL - time.monotonic()))
        after, seconds = ask(), time.monotonic() - asked_at
    for bind, total in totals.items():
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


def _readings(group: list[str], replies: Replies) -> Iterator[tuple[str, PoolStats]]:
    for reply in replies:
        for bind in group:
            if bind in reply.binds:
                yield bind, reply.binds[bind]


def _grouped(
    servers: Mapping[str, ServerInfo], key: Callable[[ServerInfo], t.Any]
) -> list[list[str]]:
    """Group the binds by a key of their servers."""
    groups: dict[t.Any, list[str]] = {}
    for bind, info in servers.items():
        groups.setdefault(key(info), []).append(bind)
    return list(groups.values())
