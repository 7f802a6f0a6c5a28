"""Take the pictures of the live page: the example bank under load, in Chromium.

Once by hand, before a release, as ``capture.py``: ``.venv/bin/python
docs/screenshots.py``. Needs Debian's package chromium.
"""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from capture import DOCS
from capture import Shell
from playwright.sync_api import sync_playwright

from flask_mysqlpool.testing import PrivateServer

IMAGES = DOCS / "images"
SERVER = "gunicorn --workers=2 --threads=8 --log-level=warning --no-control-socket"
SIZE = {"width": 1120, "height": 700}
HISTORY = 170  # seconds that a chart is filled with


@contextmanager
def load(bank: Shell) -> Iterator[threading.Event]:
    """Visit the bank; now and then somebody is slow. The event that this yields brings
    more slow ones than there are connections.
    """
    ended, rush = threading.Event(), threading.Event()

    def visit() -> None:
        while not ended.wait(random.uniform(0.01, 0.2)):
            bank.get(random.choice(["/", "/accounts/1", "/slow?seconds=0.02"]))

    def dawdle() -> None:
        while not ended.wait(random.uniform(3, 9)):
            bank.get("/slow?seconds=1.5")

    def press() -> None:
        rush.wait()
        while not ended.is_set():
            bank.get("/slow?seconds=4")

    targets = [visit] * 5 + [dawdle] * 3 + [press] * 6
    visitors = [threading.Thread(target=each) for each in targets]
    for visitor in visitors:
        visitor.start()
    try:
        yield rush
    finally:
        ended.set()
        rush.set()
        for visitor in visitors:
            visitor.join()


def main() -> None:
    with (
        PrivateServer() as server,
        sync_playwright() as playwright,
        TemporaryDirectory() as folder,
    ):
        variables = {
            "FLASK_MYSQLPOOL_MAX_SIZE": "3",
            "FLASK_MYSQLPOOL_RUNTIME_DIR": folder,  # not that of another bank here
        }
        bank = Shell(DOCS.parent, server.url("bank"), **variables)
        bank.show("flask --app example_app init-db")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        with bank.serving(f"{SERVER} example_app:create_app()"), load(bank) as rush:
            page = browser.new_page(viewport=SIZE)
            page.goto(f"http://127.0.0.1:{bank.port}/pool/")
            page.wait_for_timeout(HISTORY * 1000)
            page.screenshot(path=IMAGES / "status-light.png")
            page.emulate_media(color_scheme="dark")
            rush.set()
            page.locator(".verdict.exhausted").wait_for()
            page.wait_for_timeout(6000)
            page.screenshot(path=IMAGES / "status-dark.png")
        browser.close()


if __name__ == "__main__":
    main()
