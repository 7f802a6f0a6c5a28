"""A process that is interrupted at any moment keeps its pool sound."""

from __future__ import annotations

import pytest

from ..support.interrupted_process import InterruptedProcess
from ..support.ledger import Ledger
from ..support.tcp_proxy import PING
from ..support.tcp_proxy import QUERY
from ..support.tcp_proxy import TCPProxy
from ..support.waiting import wait_until


def test_sigint_in_a_query(mysql_url: str, ledger: Ledger) -> None:
    with ledger.lock() as query, InterruptedProcess("query", mysql_url, query) as child:
        ledger.await_execution(query)
        child.interrupt()
        assert child.report() == {"interrupted": 1}


def test_sigint_in_the_queue(mysql_url: str) -> None:
    with InterruptedProcess("queue", mysql_url) as child:
        child.await_line("waiting")
        child.interrupt()
        assert child.report() == {"interrupted": 1}


def test_sigint_in_a_login(mysql_url: str) -> None:
    with TCPProxy(mysql_url) as proxy:
        proxy.holds_new = True
        with InterruptedProcess("login", proxy.url) as child:
            wait_until(lambda: proxy.sessions)
            proxy.holds_new = False
            child.interrupt()
            assert child.report() == {"interrupted": 1}


@pytest.mark.parametrize("point", ["reset", "ping"])
def test_sigint_while_the_pool_waits_for_an_answer(mysql_url: str, point: str) -> None:
    with TCPProxy(mysql_url) as proxy, InterruptedProcess(point, proxy.url) as child:
        child.await_line("used")
        proxy.sessions[0].hold()
        count = len(proxy.commands)
        child.go_on()
        last = PING if point == "ping" else QUERY  # ROLLBACK
        wait_until(
            lambda: len(proxy.commands) > count and proxy.commands[-1][0] == last
        )
        child.interrupt()
        assert child.report() == {"interrupted": 1}


def test_signals_at_any_moment(mysql_url: str) -> None:
    """No lock is left behind, no place is lost, and no row is another's."""
    with InterruptedProcess("storm", mysql_url, "1000") as child:
        report = child.report()
        assert report.pop("interrupted") >= 500
        assert report.pop("unowned") >= 0
        assert not any(report.values()), report


def test_gevent_timeouts_at_any_moment(mysql_url: str) -> None:
    pytest.importorskip("gevent")
    with InterruptedProcess("greenlets", mysql_url) as child:
        report = child.report()
        assert report.pop("timeouts") > 20
        assert report.pop("finished") > 20
        assert report == {"wrong": 0, "in_use": 0, "waiting": 0, "unexpected": []}
