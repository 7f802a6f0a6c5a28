"""All pools of one app: those of its settings, and those that are loaded on demand.

Rule: nothing is kept of a name that the loader does not know.
"""

from __future__ import annotations

import copy
import os
import threading
import typing as t
import weakref
from collections.abc import Mapping
from contextvars import ContextVar

from ..errors import NotInitializedError
from ..errors import UnknownBindError
from ..stats.readings import LOADED
from .loaded import LoadedPools
from .pool import Pool

# What the loader is asked for further up in this call: whose pools, and the name.
_asked: ContextVar[tuple[tuple[int, str], ...]] = ContextVar("_asked", default=())


class _Call:
    """One call of the loader, whose outcome all get who ask for that name meanwhile."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.error: Exception | None = None


class _Calls:
    """The calls that are under way in one process: a fork may copy a lock while it is
    held.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Weak: an interrupt may keep a caller from taking its call out.
        self._by_name: weakref.WeakValueDictionary[str, _Call]
        self._by_name = weakref.WeakValueDictionary()

    def join(self, name: str) -> _Call:
        with self._lock:
            return self._by_name.setdefault(name, _Call())

    def end(self, name: str, call: _Call) -> None:
        with self._lock:
            if self._by_name.get(name) is call:
                del self._by_name[name]


class Loader(t.Protocol):
    """Makes a pool for a name that is not in the settings, or returns ``None``."""

    @property
    def loads(self) -> bool: ...  # whether there is anybody to ask

    def load(self, name: str) -> Pool | None: ...


class Pools(dict[str, Pool]):
    """The pools of one app by bind name.

    :param configured: those of its settings.
    :param max_loaded: the most of others that are kept.
    """

    def __init__(
        self,
        configured: Mapping[str, Pool],
        loader: Loader | None = None,
        max_loaded: int = 0,
    ) -> None:
        super().__init__(configured)
        self.configured = dict(configured)
        self.loaded = LoadedPools(max_loaded)
        self._loader = loader
        self._calls: dict[int, _Calls] = {}  # by process id

    @property
    def loads(self) -> bool:
        """Whether there is a loader."""
        return self._loader is not None and self._loader.loads

    def __getitem__(self, name: str) -> Pool:
        if name in self.configured or not self.loads:
            return super().__getitem__(name)
        return self.load(name)

    def load(self, name: str) -> Pool:
        """Return the pool of a bind that is not in the settings. Who asks for a name
        that is being loaded waits, and gets the same outcome.

        :raise NotInitializedError: there is no loader, or it uses this bind itself.
        :raise UnknownBindError: it does not know the bind.
        :raise PoolFull: all that may be loaded are in use.
        :raise Exception: what the loader raises.
        """
        if not self.loads:
            raise self._not_configured(name)
        pool = self.loaded.find(name)
        if pool is not None:
            return pool
        if (
            type(name) is not str
            or not name
            or not name.isprintable()
            or name == LOADED
        ):
            raise _unknown(name)
        if _asked.get():  # to wait for others here could be to wait for each other
            return self._load_anew(name)
        pid = os.getpid()
        calls = self._calls.get(pid) or self._calls.setdefault(pid, _Calls())
        call = calls.join(name)
        try:
            with call.lock:
                return self._load_once(name, call)
        finally:
            calls.end(name, call)
            del call  # its error refers to this frame, and so to all callers'

    def _load_once(self, name: str, call: _Call) -> Pool:
        """Load a pool, if nobody else has done so in this call."""
        pool = self.loaded.find(name)
        if pool is not None:
            return pool
        if call.error is not None:
            raise _of_ones_own(call.error)
        try:
            return self._load_anew(name)
        except Exception as error:
            call.error = error
            raise
        finally:
            del call  # as in load()

    def _load_anew(self, name: str) -> Pool:
        assert self._loader is not None
        asked = _asked.get()
        if (id(self), name) in asked:
            raise NotInitializedError(
                f"the bind_loader itself uses bind {name!r}, which it is asked for"
            )
        token = _asked.set((*asked, (id(self), name)))
        try:
            pool = self._loader.load(name)
        finally:
            _asked.reset(token)
        if pool is None:
            raise _unknown(name)
        return self.loaded.add(name, pool, self)

    def _not_configured(self, name: str) -> NotInitializedError:
        change = "add it to MYSQLPOOL_BINDS"
        if name == "default":
            first = next(iter(self.configured))
            change = f"name one, as in get_db({first!r}), or set MYSQLPOOL_URL"
        known = ", ".join(map(repr, self.configured))
        return NotInitializedError(f"there is no bind {name!r}, only {known}: {change}")


def _unknown(name: t.Any) -> UnknownBindError:
    return UnknownBindError(
        f"there is no bind {name!r}: it is not in MYSQLPOOL_BINDS, and the bind_loader"
        " does not know it"
    )


def _of_ones_own(error: Exception) -> Exception:
    """Return an error of the same kind for one more caller: a shared one would gather
    the frames of all, with what is in them of other requests.
    """
    try:
        own: object = copy.copy(error)
    except Exception:  # its class cannot be made of its arguments
        own = None
    if type(own) is type(error) and own is not error:
        return own
    return RuntimeError(f"the bind loader raised {type(error).__name__}")
