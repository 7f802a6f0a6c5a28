"""Run the demo until a signal ends it: a private MariaDB, its tables, and gunicorn.

``scripts/demo`` calls it once the environment is ready.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import NoReturn

from flask_mysqlpool.testing import PrivateServer
from flask_mysqlpool.testing import ServerError
from flask_mysqlpool.testing.datadir import write_private

TOP = Path(__file__).resolve().parent.parent
INSTANCE = TOP / "instance"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CONFIG = """\
# Written by scripts/demo at each start. For other settings set variables such as
# FLASK_MYSQLPOOL_MAX_SIZE.
MYSQLPOOL_URL = "{}"
"""
READY = """
The bank is open on http://127.0.0.1:{0} with two workers; Ctrl-C closes it.
Its pools are on http://127.0.0.1:{0}/pool/. Or type in a second terminal, in this
folder:

    .venv/bin/flask --app example_app pool stats
"""


def main() -> None:
    port = choose_port()
    # The demo's own server is the one to use, whatever the shell has set.
    os.environ.pop("FLASK_MYSQLPOOL_URL", None)
    INSTANCE.mkdir(exist_ok=True)
    with open(INSTANCE / "demo.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("a demo runs in this checkout already: stop it with Ctrl-C first")
        require_free(port)
        for number in SIGNALS:
            signal.signal(number, stop)
        try:
            with PrivateServer(INSTANCE / "server") as server:
                prepare(server)
                serve(port)
        except ServerError as error:
            sys.exit(str(error))


def choose_port() -> int:
    text = os.environ.get("PORT", "5000")
    if not text.isdecimal() or not 0 < int(text) < 65536:
        sys.exit(f"PORT is {text!r}: set a number from 1 to 65535")
    return int(text)


def require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            other = 5001 if port == 5000 else 5000
            sys.exit(
                f"port {port}: {(error.strerror or '').lower()};"
                f" choose another: PORT={other} scripts/demo"
            )


def stop(number: int, frame: FrameType | None) -> NoReturn:
    """Exit through every ``finally``; ignore further signals meanwhile."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(130 if number == signal.SIGINT else 0)


def prepare(server: PrivateServer) -> None:
    """Write the app's configuration; create the tables at the first start."""
    new = INSTANCE / "config.py.new"
    write_private(new, CONFIG.format(server.url("bank")))
    new.replace(INSTANCE / "config.py")
    with server.connect(database="bank") as connection:
        with connection.cursor() as cursor:
            if cursor.execute("SHOW TABLES LIKE 'account'"):
                return
            try:
                run_init_db()
            except BaseException:
                cursor.execute("DROP DATABASE bank")  # incomplete
                raise


def run_init_db() -> None:
    command = [sys.executable, "-m", "flask", "--app", "example_app", "init-db"]
    done = subprocess.run(command, cwd=TOP, start_new_session=True)
    if done.returncode != 0:
        sys.exit("the tables were not created: see above")


def serve(port: int) -> None:
    command = [sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}"]
    command += ["--workers=2", "--threads=4", "--graceful-timeout=2"]
    command += ["--log-level=warning", "--no-control-socket"]
    command += ["example_app:create_app()"]
    # In a session of its own: Ctrl-C reaches this process only, which ends it in order.
    gunicorn = subprocess.Popen(command, cwd=TOP, start_new_session=True)
    try:
        while gunicorn.poll() is None and not answers(port):
            time.sleep(0.1)
        if gunicorn.poll() is None:
            print(READY.format(port), flush=True)
        status = gunicorn.wait()
    finally:
        gunicorn.terminate()
        try:
            gunicorn.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(gunicorn.pid, signal.SIGKILL)
            gunicorn.wait()
    sys.exit(f"gunicorn ended with status {status}: see above")


def answers(port: int) -> bool:
    with closing(
        http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    ) as connection:
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except (OSError, http.client.HTTPException):
            return False
    return True


if __name__ == "__main__":
    main()
