"""The live page in a real browser: what it shows, and when it asks."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from datetime import datetime
from datetime import timedelta

import flask
import pytest

from ..support.flask_apps import MakeApp
from ..support.live_page import CONTRAST
from ..support.live_page import COUNT_TIMERS
from ..support.live_page import SET_HIDDEN
from ..support.live_page import Shop
from ..support.queries import execute
from ..support.runtime_folders import short_folder
from ..support.waiting import wait_until
from ..support.web_servers import MODULE
from ..support.web_servers import Site

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Debian's package chromium")

PATIENCE = 20_000  # milliseconds
NOON = datetime(2026, 1, 1, 12)


@pytest.fixture(scope="module")
def browser() -> Iterator[t.Any]:
    playwright.expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture
def shop(make_app: MakeApp) -> Iterator[Shop]:
    # A name of its own: the app of the test before may still answer.
    shop = Shop(make_app(f"shop_{secrets.token_hex(3)}", max_size=2))
    shop.get()
    yield shop
    shop.close()


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the browser complains of; at a test's end there is nothing left."""
    found: list[str] = []
    yield found
    assert not found


Open = Callable[..., t.Any]


@pytest.fixture
def open_page(browser: t.Any, complaints: list[str]) -> Iterator[Open]:
    """Open the page of a site: ``open_page(shop.url, color_scheme="dark")``."""
    contexts = []

    def note(message: t.Any) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def open_page(url: str, own_clock: bool = False, **options: t.Any) -> t.Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if own_clock:
            page.clock.install(time=NOON)
            page.clock.pause_at(NOON + timedelta(minutes=1))
            page.add_init_script(COUNT_TIMERS)
        page.goto(f"{url}/pool/")
        return page

    yield open_page
    for context in contexts:
        context.close()


def await_text(page: t.Any, selector: str, pattern: str) -> None:
    found = page.locator(selector).first
    wanted = re.compile(pattern.replace("^", r"^\s*"))
    playwright.expect(found).to_have_text(wanted)


def legend(name: str) -> str:
    return f"figure li:has-text('{name}') b"


def pixels(page: t.Any, chart: str) -> str:
    canvas = page.locator(f"[data-chart={chart}] canvas")
    return str(canvas.evaluate("canvas => canvas.toDataURL()"))


# What it shows


def test_charts_move_under_load(shop: Shop, open_page: Open) -> None:
    page = open_page(shop.url)
    await_text(page, legend("in use"), "^0$")
    names = ("connections", "times", "rates")
    before = {name: pixels(page, name) for name in names}
    with shop.pool.connection():
        await_text(page, legend("in use"), "^1$")
        await_text(page, legend("max"), "^2$")

    def loaded() -> bool:
        shop.get()
        numbers = [page.text_content(legend(n)) for n in ("checkouts", "held p99")]
        return numbers[0] not in ("0", "–") and numbers[1] != "–"

    wait_until(loaded)
    assert all(pixels(page, name) != before[name] for name in names)
    await_text(page, "#state", "^Live · ")


def test_times_are_those_of_the_last_seconds(shop: Shop, open_page: Open) -> None:
    page = open_page(shop.url)
    await_text(page, legend("held p50"), "^–$")  # and not what was before
    with shop.pool.connection() as db:
        execute(db, "SELECT SLEEP(0.3)")
    for name in ("held p50", "held p99"):
        await_text(page, legend(name), r"^[3-9]\d\d ms$")
    await_text(page, legend("waited p99"), "s$")


def test_clock_that_is_set_back_does_not_stop_it(shop: Shop, open_page: Open) -> None:
    page = open_page(shop.url)
    await_text(page, "#state", "^Live")

    def set_back(route: t.Any) -> None:
        answer = route.fetch().json()
        route.fulfill(json=answer | {"time": answer["time"] - 3600})

    page.route("**/data.json", set_back)
    with shop.pool.connection():
        await_text(page, ".verdict", "^1 of 2 in use")


