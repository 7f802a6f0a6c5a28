"""Opens the socket to a server by a deadline.

``socket.create_connection()`` waits for the look-up of a name without a limit, and for
each address of the name as long as for the first.

No thread here takes a lock that another thread may hold: a fork copies a held lock into
the child, where nobody releases it. What threads share are dicts, whose ``setdefault``
and ``pop`` are atomic, and a lock per waiting caller that only the look-up releases.
"""

from __future__ import annotations

import _socket  # the system's own look-up, also where gevent has replaced socket's
import errno
import os
import socket
import sys
import threading
import time
import typing as t
from collections.abc import Iterable
from functools import lru_cache

# Look-ups of different names under way at once, in one process. A resolver that does
# not answer holds a thread for each.
MAX_LOOKUPS = 16

# Seconds after which a waiting caller looks whether it has been copied by a fork, as by
# one in a signal handler: the thread of the look-up exists in the parent only.
FORK_CHECK_INTERVAL = 1.0

# What is missing here for one more socket, however well the server is.
_SHORTAGES = {
    errno.EMFILE: "this process has no file descriptor left (ulimit -n)",
    errno.ENFILE: "this machine has no file descriptor left (fs.file-max)",
    errno.ENOBUFS: "this machine has no memory left for sockets",
    errno.ENOMEM: "this machine has no memory left for sockets",
    errno.EADDRINUSE: "this machine has no port left (net.ipv4.ip_local_port_range)",
}


class _Address(t.NamedTuple):
    """Where to connect to, or from where."""

    family: int
    argument: t.Any  # of socket.connect() and socket.bind(); needs no look-up
    text: str  # for errors


_Key = tuple[str, int]  # host and port
_Answer = list[_Address] | Exception | None  # None where the look-up was interrupted


def open_socket(
    host: str,
    port: int,
    deadline: float,
    *,
    unix_socket: str | None = None,
    bind_address: str | None = None,
) -> socket.socket:
    """Return a connected, blocking socket, as ``pymysql.Connection.connect()`` takes.

    The addresses of a name are tried one after the other, in the order of
    ``getaddrinfo()``, each once. Each may take an equal share of the time that is left,
    so that one that drops packets leaves time for the others. They are not raced (RFC
    8305, Happy Eyeballs): the race's losers would connect and leave without a login,
    and the server blocks a client for that (MySQL and MariaDB, max_connect_errors).

    A look-up that is late goes on in its thread and ends there.

    :param deadline: on the monotonic clock, for the look-up and the connect together.
        Where no thread can be started, the look-up may exceed it.
    :param unix_socket: the path of a Unix domain socket to connect to instead.
    :param bind_address: the name or address to connect from.
    :raise TimeoutError: the deadline passed.
    :raise socket.gaierror: the name is not known, or the resolver failed.
    :raise OSError: no address could be connected to, or :data:`MAX_LOOKUPS` look-ups
        are under way. All texts name the host; this one each address tried. The kind
        of error is that of the last, unless there was a :func:`local_shortage`.
    """
    if unix_socket:
        address = _Address(socket.AF_UNIX, unix_socket, unix_socket)
        return _connect_to_one(repr(unix_socket), [address], None, deadline)
    addresses = _look_up(host, port, deadline)
    sources = _look_up(bind_address, 0, deadline) if bind_address else None
    return _connect_to_one(f"{host!r} port {port}", addresses, sources, deadline)


def local_shortage(error: BaseException) -> str:
    """Return what is missing here for one more socket, in words; nothing where the
    error, or its cause, says something else.
    """
    cause = error if isinstance(error, OSError) else error.__cause__
    number = cause.errno if isinstance(cause, OSError) else None
    return _SHORTAGES.get(number or 0, "")


def _connect_to_one(
    target: str,
    addresses: list[_Address],
    sources: list[_Address] | None,
    deadline: float,
) -> socket.socket:
    """Return a socket connected to the first of ``addresses`` that answers in time."""
    failures = []
    kind, number = OSError, None  # of the last error; itself it would hold this frame
    for position, address in enumerate(addresses):
        seconds = (deadline - time.monotonic()) / (len(addresses) - position)
        try:
            return _connect(address, sources, seconds)
        except OSError as error:
            if number not in _SHORTAGES:  # which says nothing of the server
                kind, number = type(error), error.errno
            reason = error.strerror or str(error)
            failures.append(f"{address.text} ({reason})")
    text = f"{target}: {', '.join(failures)}"
    raise kind(text) if number is None else kind(number, text)


