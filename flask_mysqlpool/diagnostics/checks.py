"""Looks at how the settings, the workers and the server fit each other."""

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
from .server_info import ServerView
from .server_info import view_servers
from .sizing import Load
from .sizing import longest_holder

OLDEST = {"MariaDB": (10, 3), "MySQL": (8, 0)}  # with session tracking and resets
RECENTLY = 300.0  # seconds for which an exhausted pool is news
APART = 1.0  # seconds between two readings of a load
CLOCKS_APART = 2.0  # seconds that two clocks may be
LONGEST_VISIT = 30.0  # seconds until the housekeeper looks at a pool again
# Character sets that have all of Unicode.
WHOLE = {"utf8mb4", "utf16", "utf16le", "utf32", "gb18030"}

Replies = list[Reply[PoolStats]]
Views = Mapping[str, ServerView | Exception]


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    :param binds: those that it is about.
    :param verdict: "ok", "warning" or "error".
    :param text: what was found, with its numbers.
    :param change: what to do about it, empty where all is well.
    """

    binds: list[str]
    check: str
    verdict: str
    text: str
    change: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        return dataclasses.asdict(self)


def examine(
    binds: Mapping[str, Settings],
    ask: Callable[[], Replies],
    view: Callable[[Mapping[str, Settings]], Views] = view_servers,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Finding]:
    """Check each bind, each server and account, and the workers.

    :param ask: asks the running workers. This is done a second time, a second later,
        where a pool was exhausted.
    """
    replies, asked_at = ask(), time.monotonic()
    views = view(binds)
    reached = {bind: v for bind, v in views.items() if isinstance(v, ServerView)}
    for bind, settings in binds.items():
        seen = views[bind]
        if isinstance(seen, ServerView):
            yield Finding([bind], "connect", "ok", "can connect")
            yield _version(bind, seen)
            yield _tls(bind, settings, seen)
            yield _charset(bind, seen)
            yield _rest(bind, settings, seen)
        else:
            yield Finding([bind], "connect", "error", f"cannot connect: {seen}")
        yield from _settings(bind, settings)
    for group in _grouped(reached, lambda view: view.identity):
        yield _clock(group, reached)
        yield _limit(group, binds, reached, replies)
    for group in _grouped(reached, lambda view: (view.identity, view.account)):
        yield _account(group, binds, reached, replies)
    yield _workers(list(binds), replies)
    yield from _pools(binds, replies, ask, pause, asked_at)


def _version(bind: str, view: ServerView) -> Finding:
    product = "MariaDB" if "MariaDB" in view.version else "MySQL"
    major, minor, *_ = view.version.split(".")
    if (int(major), int(minor)) >= OLDEST[product]:
        return Finding([bind], "version", "ok", view.version)
    oldest = ".".join(map(str, OLDEST[product]))
    text = f"{view.version} cannot reset a session as the pool needs it"
    return Finding([bind], "version", "error", text, f"use {product} {oldest} or newer")


def _tls(bind: str, settings: Settings, view: ServerView) -> Finding:
    checked = settings.ssl or settings.ssl_verify_cert or settings.ssl_verify_identity
    local = settings.unix_socket or settings.host in ("127.0.0.1", "::1", "localhost")
    change = ""
    if view.tls and checked:
        text = f"encrypted with {view.tls}"
    elif local:
        text = f"{view.tls or 'not encrypted'}: it does not leave this machine"
    elif view.tls:
        text = f"encrypted with {view.tls}, but with whom is not checked"
        change = "set MYSQLPOOL_SSL_CA and MYSQLPOOL_SSL_VERIFY_IDENTITY"
    else:
        text = "not encrypted: passwords and rows can be read on the way"
        change = "switch TLS on at the server, and set MYSQLPOOL_SSL_CA"
    return Finding([bind], "tls", "warning" if change else "ok", text, change)


def _charset(bind: str, view: ServerView) -> Finding:
    """Check that no text is lost on the way, nor in tables made anew."""
    text = (
        f"{view.charset} on the connection, {view.charset_of_database} in new tables,"
        f" {view.charset_of_server} as the server's default"
    )
    changes = []
    if view.charset not in WHOLE:
        changes.append("set MYSQLPOOL_CHARSET to utf8mb4, or leave it out")
    if view.charset_of_database not in WHOLE:
        database = f"`{view.database}`" if view.database else "the database"
        changes.append(
            f"ALTER DATABASE {database} CHARACTER SET utf8mb4, and convert its tables"
        )
    verdict = "warning" if changes else "ok"
    return Finding([bind], "charset", verdict, text, "; ".join(changes))


def _rest(bind: str, settings: Settings, view: ServerView) -> Finding:
    """Check that the pool lets go of a connection before the server does."""
    times = {"MAX_LIFETIME": settings.max_lifetime, "MAX_IDLE": settings.max_idle}
    visit = min([LONGEST_VISIT, *(limit / 2 for limit in times.values() if limit)])
    if settings.min_size:  # what is within min_size may rest for longer
        del times["MAX_IDLE"]
    longest = min((limit for limit in times.values() if limit), default=0.0)
    text = f"the server ends a session after {view.wait_timeout} s of rest, the pool "
    text += f"after {longest + visit:.0f} s at the latest" if longest else "never"
    if longest and longest + visit < view.wait_timeout:
        return Finding([bind], "wait_timeout", "ok", text)
    key = "MYSQLPOOL_MAX_LIFETIME" if settings.min_size else "MYSQLPOOL_MAX_IDLE"
    change = (
        f"set {key} to {max(1, view.wait_timeout // 2)} or raise wait_timeout: the pool"
        " connects anew more often than it needs to"
    )
    return Finding([bind], "wait_timeout", "warning", text, change)


def _settings(bind: str, settings: Settings) -> Iterator[Finding]:
    """Look for settings of which one leaves the other without effect."""
    found = []
    if settings.timeout == 0 and settings.max_waiting:
        found.append(("MAX_WAITING", "TIMEOUT", "nobody waits"))
    if _set(settings, "max_idle") and 0 < settings.max_lifetime <= settings.max_idle:
        found.append(("MAX_IDLE", "MAX_LIFETIME", "a connection ends before"))
    if _set(settings, "max_idle") and settings.min_size == settings.max_size:
        found.append(("MAX_IDLE", "MIN_SIZE", "all are kept open"))
    if _set(settings, "connect_timeout") and not settings.min_size:
        if 0 < settings.timeout < settings.connect_timeout:
            found.append(("CONNECT_TIMEOUT", "TIMEOUT", "the checkout ends before"))
    for key, other, why in found:
        text = " ".join(
            f"MYSQLPOOL_{name} is {getattr(settings, name.lower()):.10g}{end}"
            for name, end in ((key, ", without effect:"), (other, f", so {why}"))
        )
        change = f"leave MYSQLPOOL_{key} out or change MYSQLPOOL_{other}"
        yield Finding([bind], "settings", "warning", text, change)
    if not found:
        yield Finding([bind], "settings", "ok", "none contradicts another")


def _set(settings: Settings, name: str) -> bool:
    """Return whether a setting that is not 0 was chosen, for all that one can see."""
    value = getattr(settings, name)
    return bool(value) and value != FIELDS[name].default


def _clock(group: list[str], views: Mapping[str, ServerView]) -> Finding:
    view = views[group[0]]
    ahead = view.clock_ahead_seconds
    direction = "ahead of" if ahead > 0 else "behind"
    text = (
        f"the server's clock is {abs(ahead):.3f} s {direction} ours"
        f" (a round trip takes {view.round_trip_seconds * 1000:.1f} ms)"
    )
    if abs(ahead) - view.round_trip_seconds / 2 <= CLOCKS_APART:
        return Finding(group, "clock", "ok", text)
    change = "set both by NTP: times made by the app and by NOW() do not compare"
    return Finding(group, "clock", "warning", text, change)


def _limit(
    group: list[str],
    binds: Mapping[str, Settings],
    views: Mapping[str, ServerView],
    replies: Replies,
) -> Finding:
    """Check all binds on one server against what it allows all clients."""
    view = views[group[0]]
    open_now = sum(reading.size for _, reading in _readings(group, replies))
    others = max(0, view.threads_connected - open_now - len(group))
    wanted, text = _wanted(group, binds, replies)
    text += f"; the server allows {view.max_connections}, others have {others} open"
    if wanted + others <= view.max_connections:
        return Finding(group, "limits", "ok", text)
    verdict = "error" if wanted > view.max_connections else "warning"
    room = view.max_connections - others
    change = f"{_lower(group, replies, room)} or raise max_connections"
    return Finding(group, "limits", verdict, text, change)


def _account(
    group: list[str],
    binds: Mapping[str, Settings],
    views: Mapping[str, ServerView],
    replies: Replies,
) -> Finding:
    """Check all binds of one account against what the server allows it."""
    view = views[group[0]]
    limit = view.max_user_connections
    if not limit:
        text = f"{view.account} has no limit of its own"
        return Finding(group, "account", "ok", text)
    wanted, text = _wanted(group, binds, replies)
    text += f"; the server allows {limit} to {view.account}"
    if wanted <= limit:
        return Finding(group, "account", "ok", text)
    change = f"{_lower(group, replies, limit)} or raise its MAX_USER_CONNECTIONS"
    return Finding(group, "account", "error", text, change)


def _wanted(
    group: list[str], binds: Mapping[str, Settings], replies: Replies
) -> tuple[int, str]:
    """Return how many connections all workers may open, and the same in words. Who
    does not answer counts with the settings; so does one worker where none runs.
    """
    silent = sum(bool(reply.error) for reply in replies) if replies else 1
    each = dict.fromkeys(group, 0)
    for bind, reading in _readings(group, replies):
        each[bind] += reading.max_size
    for bind in group:
        each[bind] += silent * binds[bind].max_size
    wanted = sum(each.values())
    count = len(replies) or 1
    workers = f"{count} worker{'s' * (count > 1)}"
    shares = ", ".join(f"{bind} {number}" for bind, number in each.items())
    text = f"{workers} may open {wanted} connections"
    return wanted, f"{text} ({shares})" if len(group) > 1 else text


def _lower(group: list[str], replies: Replies, room: int) -> str:
    size = room // (len(replies) or 1)
    if size < len(group):
        return "run fewer workers"
    if len(group) > 1:
        return f"lower MYSQLPOOL_MAX_SIZE of these binds to {size} in sum"
    return f"lower MYSQLPOOL_MAX_SIZE to {size}"


def _workers(binds: list[str], replies: Replies) -> Finding:
    silent = [reply for reply in replies if reply.error]
    if silent:
        text = "; ".join(f"worker {reply.pid} is {reply.error}" for reply in silent)
        change = "look whether it is stopped or its threads are kept from running"
        return Finding(binds, "workers", "error", text, change)
    if not replies:
        return Finding(
            binds, "workers", "ok", "none uses the pools now, for all we see"
        )
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
    """Check whether callers had to wait, and what keeps connections."""
    totals = {bind: merged(before).get(bind, PoolStats()) for bind in binds}
    after, seconds = before, 0.0
    if any(_exhausted(total) for total in totals.values()):
        pause(max(0.0, asked_at + APART - time.monotonic()))
        after, seconds = ask(), time.monotonic() - asked_at
    for bind, total in totals.items():
        if _exhausted(total):
            pairs = _pairs(bind, before, after)
            yield _exhaustion(bind, total, pairs, seconds)
        else:
            text = f"nobody had to wait in the last {RECENTLY / 60:.0f} minutes"
            yield Finding([bind], "exhausted", "ok", text)
        yield _leaks(bind, total)


def _exhausted(total: PoolStats) -> bool:
    return total.exhausted_ago is not None and total.exhausted_ago < RECENTLY


def _pairs(
    bind: str, before: Replies, after: Replies
) -> list[tuple[PoolStats, PoolStats]]:
    """Return both readings of each worker that gave two."""
    first = {reply.pid: reply.binds.get(bind) for reply in before}
    second = {reply.pid: reply.binds.get(bind) for reply in after}
    return [(a, b) for pid, b in second.items() if b and (a := first.get(pid))]


def _exhaustion(
    bind: str,
    total: PoolStats,
    pairs: list[tuple[PoolStats, PoolStats]],
    seconds: float,
) -> Finding:
    """Say what the load needs (Little's law), and who holds for longest."""
    before = PoolStats.merged(a for a, _ in pairs)
    after = PoolStats.merged(b for _, b in pairs)
    load = Load.between(before, after, seconds)
    text = (
        f"somebody had to wait {total.exhausted_ago or 0:.0f} s ago; since the workers"
        f" started {total.queued} of {total.checkouts} checkouts waited,"
        f" {total.timeouts} got none. {_asked_for(load) if load else _held(after)}"
    )
    changes = [*_size(load, after, len(pairs)), *_shorten(total)]
    if load is None and after.in_use:
        changes.append(f"`flask pool who --stack --bind {bind}` names who holds them")
    return Finding([bind], "exhausted", "warning", text, "; ".join(changes))


def _size(load: Load | None, reading: PoolStats, workers: int) -> Iterator[str]:
    if load is not None:
        needed, have = load.size(workers), reading.max_size // workers
        if needed > have:
            yield f"set MYSQLPOOL_MAX_SIZE to {needed} or more (it is {have})"
        else:
            yield f"MYSQLPOOL_MAX_SIZE ({have}) is enough just now, not for peaks"


def _shorten(total: PoolStats) -> Iterator[str]:
    name, share = longest_holder(total)
    if share:
        p99 = total.endpoints[name].use_seconds.percentile(0.99)
        yield f"shorten {name}: {share:.0%} of the time held is its, p99 {p99:.3f} s"


def _asked_for(load: Load) -> str:
    return (
        f"Just now {load.rate:.1f} checkouts/s wait {load.wait:.3f} s and hold"
        f" {load.hold:.3f} s on average: {load.callers:.1f} callers at once"
    )


def _held(reading: PoolStats) -> str:
    uses = reading.use_seconds
    return (
        f"Just now no connection came back: {reading.in_use} are lent, the longest for"
        f" {reading.oldest_use_seconds:.1f} s, {reading.waiting} callers wait; they"
        f" held {uses.mean:.3f} s on average, p99 {uses.percentile(0.99):.3f} s"
    )


def _leaks(bind: str, total: PoolStats) -> Finding:
    if not total.leaks:
        text = "no connection was held for longer than MYSQLPOOL_LEAK_AFTER"
        return Finding([bind], "leaks", "ok", text)
    text = (
        f"{total.leaks} held for longer than MYSQLPOOL_LEAK_AFTER since the workers"
        f" started; who holds longest now, for {total.oldest_use_seconds:.1f} s"
    )
    change = f"`flask pool who --stack --bind {bind}` names who holds, and where"
    return Finding([bind], "leaks", "warning", text, change)


def _readings(group: list[str], replies: Replies) -> Iterator[tuple[str, PoolStats]]:
    for reply in replies:
        for bind in group:
            if bind in reply.binds:
                yield bind, reply.binds[bind]


def _grouped(
    views: Mapping[str, ServerView], key: Callable[[ServerView], t.Any]
) -> list[list[str]]:
    """Return the binds, those together that share a key."""
    groups: dict[t.Any, list[str]] = {}
    for bind, view in views.items():
        groups.setdefault(key(view), []).append(bind)
    return list(groups.values())