def test_tables_say_what_the_pool_says(shop: Shop, open_page: Open) -> None:
    for _ in range(3):
        shop.get()
    with shop.pool.connection(holder="GET report") as db:
        db.begin()
        execute(db, "SELECT 'secret', 2")
        page = open_page(shop.url)
        await_text(page, "[data-table=holders] tbody", "GET report")
        cells = page.locator("[data-table=holders] tbody td").all_text_contents()
        assert cells[1:3] == ["GET report", "SELECT ?, ?"]
        assert cells[3].startswith("tests/apps/test_status_browser.py:")
        assert cells[4:6] == ["open", str(shop.pool.holders()[0].connection_id)]
        assert cells[6:] == [str(os.getpid()), "MainThread"]
        cells = page.locator("[data-table=workers] tbody td").all_text_contents()
        assert cells[:6] == [str(os.getpid()), "ok", "1", "0", "0", "2"]
    await_text(page, "[data-table=holders] tbody", "^No connection is checked out")
    await_text(page, "[data-table=endpoints] tbody tr", "^GET use4")


def test_exhausted_pool_is_shown_in_words(shop: Shop, open_page: Open) -> None:
    page = open_page(shop.url)
    await_text(page, ".verdict", "^0 of 2 in use")
    with shop.exhausted():
        await_text(page, ".verdict", "^▲ Exhausted in 1 of 1 workers: 1 waiting")
        await_text(page, "[data-table=workers] tbody tr.bad", "▲ exhausted")
        await_text(page, legend("waiting"), "^1$")
        await_text(page, "#announcement[role=status]", "pool default is exhausted")
        assert page.title() == f"▲ Pools of {shop.app.name}"
    await_text(page, ".verdict", "^0 of 2 in use; a caller had to wait")
    await_text(page, "#announcement", "^Live$")
    assert page.title() == f"Pools of {shop.app.name}"


def test_texts_of_others_are_texts(shop: Shop, open_page: Open) -> None:
    evil = "<img src=x onerror=document.title='evil'>"
    with shop.pool.connection(holder=evil):
        page = open_page(shop.url)
        await_text(page, "[data-table=holders] tbody", re.escape(evil))
        await_text(page, "[data-table=endpoints] tbody", re.escape(evil))
        assert page.locator("main img").count() == 0
        assert page.title() == f"Pools of {shop.app.name}"


def test_worker_that_is_silent_is_shown(mysql_url: str, open_page: Open) -> None:
    code = MODULE.replace(
        "    return app\n",
        "    from flask_mysqlpool.status import StatusPage\n"
        "    app.register_blueprint(StatusPage(lambda: True), url_prefix='/pool')\n"
        "    return app\n",
    )
    with short_folder() as folder:
        site = Site(folder, url=mysql_url, runtime_dir=folder / "run")
        (folder / "shop.py").write_text(code)
        with site.gunicorn("--workers=2", "--threads=4") as server:
            wait_until(lambda: server.get("/") and len(site.workers()) == 2)
            page = open_page(f"http://127.0.0.1:{server._port}")
            rows = "[data-table=workers] tbody tr"
            playwright.expect(page.locator(rows)).to_have_count(2)
            asked = server.get("/pid")
            (silent,) = site.workers().keys() - {asked}
            os.kill(silent, signal.SIGSTOP)
            try:
                await_text(page, f"{rows}.bad", f"^{silent}✕ not answering")
            finally:
                os.kill(silent, signal.SIGCONT)
            playwright.expect(page.locator(f"{rows}.bad")).to_have_count(0)
            page.close()


# When it asks


def open_stopped(open_page: Open, shop: Shop, **options: t.Any) -> t.Any:
    """Open a page whose clock stands still; wait for its first answer."""
    page = open_page(shop.url, own_clock=True, **options)
    assert_asks(shop, page, milliseconds=1)
    await_text(page, "#state", "^Live")
    return page


def assert_asks(shop: Shop, page: t.Any, milliseconds: int = 1000) -> None:
    """Let time pass; the page asks once."""
    polls, timers = shop.polls, page.evaluate("timers")
    page.clock.run_for(milliseconds)
    wait_until(lambda: page.evaluate("timers") > timers)
    assert shop.polls == polls + 1


def assert_silence(shop: Shop, page: t.Any) -> None:
    before = shop.polls
    requests: list[t.Any] = []
    page.on("request", lambda request: requests.append(request))
    page.clock.run_for(60_000)
    assert page.evaluate("document.title")  # whatever was sent has been noted by now
    assert (shop.polls, requests) == (before, [])


