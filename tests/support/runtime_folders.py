"""Folders for the sockets of workers, with paths that are short enough."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_mysqlpool.control.runtime_dir import runtime_folder


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="mp-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder with a short path, unlike pytest's."""
    with short_folder() as folder:
        yield folder


@pytest.fixture
def folder(base: Path) -> Path:
    return runtime_folder(str(base), "shop", "/srv/shop")


NOBODY = 65534


def stand_in(folder: Path, what: str) -> None:
    if what == "a file":
        folder.touch()
    elif what == "a link":
        (folder.parent / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to("elsewhere")
    elif what == "a dead link":
        folder.symlink_to("nowhere")
    elif what == "open to others":
        folder.mkdir(mode=0o755)
    elif what == "open to the group":
        folder.mkdir()
        folder.chmod(0o710)
    elif what == "in a folder open to others":
        folder.mkdir(mode=0o700)
        folder.parent.chmod(0o777)
    elif what == "another user's":
        folder.mkdir(mode=0o700)
        os.chown(folder, NOBODY, NOBODY)
    elif what == "in another user's folder":
        folder.mkdir(mode=0o700)
        folder.parent.chmod(0o1777)
        os.chown(folder.parent, NOBODY, NOBODY)
