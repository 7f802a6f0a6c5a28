"""Run the suites of PyMySQL, DBUtils and SQLAlchemy, plain and pooled, and compare.

``scripts/foreign`` calls it once the environment is ready. The suites are those of the
source packages, which are kept in the user's cache folder, beside what pytest printed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import typing as t
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote
from urllib.parse import urlsplit
from xml.etree import ElementTree

from _foreign_reasons import REASONS
from _foreign_reasons import Reasons

from flask_mysqlpool.testing import PrivateServer

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FOLDER = CACHE / "flask_mysqlpool" / "foreign"
LIMIT = 1800  # seconds for one run
INDENT = " " * 7
DATABASES = ("test1", "test2", "test", "test_schema", "test_schema_2")
# PyMySQL's last package with its suite. It is run with the PyMySQL that is installed.
LAST_PYMYSQL = "0.10.1"
SUITES = {
    "PyMySQL": ("pymysql/tests",),
    "DBUtils": ("tests/test_pooled_db.py",),
    "SQLAlchemy": (
        "test/dialect/test_suite.py",
        "test/dialect/mysql",
        "test/engine/test_reconnect.py",
        "test/engine/test_transaction.py",
    ),
}


class Outcome(t.NamedTuple):
    """What came out of a test: passed, failure, error, skipped, or missing."""

    kind: str
    message: str = ""


def main() -> None:
    wanted = dict(each.partition("=")[::2] for each in sys.argv[1:] or SUITES)
    if unknown := wanted.keys() - SUITES:
        sys.exit(f"no such suite: {', '.join(unknown)}; there are {', '.join(SUITES)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    unexplained = 0
    with PrivateServer(options=["--local-infile=1"]) as server:
        for database in DATABASES:
            server.url(database)  # creates it
        for name, folder in wanted.items():
            source = Path(folder).resolve() if folder else sources(name)
            if name == "PyMySQL":
                configure(source, server)
            plain = outcomes(name, source, server)
            pooled = outcomes(name, source, server, "--pooled")
            unexplained += report(source.name, plain, pooled, REASONS[name])
    if unexplained:
        sys.exit(f"\n{unexplained} differences are not explained: see {FOLDER}")


def sources(name: str) -> Path:
    """Return the folder of a package's sources, downloaded if it is not there."""
    wanted = f"{name}=={installed(name)}" if installed(name) else name
    folder = FOLDER / wanted
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=FOLDER) as temporary:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            pip += ["--no-binary", name, "--dest", temporary, wanted]
            subprocess.run(pip, check=True)
            (archive,) = Path(temporary).iterdir()
            unpacked = Path(temporary, "unpacked")
            unpacked.mkdir()
            subprocess.run(["tar", "xzf", archive, "-C", unpacked], check=True)
            unpacked.rename(folder)
    (source,) = folder.iterdir()
    return source


def installed(name: str) -> str:
    if name == "PyMySQL":
        return LAST_PYMYSQL
    try:
        return version(name)
    except PackageNotFoundError:
        return ""  # the newest: SQLAlchemy's suite brings SQLAlchemy along


def configure(source: Path, server: PrivateServer) -> None:
    """Tell PyMySQL's suite where the server is."""
    tests = source / "pymysql" / "tests"
    key = "database" if '"database"' in (tests / "base.py").read_text() else "db"
    url = urlsplit(server.url("test1"))
    access = {"host": url.hostname, "port": url.port, "ssl_disabled": True}
    access |= {"user": url.username, "password": unquote(url.password or "")}
    databases = [
        {**access, key: "test1", "local_infile": True},
        {**access, key: "test2"},
    ]
    (tests / "databases.json").write_text(json.dumps(databases))
    (FOLDER / ".my.cnf").write_text("[client]\n")


def outcomes(
    name: str, source: Path, server: PrivateServer, *options: str
) -> dict[str, Outcome]:
    """Run a suite; return what came out by test."""
    scripts = Path(__file__).resolve().parent
    environment = {
        **os.environ,
        "FOREIGN_URL": server.url("test"),
        "HOME": str(FOLDER),  # PyMySQL's suite reads ~/.my.cnf
        "PYTHONPATH": f"{scripts}:{scripts.parent}",
    }
    log = FOLDER / f"{name}{''.join(options)}.log"
    if name == "SQLAlchemy":
        options += ("--dburi", server.url("test").replace("mysql:", "mysql+pymysql:"))
    with tempfile.TemporaryDirectory() as folder, log.open("w") as output:
        path = Path(folder, "outcomes.xml")
        # Not by "-m pytest": that would find the packages in the working folder first.
        command = [str(Path(sys.executable).with_name("pytest")), "-q"]
        command += ["-p", "_foreign_plugin", "-p", "no:cacheprovider"]
        command += [f"--junitxml={path}", *options, *SUITES[name]]
        subprocess.run(
            command,
            cwd=source,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=LIMIT,
        )
        return dict(read(path))


def read(path: Path) -> Iterator[tuple[str, Outcome]]:
    """Yield each test of a JUnit file with what came out."""
    for case in ElementTree.parse(path).iter("testcase"):
        outcome = Outcome("passed")
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                outcome = Outcome(child.tag, child.get("message", ""))
        yield f"{case.get('classname')}.{case.get('name')}", outcome


def report(
    source: str, plain: dict[str, Outcome], pooled: dict[str, Outcome], reasons: Reasons
) -> int:
    """Print the differences of a suite by reason; return how many have none."""
    by_reason: dict[str, Counter[str]] = {}
    unexplained = 0
    for test in sorted(plain | pooled):
        before = plain.get(test, Outcome("missing"))
        after = pooled.get(test, Outcome("missing"))
        if before.kind == after.kind:
            continue
        said = f"{test}: {after.message}"
        found = [text for pattern, text in reasons if re.search(pattern, said, re.S)]
        unexplained += not found
        reason = found[0] if found else f"NOT EXPLAINED: {after.message[:300]}"
        name = test.rpartition(".")[2].partition("[")[0]
        by_reason.setdefault(reason, Counter())[name] += 1
    passed = [sum(o.kind == "passed" for o in run.values()) for run in (plain, pooled)]
    print(
        f"\n{source}: {len(plain)} tests, passed plain {passed[0]}, pooled {passed[1]}"
    )
    for reason, names in sorted(by_reason.items(), key=lambda item: -item[1].total()):
        tests = ", ".join(f"{n} ({k})" if k > 1 else n for n, k in names.items())
        text = textwrap.fill(reason, 80, subsequent_indent=INDENT)
        print(f"{names.total():5}  {text}")
        print(textwrap.fill(tests, 88, initial_indent=INDENT, subsequent_indent=INDENT))
    return unexplained


if __name__ == "__main__":
    main()
