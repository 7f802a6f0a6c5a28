"""The folders of the package: who may import whom."""

from __future__ import annotations

import ast
import functools
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "flask_mysqlpool"
LONGEST_FILE = 400  # lines
FLASK = {"flask", "werkzeug"}

# What each folder, or file at the top, may import besides itself. A name with a dot is
# one module of a folder.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "stats": set(),
    "config": {"errors"},
    "driver": {"errors", "config"},
    "pool": {"errors", "stats", "config", "driver"},
    "control": {"errors", "stats", "pool"},
    "diagnostics": {"stats", "config", "driver.connector", "control.client"},
    "context": {"errors", "stats", "pool", "control"},
    "cli": {"errors", "stats", "control.client", "diagnostics", "context"},
    "extension": {"errors", "config", "pool", "control", "context", "cli"},
    "__init__": {"errors", "pool", "context", "extension"},
    "metrics": {"stats", "control.client", "context"},
    "status": {"errors", "stats", "control.client", "context"},
    "testing": set(),
}
KNOW_FLASK = {"context", "cli", "extension", "metrics", "status", "testing"}
USE_DBUTILS = {"pool"}


class Import(t.NamedTuple):
    """An import within a file of the package."""

    file: Path
    line: int
    name: str  # dotted
    within_function: bool

    @property
    def target(self) -> str:
        """What of ours is imported, without the package's name; else nothing."""
        package, _, rest = self.name.partition(".")
        return (rest or "__init__") if package == PACKAGE.name else ""

    def __str__(self) -> str:
        return f"{self.file.relative_to(PACKAGE)}:{self.line} imports {self.name}"


def folder_of(file: Path) -> str:
    """Return the folder of a file, or its own name where it lies in none."""
    inside = file.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports(file: Path) -> Iterator[Import]:
    tree = ast.parse(file.read_text())
    lazy = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        for name in imported_names(node, file):
            yield Import(file, node.lineno, name, id(node) in lazy)  # type: ignore[attr-defined]  # statements have it


def imported_names(node: ast.AST, file: Path) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = (PACKAGE.name, *file.relative_to(PACKAGE).parts[:-1])
            kept = parents[: len(parents) - node.level + 1]
            base = ".".join((*kept, *filter(None, [base])))
        for alias in node.names:
            path = PACKAGE.joinpath(*base.split(".")[1:], alias.name)
            module = path.is_dir() or path.with_suffix(".py").exists()
            yield f"{base}.{alias.name}" if module else base


FILES = sorted(PACKAGE.rglob("*.py"))


@functools.cache
def all_imports() -> tuple[Import, ...]:
    return tuple(found for file in FILES for found in imports(file))


def listed(found: list[Import]) -> str:
    return "\n".join(map(str, found))


def allowed(found: Import) -> bool:
    own, folder = folder_of(found.file), found.target.partition(".")[0]
    return folder == own or bool({folder, found.target} & ALLOWED[own])


def test_each_folder_has_its_row() -> None:
    assert {folder_of(file) for file in FILES} == ALLOWED.keys()


def test_the_imports_are_seen() -> None:
    seen = {
        (folder_of(found.file), found.target or found.name) for found in all_imports()
    }
    assert ("pool", "driver.connector") in seen
    assert ("extension", "flask") in seen
    assert ("config", "config.converters") in seen, "from . import converters"


def test_a_folder_imports_only_what_its_row_names() -> None:
    wrong = [each for each in all_imports() if each.target and not allowed(each)]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize(
    ("packages", "folders"), [(FLASK, KNOW_FLASK), ({"dbutils"}, USE_DBUTILS)]
)
def test_only_some_know_flask_and_dbutils(
    packages: set[str], folders: set[str]
) -> None:
    wrong = [
        found
        for found in all_imports()
        if found.name.partition(".")[0] in packages
        and folder_of(found.file) not in folders
    ]
    assert not wrong, listed(wrong)


def test_client_of_the_control_socket_knows_no_pool() -> None:
    client = PACKAGE / "control" / "client.py"
    targets = {found.target for found in imports(client) if found.target}
    others = {"control.runtime_dir", "stats.holders", "stats.readings"}
    assert targets <= others


def test_no_import_of_ours_hides_in_a_function() -> None:
    wrong = [each for each in all_imports() if each.target and each.within_function]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_file_is_not_too_long(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LONGEST_FILE