def test_it_asks_each_second(shop: Shop, open_page: Open) -> None:
    page = open_stopped(open_page, shop)
    for _ in range(3):
        assert_asks(shop, page)


def test_hidden_page_does_not_ask(shop: Shop, open_page: Open) -> None:
    page = open_stopped(open_page, shop)
    assert_asks(shop, page)
    page.evaluate(SET_HIDDEN, True)
    assert_silence(shop, page)
    page.evaluate(SET_HIDDEN, False)
    assert_asks(shop, page, milliseconds=1)


def test_keyboard_pauses_it_and_goes_on(shop: Shop, open_page: Open) -> None:
    page = open_stopped(open_page, shop)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "pause"
    page.keyboard.press("Space")
    assert page.get_attribute("#pause", "aria-pressed") == "true"
    await_text(page, "#state", "^Paused")
    await_text(page, "#announcement", "^Paused")
    assert_silence(shop, page)
    page.keyboard.press("Enter")
    assert_asks(shop, page, milliseconds=1)
    await_text(page, "#state", "^Live")
    assert page.get_attribute("#pause", "aria-pressed") == "false"


def test_lost_connection_is_said_and_found_again(
    shop: Shop, open_page: Open, complaints: list[str]
) -> None:
    page = open_page(shop.url)
    await_text(page, "#state", "^Live")
    page.route("**/data.json", lambda route: route.abort())
    await_text(page, "#note", "The server does not answer. The numbers are from ")
    await_text(page, "#state", "^Connection lost")
    await_text(page, "#announcement", "^Connection lost")
    page.unroute("**/data.json")
    await_text(page, "#state", "^Live")
    assert page.locator("#note").is_hidden()
    assert all("net::ERR_FAILED" in each for each in complaints)
    complaints.clear()


def test_refusal_of_the_guard_is_said(
    shop: Shop, open_page: Open, complaints: list[str]
) -> None:
    page = open_page(shop.url)
    await_text(page, "#state", "^Live")
    shop.answer = flask.Flask("").response_class(status=302, headers={"Location": "/"})
    await_text(page, "#note", "sign in again")
    shop.answer = False
    await_text(page, "#note", "the server answers 403")
    assert all("403" in each for each in complaints)
    complaints.clear()


# How it looks


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_in_light_and_dark(
    shop: Shop, open_page: Open, scheme: str
) -> None:
    with shop.exhausted():
        page = open_page(shop.url, color_scheme=scheme)
        await_text(page, ".verdict", "Exhausted")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        light = int(re.findall(r"\d+", ground)[0]) > 128
        assert light == (scheme == "light")
        for selector in ("h2", ".verdict", "thead th", "td", "tr.bad td", "#state"):
            contrast = page.locator(selector).first.evaluate(CONTRAST)
            assert contrast >= 4.5, selector
        for swatch in page.locator("figure i").all():
            assert swatch.evaluate(CONTRAST) >= 3


def test_charts_follow_a_change_of_colours(shop: Shop, open_page: Open) -> None:
    page = open_stopped(open_page, shop, color_scheme="light")
    before = pixels(page, "connections")
    page.emulate_media(color_scheme="dark")
    wait_until(lambda: pixels(page, "connections") != before)
    assert page.locator("canvas").count() == 3  # and none is left over


def test_phone_scrolls_tables_and_not_the_page(shop: Shop, open_page: Open) -> None:
    with shop.pool.connection(holder="GET " + "a_long_endpoint" * 20) as db:
        execute(db, "SELECT 1 AS " + "a_long_name" * 5)
        size = {"width": 320, "height": 640}
        page = open_page(shop.url, viewport=size, has_touch=True)
        await_text(page, "[data-table=holders] tbody", "a_long_name")
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        box = page.locator("[data-table=holders]")
        assert box.evaluate("box => box.scrollWidth > box.clientWidth")
        assert box.get_attribute("tabindex") == "0"  # not each browser does without
        box.focus()
        page.keyboard.press("ArrowRight")
        wait_until(lambda: box.evaluate("box => box.scrollLeft") > 0)
        assert box.get_attribute("aria-label") == "holders of default"
