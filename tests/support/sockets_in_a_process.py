"""What :mod:`test_sockets` tries in processes of their own: forks, and gevent, which
replaces what the whole process uses.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and sys.argv[1].startswith("gevent"):
    from gevent import monkey

    monkey.patch_all()

import _socket
import contextlib
import ctypes
import os
import signal
import socket
import threading
import time
import typing as t
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from flask_mysqlpool.driver.sockets import open_socket  # noqa: E402  # the path first

LONG = 20.0


def soon(seconds: float = LONG) -> float:
    return time.monotonic() + seconds


def answer(host: str, port: int, *options: t.Any) -> list[t.Any]:
    """Stand for ``socket.getaddrinfo``: each name is that of 127.0.0.1."""
    return _socket.getaddrinfo("127.0.0.1", port, 0, socket.SOCK_STREAM)


class Gate:
    """Blocks a whole thread until it is set: gevent's events need a hub to wait in, and
    look-ups run outside of all.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def set(self) -> None:
        os.write(self._writer, bytes(100))  # for as many who wait

    def wait(self) -> None:
        os.read(self._reader, 1)


class Silence:
    """Stands for ``socket.getaddrinfo`` of a resolver that does not answer."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.count = 0
        self.gate = Gate()

    def __call__(self, *arguments: t.Any) -> list[t.Any]:
        self.count += 1
        self.asked.set()
        self.gate.wait()
        return answer(*arguments)


def resolve_with(resolver: t.Any) -> None:
    if patched := sys.modules.get("gevent.monkey"):
        patched.saved["socket"]["getaddrinfo"] = resolver
    else:
        socket.getaddrinfo = resolver


def listen() -> tuple[socket.socket, int]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=300)
    return listener, listener.getsockname()[1]


def fails_by(seconds: float, port: int) -> None:
    try:
        open_socket("db", port, soon(seconds))
    except TimeoutError:
        return
    raise AssertionError("it must have failed")


def child_of(fork: Callable[[], int], work: Callable[[], None]) -> None:
    """Do ``work`` in a child, and fail if it does."""
    pid = fork()
    if not pid:
        try:
            work()
        except BaseException as error:
            print(f"in the child: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def fork_unseen() -> int:
    """Fork as uWSGI does: Python's hooks do not run."""
    return t.cast(int, ctypes.PyDLL(None).fork())


def fork_during_a_lookup(fork: Callable[[], int]) -> None:
    silence = Silence()
    resolve_with(silence)
    listener, port = listen()
    fails_by(0.3, port)

    def work() -> None:
        resolve_with(answer)
        open_socket("db", port, soon(5)).close()

    child_of(fork, work)
    fails_by(0.3, port)
    assert silence.count == 1, "the parent's went on"
    listener.close()


def fork_without_hooks() -> None:
    fork_during_a_lookup(fork_unseen)


def fork_with_hooks() -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # it has threads
    fork_during_a_lookup(os.fork)


def fork_of_a_waiting_caller() -> None:
    """A signal handler forks, and the child goes on in the midst of the wait."""
    listener, port = listen()
    parent = os.getpid()
    gate = threading.Event()
    children = []

    def fork(*_: object) -> None:
        pid = fork_unseen()
        if pid:
            children.append(pid)
            gate.set()
        else:
            resolve_with(answer)

    def resolver(*arguments: t.Any) -> list[t.Any]:
        os.kill(parent, signal.SIGUSR1)
        gate.wait()
        return answer(*arguments)

    signal.signal(signal.SIGUSR1, fork)
    resolve_with(resolver)
    try:
        open_socket("db", port, soon(5)).close()
    except BaseException as error:
        print(f"in {os.getpid()} of {parent}: {error!r}", file=sys.stderr)
        os._exit(1)
    if os.getpid() != parent:
        os._exit(0)
    assert os.waitpid(children[0], 0)[1] == 0
    listener.close()


def exit_during_a_lookup() -> None:
    resolve_with(Silence())
    fails_by(0.3, 1)


