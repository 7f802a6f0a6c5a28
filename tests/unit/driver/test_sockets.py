"""Sockets to servers: every wait ends by the deadline, and no descriptor is left."""

from __future__ import annotations

import _socket
import dis
import errno
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flask_mysqlpool.driver import sockets
from flask_mysqlpool.driver.sockets import local_shortage
from flask_mysqlpool.driver.sockets import open_socket

from ...support.waiting import wait_until

LONG = 20.0  # seconds: what takes as long hangs
SHORT = 0.3  # to a deadline that a test waits for
CHILDREN = Path(__file__).parents[2] / "support" / "sockets_in_a_process.py"


def soon(seconds: float = LONG) -> float:
    return time.monotonic() + seconds


class Resolver:
    """Stands for ``socket.getaddrinfo``; answers a name once its gate is open."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.closed: dict[str, threading.Event] = {}
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.endings: list[BaseException] = []  # of the next look-ups

    def close(self, host: str) -> threading.Event:
        """Let the name wait for its answer until the event that is returned."""
        return self.closed.setdefault(host, threading.Event())

    def __call__(self, host: str, port: int, *options: t.Any) -> list[t.Any]:
        self.asked.append(host)
        if host in self.closed:
            assert self.closed[host].wait(2 * LONG), "the test left the gate closed"
        if self.endings:
            raise self.endings.pop()
        if self.error is not None:
            raise self.error
        found = self.addresses.get(host, [host])
        numeric = (0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        return [_socket.getaddrinfo(each, port, *numeric)[0] for each in found]


def lookup_threads() -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("mysqlpool-lookup")
    ]


def open_sockets() -> int:
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
        except FileNotFoundError:
            pass  # that of the folder itself
    return count


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    yield resolver
    for gate in resolver.closed.values():
        gate.set()


@pytest.fixture(autouse=True)
def leaves_no_socket(resolver: Resolver) -> Iterator[None]:
    """Fail a test that leaves a socket, or a look-up that was answered."""
    before = open_sockets()
    yield
    for gate in resolver.closed.values():
        gate.set()
    wait_until(lambda: not lookup_threads())
    gc.collect()
    wait_until(lambda: open_sockets() <= before)  # others may close one meanwhile


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(200) as callers:
        yield callers


def listen(host: str = "127.0.0.1", port: int = 0) -> tuple[socket.socket, int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    return listener, listener.getsockname()[1]


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which 127.0.0.1 and ::1 listen."""
    listener, port = listen()
    with listener, listen("::1", port)[0]:
        yield port


