"""A site with the live page, and what tests execute in the browser that shows it."""

from __future__ import annotations

import contextlib
import threading
import typing as t
import urllib.request
from collections.abc import Iterator

import flask
from werkzeug.serving import make_server

from flask_mysqlpool import get_db
from flask_mysqlpool import Pool
from flask_mysqlpool.status import StatusPage

from .flask_apps import pool_of
from .queries import execute
from .waiting import wait_until

# How many timers the page has set.
COUNT_TIMERS = """
    const set = window.setTimeout;
    window.timers = 0;
    window.setTimeout = (...args) => { timers++; return set(...args); };
"""
# What a browser does to a page whose tab is left or chosen.
SET_HIDDEN = """hidden => {
    Object.defineProperty(document, "hidden", {value: hidden, writable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
# Of an element's text, as the Web Content Accessibility Guidelines count it.
CONTRAST = """element => {
    const channels = text => text.match(/[0-9.]+/g).slice(0, 3).map(each => {
        const share = each / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    const light = text => {
        const [r, g, b] = channels(text);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    let ground = element;
    while (/, 0\\)$/.test(getComputedStyle(ground).backgroundColor))
        ground = ground.parentElement;
    const pair = [getComputedStyle(element).color,
                  getComputedStyle(ground).backgroundColor].map(light).sort();
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}"""


class Shop:
    """An app with a pool of two and the page, and a server of it in this process."""

    def __init__(self, app: flask.Flask) -> None:
        self.app = app
        self.polls = 0  # times that the page asked
        self.answer: t.Any = True  # of the guard
        app.add_url_rule("/use", "use", self._use)
        app.register_blueprint(StatusPage(self._guard), url_prefix="/pool")
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def pool(self) -> Pool:
        return pool_of(self.app)

    def get(self) -> None:
        urllib.request.urlopen(f"{self.url}/use", timeout=10).close()

    @contextlib.contextmanager
    def exhausted(self) -> Iterator[None]:
        """Hold every connection while a caller waits for one."""
        with self.pool.connection(holder="GET leak"), self.pool.connection():
            waiter = threading.Thread(target=lambda: self.pool.connection(20).close())
            waiter.start()
            wait_until(lambda: self.pool.stats().waiting == 1)
            yield
        waiter.join()

    def _use(self) -> str:
        execute(get_db(), "SELECT 1")
        return ""

    def _guard(self) -> t.Any:
        self.polls += (flask.request.endpoint or "").endswith(".data")
        return self.answer
