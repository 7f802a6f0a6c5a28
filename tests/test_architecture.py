"""The layers of the package: imports point down only."""

from __future__ import annotations

import ast
import functools
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "flask_mysqlpool"
LONGEST_FILE = 400  # lines
ROOT = "__init__"

# Bottom up. A module may import those of the rows above its own and none beside it.
CORE = (
    {
        "errors",
        "stats",
        "convert",
        "statements",
        "outage",
        "quiet",
        "results",
        "stacks",
    },
    {"url", "load"},
    {"config"},
    {"protocol"},
    {"session"},
    {"connection"},
    {"opener"},
    {"cursors", "server"},
    {"handle"},
    {"places"},
    {"lending"},
    {"pool"},
    {"housekeeper", "control"},
    {"commands"},
    {"doctor"},
)
SHELL: tuple[set[str], ...] = (
    {"context"},
    {"report"},
    {"watch"},
    {"cli"},
    {"extension"},
    {ROOT},
)
LAYERS = CORE + SHELL
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# Packages at the edge may import the package, and nothing in it imports them.
EDGE = {"testing", "status", "metrics"}


class Import(t.NamedTuple):
    """An import within a file of the package."""

    file: Path
    line: int
    name: str  # dotted
    within_function: bool

    @property
    def room(self) -> str:
        """The module or edge package of ours that is imported, or nothing."""
        package, _, rest = self.name.partition(".")
        if package != PACKAGE.name:
            return ""
        return rest.partition(".")[0] or ROOT

    def __str__(self) -> str:
        return f"{self.file.relative_to(PACKAGE)}:{self.line} imports {self.name}"


def room_of(file: Path) -> str:
    """Return the module, or the edge package, that a file belongs to."""
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
            submodule = base == PACKAGE.name and alias.name in RANKS.keys() | EDGE
            yield f"{base}.{alias.name}" if submodule else base


FILES = sorted(PACKAGE.rglob("*.py"))


@functools.cache
def all_imports() -> tuple[Import, ...]:
    return tuple(found for file in FILES for found in imports(file))


def told(found: list[Import]) -> str:
    return "\n".join(map(str, found))


def test_each_module_has_its_layer() -> None:
    modules = {file.stem for file in PACKAGE.glob("*.py")}
    assert modules == RANKS.keys(), "name the layer of each module here"
    packages = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert packages <= EDGE, "a new package is at the edge, or needs a layer here"


def test_the_imports_are_seen() -> None:
    seen = {(room_of(found.file), found.room or found.name) for found in all_imports()}
    assert ("pool", "lending") in seen
    assert ("extension", "flask") in seen
    assert ("config", "convert") in seen, "from . import convert"


def test_imports_point_down_only() -> None:
    wrong = [
        found
        for found in all_imports()
        if room_of(found.file) in RANKS
        and found.room in RANKS
        and RANKS[found.room] >= RANKS[room_of(found.file)]
    ]
    assert not wrong, told(wrong)


def test_nothing_imports_the_edge() -> None:
    wrong = [
        found
        for found in all_imports()
        if found.room in EDGE and found.room != room_of(found.file)
    ]
    assert not wrong, told(wrong)


def test_only_the_shell_knows_flask() -> None:
    shell = set().union(*SHELL) | EDGE
    wrong = [
        found
        for found in all_imports()
        if found.name.partition(".")[0] in ("flask", "werkzeug")
        and room_of(found.file) not in shell
    ]
    assert not wrong, told(wrong)


def test_no_import_of_ours_hides_in_a_function() -> None:
    wrong = [found for found in all_imports() if found.room and found.within_function]
    assert not wrong, told(wrong)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_file_is_not_too_long(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LONGEST_FILE