class Network:
    """Stands for connecting: to each address as :attr:`answers` says. Time passes here
    only.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.answers: dict[str, int] = {}  # error numbers; none: it never answers
        self.tried: list[tuple[str, float]] = []
        self.arguments: list[t.Any] = []

    def connect(self, sock: socket.socket, argument: t.Any) -> None:
        host, seconds = argument[0], sock.gettimeout()
        assert seconds, "it could wait for ever"
        self.arguments.append(argument)
        self.tried.append((host, seconds))
        if host not in self.answers:
            self.now += seconds
            raise TimeoutError("timed out")
        if self.answers[host]:
            raise OSError(self.answers[host], os.strerror(self.answers[host]))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()

    class Socket(socket.socket):
        def connect(self, argument: t.Any) -> None:
            network.connect(self, argument)

    monkeypatch.setattr(socket, "socket", Socket)
    clock = types.SimpleNamespace(monotonic=lambda: network.now)
    monkeypatch.setattr(sockets, "time", clock)
    return network


# The socket


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "db"])
def test_socket_is_as_pymysql_wants_it(
    host: str, port: int, resolver: Resolver
) -> None:
    resolver.addresses["db"] = ["127.0.0.1"]
    with open_socket(host, port, soon()) as sock:
        assert sock.gettimeout() is None
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getpeername()[1] == port


def test_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "server.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with open_socket("nowhere", 1, soon(), unix_socket=path) as sock:
            assert sock.gettimeout() is None
            assert sock.getpeername() == path
    with pytest.raises(ConnectionRefusedError, match=r"server\.sock.*refused"):
        open_socket("nowhere", 1, soon(), unix_socket=path)


def test_unix_socket_has_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    class Socket(socket.socket):
        def connect(self, argument: t.Any) -> None:
            assert 0 < (self.gettimeout() or 0) <= LONG
            raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "socket", Socket)
    with pytest.raises(TimeoutError, match="'/server.sock'.*no answer within"):
        open_socket("nowhere", 1, soon(), unix_socket="/server.sock")


def test_error_without_a_number_is_no_timeout() -> None:
    path = "/long" * 100
    with pytest.raises(OSError, match="path too long") as raised:
        open_socket("nowhere", 1, soon(), unix_socket=path)
    assert not isinstance(raised.value, TimeoutError)


def test_bind_address(port: int) -> None:
    with open_socket("127.0.0.1", port, soon(), bind_address="127.0.0.2") as sock:
        assert sock.getsockname()[0] == "127.0.0.2"


def test_bind_address_of_the_family_is_chosen(port: int, resolver: Resolver) -> None:
    resolver.addresses["here"] = ["127.0.0.2", "::1"]
    with open_socket("::1", port, soon(), bind_address="here") as sock:
        assert sock.getsockname()[0] == "::1"


def test_bind_address_of_another_family(port: int) -> None:
    with pytest.raises(OSError, match=r"127\.0\.0\.1 \(cannot be reached from ::1\)"):
        open_socket("127.0.0.1", port, soon(), bind_address="::1")


def test_name_to_bind_to_has_the_deadline(port: int, resolver: Resolver) -> None:
    resolver.close("here")
    with pytest.raises(TimeoutError, match="look-up of 'here'"):
        open_socket("127.0.0.1", port, soon(SHORT), bind_address="here")


# Literals


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.1"])
def test_literal_needs_no_lookup(
    host: str, port: int, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail())
    open_socket(host, port, soon()).close()
    assert resolver.asked == []


def test_scope_of_a_literal_becomes_a_number(
    network: Network, resolver: Resolver
) -> None:
    network.answers["fe80::1"] = 0
    open_socket("fe80::1%lo", 3306, network.now + 1).close()
    assert network.arguments == [("fe80::1", 3306, 0, socket.if_nametoindex("lo"))]
    assert resolver.asked == []


# Look-ups


def test_lookup_ends_for_its_caller_at_the_deadline(resolver: Resolver) -> None:
    gate = resolver.close("db")
    with pytest.raises(TimeoutError, match=r"look-up of 'db' took longer than 0\.3 s"):
        open_socket("db", 1, soon(SHORT))
    [thread] = lookup_threads()
    assert thread.daemon
    gate.set()
    thread.join(LONG)
    assert not thread.is_alive()


def test_no_lookup_begins_after_the_deadline(resolver: Resolver) -> None:
    with pytest.raises(TimeoutError, match="look-up of 'db'"):
        open_socket("db", 1, soon(-1))
    assert resolver.asked == []


def test_many_callers_share_one_lookup(
    resolver: Resolver, callers: ThreadPoolExecutor
) -> None:
    resolver.close("db")
    before = open_sockets()
    deadline = soon(1)
    calls = [callers.submit(open_socket, "db", 1, deadline) for _ in range(200)]
    wait_until(lambda: resolver.asked)
    for call in calls:
        with pytest.raises(TimeoutError):
            call.result(LONG)
    assert resolver.asked == ["db"]
    assert len(lookup_threads()) == 1
    assert open_sockets() == before


def test_caller_that_leaves_does_not_disturb_the_others(
    port: int, resolver: Resolver, callers: ThreadPoolExecutor
) -> None:
    resolver.addresses["db"] = ["127.0.0.1"]
    gate = resolver.close("db")
    patient = callers.submit(open_socket, "db", port, soon())
    wait_until(lambda: resolver.asked)
    with pytest.raises(TimeoutError):
        open_socket("db", port, soon(SHORT))
    gate.set()
    patient.result(LONG).close()
    assert resolver.asked == ["db"]


def test_answer_wakes_who_waits(
    port: int,
    resolver: Resolver,
    callers: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets, "FORK_CHECK_INTERVAL", 10 * LONG)
    resolver.addresses["db"] = ["127.0.0.1"]
    gate = resolver.close("db")
    calls = [callers.submit(open_socket, "db", port, soon(LONG / 2)) for _ in range(3)]
    wait_until(lambda: resolver.asked)
    gate.set()
    for call in calls:
        call.result(LONG).close()


def test_caller_that_began_the_lookup_may_leave(
    port: int, resolver: Resolver, callers: ThreadPoolExecutor
) -> None:
    resolver.addresses["db"] = ["127.0.0.1"]
    gate = resolver.close("db")
    with pytest.raises(TimeoutError):
        open_socket("db", port, soon(SHORT))
    patient = callers.submit(open_socket, "db", port, soon())
    gate.set()
    patient.result(LONG).close()


def test_answer_is_not_kept(port: int, resolver: Resolver) -> None:
    resolver.addresses["db"] = ["127.0.0.1"]
    open_socket("db", port, soon()).close()
    resolver.addresses["db"] = ["::1"]  # a failover
    with open_socket("db", port, soon()) as sock:
        assert sock.getpeername()[0] == "::1"


def test_slow_lookup_holds_up_nobody_else(port: int, resolver: Resolver) -> None:
    resolver.close("slow")
    resolver.addresses["db"] = ["127.0.0.1"]
    with pytest.raises(TimeoutError):
        open_socket("slow", port, soon(SHORT))
    open_socket("db", port, soon()).close()


def test_lookups_under_way_have_a_limit(
    port: int, resolver: Resolver, callers: ThreadPoolExecutor
) -> None:
    names = [f"slow{number}" for number in range(sockets.MAX_LOOKUPS)]
    for name in names:
        resolver.addresses[name] = ["127.0.0.1"]
        resolver.close(name)
    calls = [callers.submit(open_socket, name, port, soon()) for name in names]
    wait_until(lambda: sorted(resolver.asked) == sorted(names))
    with pytest.raises(OSError, match="cannot look up 'db': 16 look-ups") as raised:
        open_socket("db", port, soon())
    assert not isinstance(raised.value, TimeoutError)
    assert len(lookup_threads()) == sockets.MAX_LOOKUPS

    open_socket("127.0.0.1", port, soon()).close()
    calls.append(callers.submit(open_socket, names[0], port, soon()))
    for name in names:
        resolver.closed[name].set()
    for call in calls:
        call.result(LONG).close()
    wait_until(lambda: not lookup_threads())
    resolver.addresses["db"] = ["127.0.0.1"]
    open_socket("db", port, soon()).close()


def test_lookup_without_threads(
    port: int, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    resolver.addresses["db"] = ["127.0.0.1"]
    open_socket("db", port, soon()).close()
    resolver.endings.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        open_socket("db", port, soon())
    open_socket("db", port, soon()).close()


@pytest.mark.parametrize(
    ("error", "kind", "number"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "try again"), socket.gaierror, None),
        (UnicodeError("label too long"), socket.gaierror, socket.EAI_NONAME),
        (OSError(errno.EMFILE, "too many files"), OSError, errno.EMFILE),
        (MemoryError(), OSError, None),
    ],
)
def test_error_of_a_lookup_names_the_host(
    error: Exception, kind: type[OSError], number: int | None, resolver: Resolver
) -> None:
    resolver.error = error
    with pytest.raises(kind, match="cannot look up 'db': .+") as raised:
        open_socket("db", 1, soon())
    assert number in (None, raised.value.errno)


def test_each_caller_has_an_error_of_its_own(
    resolver: Resolver, callers: ThreadPoolExecutor
) -> None:
    gate = resolver.close("db")
    resolver.error = socket.gaierror(socket.EAI_NONAME, "not known")
    calls = [callers.submit(open_socket, "db", 1, soon()) for _ in range(2)]
    wait_until(lambda: resolver.asked)
    gate.set()
    first, second = (call.exception(LONG) for call in calls)
    assert first is not second
    assert isinstance(first, socket.gaierror)
    assert first.errno == socket.EAI_NONAME


def test_name_without_addresses(resolver: Resolver) -> None:
    resolver.addresses["db"] = []
    with pytest.raises(socket.gaierror, match="'db'"):
        open_socket("db", 1, soon())


# Several addresses


def test_each_address_has_an_equal_share_of_the_time(
    network: Network, resolver: Resolver
) -> None:
    resolver.addresses["db"] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    with pytest.raises(TimeoutError) as raised:
        open_socket("db", 3306, network.now + 3)
    assert network.tried == [("10.0.0.1", 1), ("10.0.0.2", 1), ("10.0.0.3", 1)]
    assert str(raised.value) == (
        "'db' port 3306: 10.0.0.1 (no answer within 1 s), "
        "10.0.0.2 (no answer within 1 s), 10.0.0.3 (no answer within 1 s)"
    )


def test_time_that_an_address_did_not_use_goes_to_the_others(
    network: Network, resolver: Resolver
) -> None:
    resolver.addresses["db"] = ["10.0.0.1", "fd00::1", "10.0.0.3"]
    network.answers["10.0.0.1"] = errno.EHOSTUNREACH
    network.answers["10.0.0.3"] = 0
    open_socket("db", 3306, network.now + 6).close()
    assert network.tried == [("10.0.0.1", 2), ("fd00::1", 3), ("10.0.0.3", 3)]


def test_error_is_the_last_and_names_each_address(
    network: Network, resolver: Resolver
) -> None:
    resolver.addresses["db"] = ["10.0.0.1", "10.0.0.2"]
    network.answers["10.0.0.2"] = errno.ECONNREFUSED
    with pytest.raises(ConnectionRefusedError) as raised:
        open_socket("db", 3306, network.now + 1)
    assert raised.value.errno == errno.ECONNREFUSED
    assert raised.value.strerror == (
        "'db' port 3306: 10.0.0.1 (no answer within 0.5 s), "
        "10.0.0.2 (Connection refused)"
    )


@pytest.mark.parametrize("missing_at", ["10.0.0.1", "10.0.0.2"])
def test_shortage_here_is_no_failure_of_an_address(
    missing_at: str, network: Network, resolver: Resolver
) -> None:
    """The address at which it was met may be well: it was not asked."""
    resolver.addresses["db"] = ["10.0.0.1", "10.0.0.2"]
    network.answers.update(dict.fromkeys(resolver.addresses["db"], errno.ECONNREFUSED))
    network.answers[missing_at] = errno.ENOBUFS
    with pytest.raises(OSError, match=r"10\.0\.0\.1 .*10\.0\.0\.2") as raised:
        open_socket("db", 3306, network.now + 1)
    assert "no memory left for sockets" in local_shortage(raised.value)


def test_name_that_nobody_could_be_asked_for_is_a_shortage(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a descriptor the resolver says that the name is not known."""
    resolver.error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    with pytest.raises(socket.gaierror):
        open_socket("db", 3306, time.monotonic() + LONG)

    def full(*arguments: object) -> t.NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        with pytest.raises(OSError, match="cannot look up 'db'") as raised:
            open_socket("db", 3306, time.monotonic() + LONG)
    assert "no file descriptor" in local_shortage(raised.value)


