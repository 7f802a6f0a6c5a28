"""A pool to check: its settings, its servers and what its workers say."""

from __future__ import annotations

import dataclasses
import typing as t

from flask_mysqlpool.config.settings import Settings
from flask_mysqlpool.control.client import Reply
from flask_mysqlpool.diagnostics.checks import run_checks
from flask_mysqlpool.diagnostics.findings import Finding
from flask_mysqlpool.diagnostics.server_info import ServerInfo
from flask_mysqlpool.stats.readings import PoolStats

from .pools import settings_for

Replies = list[Reply[PoolStats]]
VIEW = ServerInfo(
    version="10.11.19-MariaDB",
    max_connections=151,
    max_user_connections=0,
    wait_timeout=28800,
    hostname="db",
    port=3306,
    socket="/run/mysqld.sock",
    account="app@%",
    database="bank",
    charset="utf8mb4",
    charset_of_database="utf8mb4",
    charset_of_server="utf8mb4",
    threads_connected=1,
    tls="TLS_AES_256_GCM_SHA384",
    tls_mode="VERIFY_IDENTITY",
    login_plugin="caching_sha2_password",
    clock_ahead_seconds=0.0,
    round_trip_seconds=0.001,
)


class CheckCase:
    """What there is to be checked; all well, but for what a test changes."""

    def __init__(self) -> None:
        self.binds: dict[str, Settings] = {}
        self.views: dict[str, ServerInfo | Exception] = {}
        self.answers: list[Replies] = [[]]
        self.paused: list[float] = []
        self.named_locks: list[str] | Exception = []

    def bind(self, name: str = "default", **settings: t.Any) -> None:
        values = {"ssl_verify_identity": True} | settings
        self.binds[name] = settings_for("mysql://db/bank", **values)
        self.views.setdefault(name, VIEW)

    def view(self, name: str = "default", **values: t.Any) -> None:
        self.views[name] = dataclasses.replace(VIEW, **values)

    def workers(self, *readings: PoolStats, bind: str = "default") -> None:
        self.answers = [[Reply(pid, {bind: r}) for pid, r in enumerate(readings, 41)]]

    def ask(self) -> Replies:
        return self.answers.pop(0)

    def findings(self) -> list[Finding]:
        pause = self.paused.append
        query = lambda binds: self.views  # noqa: E731
        locks = self._query_named_locks
        return list(run_checks(self.binds, self.ask, query, pause, locks))

    def _query_named_locks(self, settings: Settings) -> list[str]:
        if isinstance(self.named_locks, Exception):
            raise self.named_locks
        return self.named_locks

    def found(self, check: str) -> Finding:
        """Return the one finding of a check."""
        (finding,) = [each for each in self.findings() if each.check == check]
        return finding
