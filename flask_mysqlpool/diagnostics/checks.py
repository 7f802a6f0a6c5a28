"""Checks whether the settings, the workers and the server fit together."""

from __future__ import annotations

import re
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping

from ..config.settings import FIELDS
from ..config.settings import Settings
from ..control.client import Reply
from ..stats.readings import PoolStats
from ..stats.text import printable
from .findings import Finding
from .named_locks import judge_named_locks
from .named_locks import query_named_locks
from .server_info import query_servers
from .server_info import ServerInfo
from .tls import judge_tls
from .worker_checks import check_pools
from .worker_checks import check_workers

# The first with session tracking and session resets.
MIN_VERSIONS = {"MariaDB": (10, 3), "MySQL": (8, 0)}
MAX_CLOCK_SKEW = 2.0  # seconds
MAX_MAINTENANCE_INTERVAL = 30.0  # seconds, of the housekeeper
FULL_UNICODE = {"utf8mb4", "utf16", "utf16le", "utf32", "gb18030"}

Replies = list[Reply[PoolStats]]
Servers = Mapping[str, ServerInfo | Exception]


def run_checks(
    binds: Mapping[str, Settings],
    ask: Callable[[], Replies],
    query: Callable[[Mapping[str, Settings]], Servers] = query_servers,
    pause: Callable[[float], None] = time.sleep,
    named_locks: Callable[[Settings], list[str]] = query_named_locks,
) -> Iterator[Finding]:
    """Check each bind, each server and account, and the workers.

    :param ask: asks the running workers. If a pool was exhausted, it is called again
        after :data:`~.worker_checks.SAMPLE_INTERVAL`.
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
            if settings.reset == "auto":
                yield judge_named_locks(bind, settings, named_locks)
        else:
            yield Finding(
                [bind], "connect", "error", f"cannot connect: {printable(info)}"
            )
        yield from _settings(bind, settings)
    for group in _grouped(reached, lambda info: info.identity):
        yield _clock(group, reached)
        yield _limit(group, binds, reached, replies)
    for group in _grouped(reached, lambda info: (info.identity, info.account)):
        yield _account(group, binds, reached, replies)
    yield check_workers(list(binds), replies)
    yield from check_pools(binds, replies, ask, pause, asked_at)


def _version(bind: str, info: ServerInfo) -> Finding:
    product = "MariaDB" if "MariaDB" in info.version else "MySQL"
    numbers = re.match(r"(\d{1,9})\.(\d{1,9})", info.version)
    if numbers is None:
        text = f"{info.version!r} is no version of MariaDB or MySQL"
        return Finding([bind], "version", "error", text, "use one of them")
    if (int(numbers[1]), int(numbers[2])) >= MIN_VERSIONS[product]:
        return Finding([bind], "version", "ok", info.version)
    oldest = ".".join(map(str, MIN_VERSIONS[product]))
    text = f"{info.version} is too old to reset sessions"
    return Finding([bind], "version", "error", text, f"use {product} {oldest} or newer")


def _tls(bind: str, settings: Settings, info: ServerInfo) -> Finding:
    text, change = judge_tls(settings, info)
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