def test_other_addresses_are_tried_in_a_shortage(
    network: Network, resolver: Resolver
) -> None:
    """No port may be free to connect from to one address, and many to another."""
    resolver.addresses["db"] = ["10.0.0.1", "10.0.0.2"]
    network.answers.update({"10.0.0.1": errno.EADDRNOTAVAIL, "10.0.0.2": 0})
    open_socket("db", 3306, network.now + 1).close()


@pytest.mark.parametrize(
    ("host", "bind_address", "shortage"),
    [
        ("10.0.0.1", None, "this machine has no port left"),
        ("fd00::1", None, ""),  # or the machine has no address of IPv6
        ("10.0.0.1", "127.0.0.1", ""),  # bind() would have said so
    ],
)
def test_ports_that_are_all_in_use(
    host: str, bind_address: str | None, shortage: str, network: Network
) -> None:
    network.answers[host] = errno.EADDRNOTAVAIL
    with pytest.raises(OSError) as raised:
        open_socket(host, 3306, network.now + 1, bind_address=bind_address)
    assert local_shortage(raised.value).startswith(shortage)
    assert bool(local_shortage(raised.value)) == bool(shortage)


def test_each_address_is_tried_once(network: Network, resolver: Resolver) -> None:
    resolver.addresses["db"] = ["10.0.0.1", "10.0.0.1"]
    network.answers["10.0.0.1"] = errno.ECONNREFUSED
    with pytest.raises(ConnectionRefusedError):
        open_socket("db", 3306, network.now + 1)
    assert network.tried == [("10.0.0.1", 1)]


