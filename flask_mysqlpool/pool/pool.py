"""The pool as its users see it: a ``PooledDB`` made of the parts in this folder.

Rule: arguments are checked before anything is reserved, and a forked child never writes
to what its parent opened.
"""

from __future__ import annotations

import atexit
import os
import threading
import typing as t
import weakref
from collections.abc import Callable
from os import getpid
from sys import _getframe
from threading import current_thread
from time import monotonic

import pymysql
from dbutils.pooled_db import NotSupportedError
from dbutils.pooled_db import PooledDB

from ..config.converters import MOST
from ..config.settings import APP_WIDE
from ..config.settings import Settings
from ..driver.connector import Connector
from ..errors import ConfigError
from ..stats.holders import Holder
from ..stats.holders import StackEntry
from ..stats.readings import PoolStats
from .checkout import Checkout
from .checkout import QUIT_TIMEOUT
from .checkout_log import logged
from .checkout_log import logger as checkout_log
from .circuit_breaker import CircuitBreaker
from .entry import ExpiryPolicy
from .first_use import FirstUse
from .housekeeper import housekeeper
from .idle import Closing
from .leaks import holder_of
from .maintenance import Maintenance
from .pooled_connection import PooledConnection
from .retirement import Retirement
from .slots import Slots
from .timeout import checked_timeout

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


class _Here(threading.local):
    """What each thread keeps of itself: looking it up each time is a tenth of the way.

    Not the thread itself: it may refer to what it holds.
    """

    def __init__(self) -> None:
        self.thread = weakref.ref(current_thread())


_here = _Here()


def _view(read: Callable[[Pool], t.Any]) -> t.Any:
    """A field of PooledDB as a view of the slots. To set it, as PooledDB's
    ``__init__()`` does, has no effect.
    """
    return property(read, lambda self, value: None)