def _connect(
    address: _Address, sources: list[_Address] | None, seconds: float
) -> socket.socket:
    """Return a socket connected to ``address`` within ``seconds``."""
    if seconds <= 0:
        raise TimeoutError("not tried, no time was left")
    sock = None
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        sock.settimeout(seconds)
        if sources is not None:
            sock.bind(_source_for(address, sources))
        try:
            sock.connect(address.argument)
        except TimeoutError as error:
            if error.errno is None:  # ours, not the system's
                raise TimeoutError(f"no answer within {seconds:.3g} s") from None
            raise
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL and _any_port(address, sources):
                raise OSError(errno.EADDRINUSE, "no local port is free") from None
            raise
        if address.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.settimeout(None)
        return sock
    except BaseException:
        if sock is not None:
            sock.close()
        raise


def _any_port(address: _Address, sources: list[_Address] | None) -> bool:
    """Return whether connect() chooses the local port, and has one of IPv4: there
    EADDRNOTAVAIL says that all are in use, where bind() says EADDRINUSE. That of IPv6
    may also say that the machine has none.
    """
    return address.family == socket.AF_INET and sources is None


def _source_for(address: _Address, sources: list[_Address]) -> t.Any:
    for source in sources:
        if source.family == address.family:
            return source.argument
    tried = ", ".join(source.text for source in sources)
    raise OSError(errno.EADDRNOTAVAIL, f"cannot be reached from {tried}")


def _look_up(host: str, port: int, deadline: float) -> list[_Address]:
    """Return the addresses of ``host``.

    :raise OSError: it has none, or the answer did not come by ``deadline``.
    """
    begun = time.monotonic()
    # The number of an interface that an address names may change.
    parse = _parse_literal if "%" in host else _parse_literal_once
    if literal := parse(host, port):
        return literal
    while time.monotonic() < deadline:
        answer = _join_lookup(host, port).wait(deadline)
        if isinstance(answer, Exception):
            raise _lookup_error(host, answer)
        if answer is not None:
            return answer
    seconds = max(0.0, deadline - begun)
    raise TimeoutError(f"the look-up of {host!r} took longer than {seconds:.3g} s")


def _parse_literal(host: str, port: int) -> list[_Address]:
    """Return the address that ``host`` is, without a look-up; nothing for a name."""
    numeric = socket.AI_NUMERICHOST
    try:
        return _addresses(
            _socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, numeric)
        )
    except (socket.gaierror, ValueError):  # the look-up will tell what is wrong
        return []


_parse_literal_once = lru_cache(_parse_literal)


def _addresses(found: Iterable[tuple[t.Any, ...]]) -> list[_Address]:
    """Return what ``getaddrinfo()`` found, each address once.

    The scope of an IPv6 address stays as a number only: gevent looks an address up that
    names it ("fe80::1%eth0").
    """
    addresses = []
    for family, _, _, _, (host, *rest) in found:
        argument = (host.partition("%")[0], *rest)
        addresses.append(_Address(int(family), argument, host))
    return list(dict.fromkeys(addresses))


def _getaddrinfo() -> t.Any:
    """Return the system's look-up also where gevent has replaced it: that one waits for
    a thread of gevent's pool, whose jobs may be waiting for this connection.
    """
    if gevent := sys.modules.get("gevent.monkey"):
        return gevent.get_original("socket", "getaddrinfo")
    return socket.getaddrinfo


