"""The folders of the package: who may import whom, what is whose own, and how long
things may be.
"""

from __future__ import annotations

import ast
import functools
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "flask_mysqlpool"
LONGEST_FILE = 400  # lines
LONGEST_FUNCTION = 40  # lines, with its docstring
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
    "extension": {"errors", "stats", "config", "pool", "control", "context", "cli"},
    "__init__": {"errors", "pool", "context", "extension"},
    "metrics": {"stats", "control.client", "context"},
    "status": {"errors", "stats", "control.client", "context"},
    "testing": set(),
}
KNOW_FLASK = {"context", "cli", "extension", "metrics", "status", "testing"}
USE_DBUTILS = {"pool"}

# Underscored names of the standard library and of other packages, by file: what is
# needed of them has no public name.
PRIVATE_OF_OTHERS: dict[str, dict[str, str]] = {
    "context.py": {
        "_get_current_object": "Werkzeug documents it: what is behind a proxy",
        "_getframe": "sys documents it",
    },
    "driver/results.py": {
        "_data": "PyMySQL's packet: its bytes, read in fewer steps",
        "_next_seq_id": "PyMySQL's connection: tells the first packet of an answer",
        "_position": "PyMySQL's packet: where it is in its bytes",
    },
    "driver/wire.py": {"_finish_unbuffered_query": "PyMySQL's result: the same"},
    "extension.py": {"_get_current_object": "Werkzeug documents it"},
    "metrics/opentelemetry.py": {
        "_real_instrument": "OpenTelemetry: what is behind an instrument's proxy",
        "_measurement_consumer": "OpenTelemetry: where the views of an instrument are",
        "_reader_storages": "the same",
        "_instrument_view_instrument_matches": "the same",
    },
    "pool/attributes.py": {"_getframe": "sys documents it"},
    "pool/pool.py": {"_getframe": "sys documents it"},
    "pool/slots.py": {"_is_owned": "RLock: who asks may be a finalizer"},
    "stats/holders.py": {"_current_frames": "sys documents it"},
    "status/page.py": {"_get_current_object": "Werkzeug documents it"},
    "testing/fixtures.py": {"_replace": "namedtuple documents it"},
}


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
    others |= {"stats.received", "stats.text"}
    assert targets <= others


def test_no_import_of_ours_hides_in_a_function() -> None:
    wrong = [each for each in all_imports() if each.target and each.within_function]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_file_is_not_too_long(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LONGEST_FILE


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_function_is_too_long(file: Path) -> None:
    lengths = [
        (function.name, (function.end_lineno or 0) - function.lineno + 1)
        for function in functions(file)
    ]
    assert not [each for each in lengths if each[1] > LONGEST_FUNCTION]


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_names(tree: ast.AST) -> set[str]:
    """Return the underscored names that a file defines: of functions and classes, of
    variables and attributes that it assigns or declares, and of slots.
    """
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if is_self(node.value):
                names.add(node.attr)
        elif isinstance(node, ast.Assign) and is_slots(node.targets[0]):
            names.update(ast.literal_eval(node.value))
    return {name for name in names if private(name)}


def is_slots(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "__slots__"


def is_self(node: ast.AST) -> bool:
    """Whether an expression is the object itself or its class: then an attribute is
    its own, or of its base classes.
    """
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def used_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and name of each underscored attribute that is used of something
    else than the object itself, and of each underscored name that is imported.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not is_self(node.value):
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("getattr", "setattr", "hasattr", "delattr"):
                yield from strings(node)


def strings(call: ast.Call) -> Iterator[tuple[int, str]]:
    for each in call.args[1:2]:
        if isinstance(each, ast.Constant) and not is_self(call.args[0]):
            yield call.lineno, str(each.value)


def names_of_others(file: Path) -> set[tuple[int, str]]:
    tree = ast.parse(file.read_text())
    own = own_names(tree)
    return {
        (line, name)
        for line, name in used_names(tree)
        if private(name) and name not in own
    }


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_file_uses_what_is_another_files_own(file: Path) -> None:
    allowed = PRIVATE_OF_OTHERS.get(str(file.relative_to(PACKAGE)), {})
    wrong = {each for each in names_of_others(file) if each[1] not in allowed}
    assert not wrong, f"{file.relative_to(PACKAGE)}: {sorted(wrong)}"


def test_what_is_allowed_of_others_is_used() -> None:
    used = {
        (str(file.relative_to(PACKAGE)), name)
        for file in FILES
        for _, name in names_of_others(file)
    }
    rows = {(file, name) for file, row in PRIVATE_OF_OTHERS.items() for name in row}
    assert rows <= used
