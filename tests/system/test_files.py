"""Files and folders are there after a power cut: whoever makes or renames one syncs the folder that has its name."""

from __future__ import annotations

import ast
import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny

import kdkit
from kdkit.errors import KdkitError
from kdkit.system.files import make_folder, publish, sync_folder, sync_tree, write_atomically

SOURCE = Path(kdkit.__file__).parent
TEMPORARY = {
    SOURCE / "models" / "weights.py",  # a folder of links, gone after the model is loaded
    *(SOURCE / "testing").glob("*.py"),  # what checks for plugins make is gone after them
}


@pytest.fixture
def synced(monkeypatch):
    """The paths that are synced, in their order."""
    paths, real = [], os.fsync

    def fsync(descriptor):
        paths.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


def test_every_parent_that_is_made_has_its_name_synced(tmp_path, synced):
    make_folder(tmp_path / "a" / "b" / "c")
    assert set(synced) == {tmp_path, tmp_path / "a", tmp_path / "a" / "b"}
    synced.clear()
    make_folder(tmp_path / "a" / "b" / "c")
    assert synced == []


def test_a_move_is_synced_where_it_came_from_and_where_it_went(tmp_path, synced):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "file").touch()
    publish(tmp_path / "a" / "file", tmp_path / "b" / "file")
    assert set(synced) == {tmp_path / "a", tmp_path / "b"}


def test_a_tree_is_synced_with_its_folders(tmp_path, synced):
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "file").touch()
    sync_tree(tmp_path / "tree")
    assert set(synced) == {tmp_path / "tree", tmp_path / "tree" / "inner", tmp_path / "tree" / "inner" / "file"}


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_that_syncs_no_folders_is_no_fault(tmp_path, monkeypatch, number):
    def fsync(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    sync_folder(tmp_path)


@pytest.mark.parametrize("inodes", [0, 5])
def test_a_full_disk_names_the_file_and_says_when_it_lacks_inodes(tmp_path, monkeypatch, inodes):
    def opened(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    numbers = SimpleNamespace(f_files=10, f_favail=inodes, f_frsize=1, f_bavail=7, f_blocks=9, f_bfree=7)
    monkeypatch.setattr(os, "statvfs", lambda _: numbers)
    monkeypatch.setattr(os, "fsync", opened)
    with pytest.raises(KdkitError) as error:
        write_atomically(tmp_path / "a.json", b"123")
    said = "cannot be made (No space left on device: the file system has no inodes left, and each file needs one; "
    if inodes:
        said = "cannot take 3 bytes more (No space left on device; "
    assert str(error.value).startswith(f"{tmp_path / 'a.json'} {said}7 bytes are free)")


def test_nobody_else_makes_or_renames_a_folder():
    others = [
        f"{file.relative_to(SOURCE)}:{node.lineno}"
        for file in sorted(SOURCE.rglob("*.py"))
        if file not in {SOURCE / "system" / "files.py", *TEMPORARY}
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"mkdir", "rename"}
    ]
    assert others == [], "use make_folder and publish of kdkit.system.files, which sync"


def test_a_saved_model_and_its_parents_are_synced_to_their_names(tmp_path, synced):
    for _ in range(2):  # new, then in place of the one before
        synced.clear()
        tiny.model().save(tmp_path / "a" / "best", texts={"README.md": "x"})
        assert tmp_path / "a" in synced[-3:]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["best"]