def _no_descriptor() -> OSError | None:
    """Return the error if no descriptor is left: a look-up, which cannot ask anybody
    then, says that the name is not known.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error
    return None


def _lookup_error(host: str, error: Exception) -> OSError:
    """Return an error of the same kind, as each caller needs one of its own."""
    reason = error.strerror if isinstance(error, OSError) else None
    text = f"cannot look up {host!r}: {reason or str(error) or repr(error)}"
    if isinstance(error, OSError) and error.errno is not None:
        return type(error)(error.errno, text)
    if isinstance(error, ValueError):  # no name at all, as one with a part too long
        return socket.gaierror(socket.EAI_NONAME, text)
    return OSError(text)


# The look-ups under way, by process: those of another were copied by a fork, and their
# threads do not exist here.
_lookups: dict[int, dict[_Key, _Lookup]] = {}


def _lookups_here() -> dict[_Key, _Lookup]:
    """Return the look-ups under way in this process."""
    pid = os.getpid()
    if pid not in _lookups:
        for other in _lookups.copy():
            if other != pid:  # another thread may have been faster
                _lookups.pop(other, None)
    return _lookups.setdefault(pid, {})


def _join_lookup(host: str, port: int) -> _Lookup:
    """Return the look-up of a name that is under way, else start one."""
    lookups = _lookups_here()
    own = _Lookup(lookups, host, port)
    try:
        lookup = lookups.setdefault(own.key, own)
        if lookup is own:
            # Entered before it counts, so that no two take the last place.
            if len(lookups) > MAX_LOOKUPS:
                raise OSError(
                    f"cannot look up {host!r}: {MAX_LOOKUPS} look-ups of other names "
                    "are under way, the most at once"
                )
            own.start()
    except BaseException:
        own.cancel()
        raise
    return lookup


class _Lookup:
    """A look-up of a name, and the callers that wait for its answer."""

    def __init__(self, lookups: dict[_Key, _Lookup], host: str, port: int) -> None:
        self.key = (host, port)
        self._lookups = lookups
        self._pid = os.getpid()
        self._runner: dict[str, int] = {}  # the thread that runs or cancels it
        self._waiters: dict[threading.Lock, None] = {}
        self._answer: _Answer = None
        self._ended = False

    def start(self) -> None:
        """Begin in a thread, where one can be started; else look up now."""
        name = f"mysqlpool-lookup-{self.key[0]}"
        try:
            if gevent := sys.modules.get("gevent.monkey"):
                gevent.get_original("_thread", "start_new_thread")(self._run, ())
            else:
                threading.Thread(target=self._run, name=name, daemon=True).start()
        except RuntimeError:
            self._run()

    def cancel(self) -> None:
        """End without an answer, unless a thread is at it."""
        if self._is_mine():
            self._end(None)

    def wait(self, deadline: float) -> _Answer:
        """Return the answer; ``None`` if there is none by ``deadline``, the look-up was
        interrupted, or this process is a copy made meanwhile.
        """
        waiter = threading.Lock()
        waiter.acquire()
        try:
            # Entered before _ended is read: _end() sets that before it wakes us.
            self._waiters[waiter] = None
            while not self._ended:
                left = deadline - time.monotonic()
                if left <= 0 or os.getpid() != self._pid:
                    break
                waiter.acquire(timeout=min(left, FORK_CHECK_INTERVAL))
        finally:
            self._waiters.pop(waiter, None)
        return self._answer

    def _run(self) -> None:
        if not self._is_mine():
            return  # cancelled before the thread ran
        answer: _Answer = None
        try:
            found = _getaddrinfo()(*self.key, 0, socket.SOCK_STREAM)
            answer = _addresses(found) or socket.gaierror(
                socket.EAI_NONAME, "it has no address"
            )
        except Exception as error:
            answer = _no_descriptor() or error
            answer.with_traceback(None)  # it would hold this look-up
        finally:
            self._end(answer)

    def _is_mine(self) -> bool:
        """Return whether this thread is the first to ask."""
        me = threading.get_ident()
        return self._runner.setdefault("thread", me) == me

    def _end(self, answer: _Answer) -> None:
        """Leave the answer to who waits, but to nobody later: names move."""
        if self._lookups.get(self.key) is self:
            self._lookups.pop(self.key, None)
        if not self._ended:
            self._answer = answer
            self._ended = True
        while self._waiters:
            try:
                waiter, _ = self._waiters.popitem()
            except KeyError:  # the last one left
                break
            waiter.release()
