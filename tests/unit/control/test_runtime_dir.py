"""The folder of the sockets: one for each app, found by all, open to nobody else."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

from flask_mysqlpool import ConfigError
from flask_mysqlpool.control.client import ask_stats
from flask_mysqlpool.control.runtime_dir import make_private
from flask_mysqlpool.control.runtime_dir import MAX_PATH
from flask_mysqlpool.control.runtime_dir import runtime_folder

from ...support.runtime_folders import NOBODY
from ...support.runtime_folders import stand_in

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can chown")


def test_folder_is_the_same_however_the_app_was_started(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    folder = runtime_folder(None, "shop", str(tmp_path))
    assert runtime_folder(None, "src.shop", str(tmp_path)) == folder
    assert runtime_folder(None, "shop", str(tmp_path / "link")) == folder
    assert runtime_folder(None, "shop", f"{tmp_path}/") == folder


def test_folder_does_not_hang_on_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = runtime_folder(None, "shop", "/srv")
    assert str(folder).startswith(f"/tmp/flask-mysqlpool-{os.geteuid()}/shop-")
    for name in ("TMPDIR", "XDG_RUNTIME_DIR", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert runtime_folder(None, "shop", "/srv") == folder


def test_each_app_has_a_folder_of_its_own() -> None:
    apps = [("shop", "/srv"), ("bank", "/srv"), ("shop", "/opt"), ("a.b", "/srv")]
    apps += [("店", "/srv"), ("行", "/srv"), ("x/y", "/srv"), ("x_y", "/srv")]
    assert len({runtime_folder(None, *app) for app in apps}) == len(apps)


@pytest.mark.parametrize("name", ["x" * 200, "店" * 200, "../../etc", "a/b", " ", ""])
def test_any_name_makes_a_folder_below_the_base(name: str, base: Path) -> None:
    folder = runtime_folder(str(base), name, "/srv")
    assert folder.parent == base
    assert runtime_folder(None, name, "/srv").parent.parent == Path("/tmp")


def test_path_that_is_too_long_for_a_socket_is_refused(
    base: Path,
) -> None:
    with pytest.raises(ConfigError, match="^MYSQLPOOL_RUNTIME_DIR is too long") as said:
        runtime_folder("/" + "x" * MAX_PATH, "shop", "/srv")
    spare = int(str(said.value).split("at most ")[1].split()[0])
    with pytest.raises(ConfigError):
        runtime_folder("/" + "x" * spare, "shop", "/srv")
    longest = base / ("x" * (spare - len(str(base)) - 1))
    folder = runtime_folder(str(longest), "shop", "/srv")
    assert len(str(longest)) == spare
    make_private(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "4194304.999.sock.new"))


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_folder_is_private_whatever_the_umask(umask: int, base: Path) -> None:
    folder = base / "new" / "shop"
    before = os.umask(umask)
    try:
        make_private(folder)
        make_private(folder)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700


UNSAFE = [
    ("a file", "{folder} is a file or a link, not a folder"),
    ("a link", "{folder} is a file or a link, not a folder"),
    ("open to others", "{folder} is open to others: chmod 700 {folder}"),
    ("open to the group", "{folder} is open to others: chmod 700 {folder}"),
    ("in a folder open to others", "{base} is open to others: chmod 700 {base}"),
    pytest.param("another user's", "{folder} belongs to another user", marks=ROOT_ONLY),
    pytest.param(
        "in another user's folder", "{base} belongs to another user", marks=ROOT_ONLY
    ),
]


@pytest.mark.parametrize(("what", "text"), UNSAFE)
def test_unsafe_folder_is_refused(
    what: str, text: str, base: Path, folder: Path
) -> None:
    stand_in(folder, what)
    text = text.format(folder=folder, base=base)
    for use in (make_private, ask_stats):
        with pytest.raises(OSError) as caught:
            use(folder)
        assert str(caught.value).startswith(text)
        if "another user" in text:
            assert f"(uid {NOBODY})" in str(caught.value)
            assert "set MYSQLPOOL_RUNTIME_DIR" in str(caught.value)


DECOYS = {
    "the folder": "{folder}",
    "its parent": "{base}",
    "a folder above": "{above}",
}


@pytest.mark.parametrize("where", DECOYS)
@pytest.mark.parametrize("what", ["a file", "a link", "a dead link"])
def test_what_stands_in_its_place_is_refused_by_both_sides(
    where: str, what: str, tmp_path: Path
) -> None:
    folder = tmp_path / "above" / "base" / "shop"
    names = {"folder": folder, "base": folder.parent, "above": folder.parents[1]}
    place = Path(DECOYS[where].format(**names))
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    stand_in(place, what)
    if what == "a link" and where == "a folder above":
        make_private(folder)  # its own user's: it may be where it likes
        return
    for use in (make_private, ask_stats):
        with pytest.raises(NotADirectoryError) as caught:
            use(folder)
        assert str(caught.value) == f"{place} is a file or a link, not a folder"


@ROOT_ONLY
@pytest.mark.parametrize("where", DECOYS)
def test_nothing_is_made_behind_another_users_link(where: str, tmp_path: Path) -> None:
    folder = tmp_path / "above" / "base" / "shop"
    names = {"folder": folder, "base": folder.parent, "above": folder.parents[1]}
    place = Path(DECOYS[where].format(**names))
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    victim = tmp_path / "victim"
    victim.mkdir()
    place.symlink_to(victim)
    os.chown(place, NOBODY, NOBODY, follow_symlinks=False)
    for use in (make_private, ask_stats):
        with pytest.raises(OSError, match=f"^{place} "):
            use(folder)
    assert list(victim.iterdir()) == []


def test_folders_above_are_private_too(base: Path) -> None:
    before = os.umask(0)
    try:
        make_private(base / "a" / "b" / "shop")
    finally:
        os.umask(before)
    for path in (base / "a", base / "a" / "b", base / "a" / "b" / "shop"):
        assert path.stat().st_mode & 0o777 == 0o700


def test_folder_in_the_sticky_folder_of_all_is_safe(base: Path, folder: Path) -> None:
    base.chmod(0o1777)
    make_private(folder)
    assert ask_stats(folder) == []