class Pool(PooledDB):  # type: ignore[misc]  # DBUtils has no types
    """A pool of connections to one server: a :class:`dbutils.pooled_db.PooledDB`
    with DBUtils' failover off for good.

    Nothing connects before the first checkout.

    :param settings: what :meth:`.Settings.from_config` gives.
    :param name: the bind's name, for messages.
    :param program: the app's name, for the server's view of its connections.
    :raise ConfigError: a file of TLS or the server's public key cannot be used.
    """

    _slots: Slots
    # What DBUtils' own methods and those who know them read.
    _connections = _view(lambda self: len(self._slots.lent_entries()))
    _idle_cache = _view(lambda self: [e.session for e in self._slots.idle_entries()])
    _lock = _view(lambda self: self._slots.lock)
    _maxconnections = _view(lambda self: self._slots.max_size)

    def __init__(
        self,
        settings: Settings,
        name: str = "default",
        program: str = "flask_mysqlpool",
    ) -> None:
        self.settings = settings
        self.name = name
        self.name_holder: Callable[[], str] | None = None  # names the caller
        self._pid = getpid()
        self._forked: dict[int, threading.Lock] = {}
        self._first_use = FirstUse(self)
        self._first_use.hooks.append(housekeeper.watch)
        self._breaker = CircuitBreaker()
        connector = Connector(settings, program)
        try:
            connector.check()
        except ConfigError as error:
            raise ConfigError(f"pool {name!r}: {error}") from error
        policy = ExpiryPolicy(settings)
        self._slots = Slots(name, settings, policy)
        self._checkout = Checkout(
            self._slots,
            connector,
            self._breaker,
            policy,
            settings,
            self._first_use.begin,
        )
        self._retirement = Retirement(self._slots, policy)
        self._maintenance = Maintenance(
            self._slots, self._checkout, self._retirement, self._breaker, settings
        )
        # Bound once, so that the parts cost the hot path no call.
        self._take = self._slots.take
        self._lendable_at_once = policy.lendable_at_once
        self._timeout = settings.timeout
        super().__init__(creator=pymysql, maxconnections=settings.max_size, ping=0)
        _pools.add(self)

    @classmethod
    def from_url(cls, url: str, name: str = "default", **settings: t.Any) -> Pool:
        """Build a pool without an app, for a script or a worker.

        It looks after itself like that of an app, and closes at the end of a ``with``
        block or of the process.

        :param url: as the setting ``MYSQLPOOL_URL``.
        :param name: for messages.
        :param settings: others, by their names in small letters: ``max_size=4``.
        :raise ConfigError: a setting is unknown, its value wrong, or it needs an app.
        """
        for needs_app in APP_WIDE & {key.lower() for key in settings}:
            raise ConfigError(f"{needs_app} has no effect without an app: remove it")
        config = {f"MYSQLPOOL_{key.upper()}": value for key, value in settings.items()}
        config["MYSQLPOOL_URL"] = url
        return cls(Settings.from_config(config)["default"], name)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        self.after_fork()
        reading = self._slots.snapshot(monotonic(), by_endpoint=False)
        return (
            f"<{type(self).__name__} {self.name!r} size {reading.size} of"
            f" {reading.max_size}, in use {reading.in_use}, idle {reading.idle},"
            f" waiting {reading.waiting}{', closed' if self.closed else ''}>"
        )

    def __del__(self) -> None:
        """Do nothing: to talk to the server here could block anybody."""

    # Lending

    def connection(
        self,
        timeout: float | None = None,
        *,
        holder: str = "",
        stack: tuple[StackEntry, ...] = (),
        shareable: bool = False,
    ) -> PooledConnection:
        """Lend a connection.

        :param timeout: seconds that this may take in all, up to a year; by default
            that of the settings. 0: do not wait for a connection that is in use.
        :param holder: a name for the caller; in an app the default is the endpoint.
        :param stack: of the caller, innermost first; by default the caller's line.
        :param shareable: of DBUtils, without effect: no connection is ever shared.
        :raise TypeError, ValueError: an argument is wrong.
        :raise PoolError: there is none to lend; its subclasses say why.
        :raise pymysql.Error: the server refuses us, and waiting will not change that.
        """
        timeout = self._timeout if timeout is None else checked_timeout(timeout)
        if self._pid != getpid():
            self._start_over()
        if not stack:  # this is the hot path: capture_stack() would walk further up
            frame = _getframe(1)
            stack = ((frame.f_code, frame.f_lasti),)
        if not holder:
            holder = "" if self.name_holder is None else self.name_holder()
        elif type(holder) is not str:
            raise TypeError(f"holder must be a str, not {holder!r}")
        grant: t.Any = None
        started = monotonic()
        try:
            grant = self._take(started, holder, _here.thread, stack)
            entry = grant.entry if type(grant) is PooledConnection else None
            if entry is None or not self._lendable_at_once(entry, started):
                grant = self._checkout.acquire(grant, timeout)
            return logged(self.name, grant) if checkout_log.level else grant
        except BaseException:
            self._checkout.return_unused(grant, monotonic())
            raise

    def dedicated_connection(self) -> PooledConnection:
        """Lend a connection (DBUtils' other name for :meth:`connection`)."""
        frame = _getframe(1)
        return self.connection(stack=((frame.f_code, frame.f_lasti),))

    def steady_connection(self) -> t.NoReturn:
        """Refuse: DBUtils' steady connections send statements again.

        :raise dbutils.pooled_db.NotSupportedError: always.
        """
        raise NotSupportedError("this pool sends nothing again: use connection()")

    def cache(self, con: object) -> t.NoReturn:
        """Refuse: a connection comes back by its own :meth:`~PooledConnection.close`.

        :raise dbutils.pooled_db.NotSupportedError: always.
        """
        raise NotSupportedError(
            "a connection comes back by its own close(), not by cache()"
        )

    def unshare(self, con: object) -> t.NoReturn:
        """Refuse: no connection is shared.

        :raise dbutils.pooled_db.NotSupportedError: always.
        """
        raise NotSupportedError("this pool shares no connection between threads")

    # Looking

    def stats(self) -> PoolStats:
        """Return a reading of the pool."""
        self._check_process()
        return self._slots.snapshot(monotonic())

    def holders(self, stacks: bool = False) -> list[Holder]:
        """Return who holds a connection, the longest first.

        :param stacks: with the current stacks of their threads.
        """
        self._check_process()
        now = monotonic()
        return [holder_of(entry, now, stacks) for entry in self._slots.lent_entries()]

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._slots.closed

    @property
    def outage(self) -> Exception | None:
        """Why the server could not be reached, when that was tried last; ``None``
        where it could. An idle pool does not try.
        """
        return self._breaker.error

    # Changing

    def recycle(self) -> None:
        """Retire every connection: idle ones at once, the others at their return. The
        files of TLS are read again.
        """
        self.after_fork()
        self._checkout.connector.renew()
        self._checkout.close_all(self._retirement.recycle(monotonic()))
        self.on_need()

    def resize(self, max_size: int) -> None:
        """Change the most connections that may be open.

        Connections in use beyond that are closed at their return.

        :raise ConfigError: it is less than 1 or than ``min_size``.
        """
        self.check_size(max_size)
        self.after_fork()
        self._checkout.close_all(self._retirement.resize(max_size, monotonic()))

    def check_size(self, max_size: int) -> None:
        """Check the argument of :meth:`resize`.

        :raise ConfigError: as there.
        """
        least = max(1, self.settings.min_size)
        if type(max_size) is not int or not least <= max_size <= MOST:
            raise ConfigError(
                f"pool {self.name!r}: max_size must be a whole number from {least} (1"
                f" and MYSQLPOOL_MIN_SIZE) to {MOST}"
            )

    def close(self) -> None:
        """Close the pool: callers in the queue get :exc:`PoolClosed`, idle
        connections are closed, those in use at their return. A second time
        does nothing.
        """
        self._close()

    def _close(self, deadline: float = float("inf")) -> None:
        self.after_fork()
        self._checkout.close_all(self._retirement.close(monotonic()), deadline)
        self.on_need()

    def close_unused(self) -> Closing:
        """Close the pool if no connection is checked out or being opened and nobody
        waits: then it is :attr:`closed`. Waits for nothing; return what the caller must
        give to :meth:`disconnect`.
        """
        self.after_fork()
        return self._retirement.close_unused(monotonic())

    def share_warnings(self, told_until: dict[str, float]) -> None:
        """Keep in ``told_until`` which holders were warned of lost changes."""
        self._checkout.lost_changes.told_until = told_until

    def disconnect(self, closing: Closing) -> None:
        """Close connections that have left the pool."""
        self._checkout.close_all(closing)

    # For the housekeeper

    @property
    def on_first_use(self) -> list[Callable[[t.Any], None]]:
        """What is called with the pool when a process opens its first connection."""
        return self._first_use.hooks

    @property
    def on_need(self) -> Callable[[], None]:
        """What is called when there is something for :meth:`maintain` to do, by
        finalizers too: it must take no lock.
        """
        return self._slots.on_need

    @on_need.setter
    def on_need(self, call: Callable[[], None]) -> None:
        self._slots.on_need = call

    def maintain(self) -> float:
        """Retire what is too old or was idle for too long, and fill up to
        ``min_size``; return the seconds after which it should be called again.
        """
        if self._pid != getpid():
            return float("inf")
        return self._maintenance.maintain()

    def close_here(self, deadline: float) -> None:
        """Close the pool where it is this process' own, by ``deadline``."""
        if self._pid == getpid():
            self._close(deadline)

    def _check_process(self) -> None:
        self.after_fork()  # where the fork ran no hooks of Python's
        self._checkout.close_all(self._slots.discarded(monotonic()))

    def after_fork(self) -> None:
        """Begin anew where this process is a forked child."""
        if self._pid != getpid():
            self._start_over()

    def _start_over(self) -> None:
        """Begin anew in a forked child; what was inherited is closed without a byte
        to the server, whose sessions belong to the parent.
        """
        pid = getpid()
        # A lock that was made here: another could be held by a thread of the parent.
        with self._forked.setdefault(pid, threading.Lock()):
            if self._pid == pid:
                return
            inherited = self._slots.clear()
            self._breaker.clear()
            self._maintenance.clear()
            self._first_use.clear()
            self._pid = pid
        for entry in inherited:
            entry.session.abandon()


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        pool.after_fork()


def _at_exit() -> None:
    deadline = monotonic() + QUIT_TIMEOUT  # of all
    for pool in list(_pools):
        pool.close_here(deadline)


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