def test_nothing_is_tried_after_the_deadline(network: Network) -> None:
    with pytest.raises(TimeoutError, match="no time was left"):
        open_socket("127.0.0.1", 3306, network.now)
    assert network.tried == []


def test_address_that_drops_packets_leaves_time_for_the_next(
    resolver: Resolver,
) -> None:
    """As on a real network: a full queue of connections drops what comes."""
    resolver.addresses["db"] = ["127.0.0.1", "::1"]
    full, port = listen()
    full.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    with full, listen("::1", port)[0]:
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        with pytest.raises(TimeoutError, match="no answer"):
            open_socket("127.0.0.1", port, soon(SHORT))
        with open_socket("db", port, soon(2)) as sock:
            assert sock.getpeername()[0] == "::1"
        for each in waiting:
            each.close()


# Interrupts


# What the instructions are called after which Python looks for signals.
SIGNALS = ("CALL", "JUMP_ABSOLUTE", "JUMP_BACKWARD", "POP_JUMP_BACKWARD", "RESUME")


class Interrupt(BaseException):
    """Ctrl-C, or gevent's Timeout."""


def interrupted_at(number: int, call: Callable[[], socket.socket]) -> Interrupt | None:
    """Interrupt ``call`` at moment ``number`` of the module's own code; return the
    interrupt, or nothing if it had fewer moments.

    Python looks for signals after a call, after a jump back and where a function
    begins, but not where it turns to an exception.
    """
    moments = 0
    last: dict[types.FrameType, str] = {}

    def trace(frame: types.FrameType, event: str, argument: object) -> t.Any:
        nonlocal moments
        if frame.f_code.co_filename != sockets.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            before, last[frame] = last.get(frame, "RESUME"), name
            if before.startswith(SIGNALS) and name != "PUSH_EXC_INFO":
                moments += 1
                if moments == number:
                    last.clear()
                    raise Interrupt
        return trace

    earlier = sys.gettrace()
    sys.settrace(trace)
    try:
        sock = call()
    except Interrupt as interrupt:
        return interrupt
    finally:
        sys.settrace(earlier)
        last.clear()
    sock.close()
    return None


