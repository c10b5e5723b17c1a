"""The folder of rows goes at its end, whatever is in it, and so do those whose owners were killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kdkit_assertions.confinement import unseen
from kdkit_assertions.rows_folder import delete, rows_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the suite needs fork")

OWNER = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from kdkit_assertions.rows_folder import rows_folder
with rows_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_of_a_killed_process_is_deleted_by_the_next(temporary):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(temporary)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    left = Path(owner.stdout.readline().strip())
    (temporary / "kdkit-rows-of-another-kind").symlink_to(temporary)
    with rows_folder() as own:
        assert left.is_dir()  # its owner is at work
    owner.kill()
    owner.communicate()
    with rows_folder() as own:
        assert {path.name for path in temporary.iterdir()} == {own.name, "kdkit-rows-of-another-kind"}
    assert not own.exists()


def test_whatever_a_row_left_is_deleted(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").touch()
    folder = tmp_path / "left"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    os.mkfifo(folder / "pipe")
    opened = os.open(folder, os.O_RDONLY)
    for _ in range(1500):  # deeper than Python calls, and longer than a path may be
        os.mkdir("deep", dir_fd=opened)
        below = os.open("deep", os.O_RDONLY, dir_fd=opened)
        os.close(opened)
        opened = below
    os.close(os.open("file", os.O_CREAT, dir_fd=opened))
    os.close(opened)
    (folder / "deep" / "deep").chmod(0)
    delete(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "kept.txt").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such flag")
def test_this_process_is_seen_again_when_the_last_rows_have_run():
    def is_seen():
        return Path(f"/proc/{os.getpid()}/environ").stat().st_uid == os.getuid() and unseen_flag() == 1

    def unseen_flag():
        import ctypes

        return ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)

    first, second = unseen(), unseen()
    assert is_seen()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert unseen_flag() == 0
    second.__exit__(None, None, None)
    assert is_seen()