def gevent_lookups() -> None:
    import gevent

    silence = Silence()
    resolve_with(silence)
    listener, port = listen()
    callers = [gevent.spawn(open_socket, "db", port, soon()) for _ in range(200)]
    silence.asked.wait(LONG)
    fails_by(0.3, port)
    silence.gate.set()
    for caller in callers:
        caller.get(timeout=LONG).close()
    assert silence.count == 1
    listener.close()


class NoResolver:
    """Stands for the resolver of gevent's hub, which must not be asked."""

    def __getattr__(self, name: str) -> t.NoReturn:
        raise AssertionError(f"asked to {name}")


def gevent_literal() -> None:
    """A look-up would wait for a thread of gevent's, and they may all be in use."""
    import gevent

    gevent.get_hub().resolver = NoResolver()
    with busy_threads():
        listener, port = listen()
        with socket.create_server(("::1", port), family=socket.AF_INET6):
            for host in ("127.0.0.1", "::1", "::1%1", "::ffff:127.0.0.1"):
                open_socket(host, port, soon()).close()
            open_socket("127.0.0.1", port, soon(), bind_address="127.0.0.2").close()
        listener.close()
        for host in ("fe80::1%lo", "fe80::1%1"):
            try:
                open_socket(host, 1, soon(1)).close()
            except OSError as error:
                print(error)


def gevent_busy() -> None:
    """The look-up of a name is done where all of gevent's threads are busy, and ends
    for its caller at the deadline where it is not.
    """
    silence = Silence()
    resolve_with(silence)
    listener, port = listen()
    with busy_threads():
        fails_by(0.3, port)
        silence.gate.set()
        open_socket("db", port, soon()).close()
    listener.close()


def gevent_thread_that_left() -> None:
    """A look-up that a job of gevent's threadpool began goes on without it: else nobody
    could look the name up again.
    """
    import gevent

    silence = Silence()
    resolve_with(silence)
    listener, port = listen()
    gevent.get_hub().threadpool.apply(fails_by, (0.3, port))
    silence.gate.set()
    open_socket("db", port, soon()).close()
    listener.close()


@contextlib.contextmanager
def busy_threads() -> Iterator[None]:
    """Let all threads of gevent's pool be in use."""
    import gevent

    pool = gevent.get_hub().threadpool
    pool.maxsize = 2
    gates = [Gate(), Gate()]
    jobs = [pool.spawn(gate.wait) for gate in gates]
    yield
    assert not any(job.ready() for job in jobs)
    for gate in gates:
        gate.set()
    gevent.joinall(jobs)


def gevent_interrupts() -> None:
    """gevent's Timeout strikes the caller that waits, and the one that starts."""
    import gevent

    silence = Silence()
    resolve_with(silence)
    listener, port = listen()
    before = len(os.listdir("/proc/self/fd"))
    for seconds in (0, 0, 0.01, 0.05):
        try:
            with gevent.Timeout(seconds):
                open_socket("db", port, soon())
        except gevent.Timeout:
            pass
    assert silence.count <= 1
    assert len(os.listdir("/proc/self/fd")) == before
    caller = gevent.spawn(open_socket, "db", port, soon())
    silence.asked.wait(LONG)
    assert silence.count == 1
    silence.gate.set()
    caller.get(timeout=LONG).close()
    listener.close()


def gevent_black_hole() -> None:
    """While one waits for an address that drops packets, the others go on."""
    import gevent

    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = [socket.socket() for _ in range(2)]
    for each in waiting:
        each.setblocking(False)
        each.connect_ex(full.getsockname())
    listener, port = listen()
    dropped = gevent.spawn(open_socket, *full.getsockname(), soon(1))
    gevent.spawn(open_socket, "127.0.0.1", port, soon()).get(timeout=LONG).close()
    assert not dropped.ready()
    dropped.join(LONG)
    assert isinstance(dropped.exception, TimeoutError)
    for each in (full, listener, *waiting):
        each.close()


def gevent_fork() -> None:
    """All greenlets go on in the child, but not the resolver's threads."""
    import gevent

    silence = Silence()
    resolve_with(silence)
    listener, port = listen()
    waiting = gevent.spawn(open_socket, "db", port, soon())
    silence.asked.wait(LONG)

    def work() -> None:
        resolve_with(answer)
        waiting.get(timeout=LONG).close()

    child_of(os.fork, work)
    waiting.kill()
    listener.close()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