# Python closes a socket that was interrupted on its way into a variable, and says so.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("threads", [True, False])
def test_interrupt_at_any_moment_leaves_nothing(
    threads: bool, port: int, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    if not threads:
        monkeypatch.setattr(threading.Thread, "start", fail)
    resolver.addresses["db"] = ["10.0.0.1", "127.0.0.1"]
    resolver.addresses["here"] = ["127.0.0.1"]
    before = open_sockets()

    def call() -> socket.socket:
        return open_socket("db", port, soon(), bind_address="here")

    interrupted_at(0, call)  # Python 3.12 traces instructions from the second time on
    number = 1
    while interrupt := interrupted_at(number, call):
        # Its traceback keeps the frames and what their variables hold.
        assert open_sockets() == before, interrupt.__traceback__
        number += 1
    assert number > 50
    for name in ("db", "here"):  # neither is taken for one under way
        resolver.asked.clear()
        open_socket("127.0.0.1", port, soon(), bind_address="here").close()
        open_socket(name, port, soon()).close()
        assert name in resolver.asked


@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupt_of_a_thread_that_starts(
    when: str, port: int, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up whose thread did not begin is cancelled; one that began goes on."""
    start = threading.Thread.start
    threads: list[threading.Thread] = []

    def interrupted(thread: threading.Thread) -> None:
        threads.append(thread)
        if when == "after":
            start(thread)
            wait_until(lambda: resolver.asked)
        raise Interrupt

    resolver.addresses["db"] = ["127.0.0.1"]
    gate = resolver.close("db")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(Interrupt):
            open_socket("db", port, soon())
    if when == "before":
        start(threads[0])
        threads[0].join(LONG)
        assert resolver.asked == [], "it was cancelled"
    with pytest.raises(TimeoutError):
        open_socket("db", port, soon(SHORT))
    assert resolver.asked == ["db"]
    gate.set()
    open_socket("db", port, soon()).close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_lookup_whose_thread_is_ended_is_begun_anew(
    port: int, resolver: Resolver
) -> None:
    resolver.addresses["db"] = ["127.0.0.1"]
    resolver.endings.append(SystemExit())  # gevent's GreenletExit is alike
    open_socket("db", port, soon()).close()
    assert resolver.asked == ["db", "db"]


def test_others_go_on_when_who_looks_up_is_interrupted(
    port: int,
    resolver: Resolver,
    callers: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    resolver.addresses["db"] = ["127.0.0.1"]
    joined: list[Future[socket.socket]] = []

    def interrupted(host: str, port: int, *options: t.Any) -> t.Any:
        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        joined.append(callers.submit(open_socket, host, port, soon()))
        raise Interrupt

    callers.submit(int).result()  # its thread starts here
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", interrupted)
        callers.submit(int).result()
        start = threading.Thread.start
        patch.setattr(
            threading.Thread,
            "start",
            lambda thread: (
                fail(thread) if thread.name.startswith("mysqlpool-") else start(thread)
            ),
        )
        with pytest.raises(Interrupt):
            open_socket("db", port, soon())
        joined[0].result(LONG).close()


# Processes of their own


def run(what: str) -> None:
    subprocess.run(
        [sys.executable, "-W", "error", str(CHILDREN), what], check=True, timeout=60
    )


@pytest.mark.parametrize("fork", ["without_hooks", "with_hooks"])
def test_forked_child_looks_up_itself(fork: str) -> None:
    run(f"fork_{fork}")


def test_caller_copied_by_a_fork_looks_up_itself() -> None:
    run("fork_of_a_waiting_caller")


def test_lookup_does_not_hold_up_the_end_of_the_process() -> None:
    run("exit_during_a_lookup")


@pytest.mark.parametrize(
    "what",
    [
        *("lookups", "literal", "busy", "thread_that_left"),
        *("interrupts", "black_hole", "fork"),
    ],
)
def test_gevent(what: str) -> None:
    pytest.importorskip("gevent")
    run(f"gevent_{what}")


def test_signal_does_not_end_the_wait(port: int, resolver: Resolver) -> None:
    resolver.addresses["db"] = ["127.0.0.1"]
    gate = resolver.close("db")
    handled = threading.Event()
    earlier = signal.signal(signal.SIGUSR1, lambda *_: handled.set())

    def interrupt() -> None:
        wait_until(lambda: resolver.asked)
        os.kill(os.getpid(), signal.SIGUSR1)
        handled.wait(LONG)
        gate.set()

    helper = threading.Thread(target=interrupt)
    helper.start()
    try:
        open_socket("db", port, soon()).close()
    finally:
        helper.join()
        signal.signal(signal.SIGUSR1, earlier)
    assert handled.is_set()
