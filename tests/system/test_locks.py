"""One process at a time, on file systems that lock files and on those that do not (NFS without a lock daemon, FUSE)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys

import pytest

from kdkit.errors import Busy
from kdkit.system import locks
from kdkit.system.locks import HeldError, Lock, is_held

NUMBERS = [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS]


def without_locks(monkeypatch, number=errno.ENOLCK):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.fixture
def lockless(monkeypatch):
    without_locks(monkeypatch)


@pytest.mark.parametrize("number", [None, *NUMBERS], ids=lambda number: errno.errorcode.get(number, "with locks"))
def test_a_lock_keeps_others_out_until_it_is_given_back(tmp_path, monkeypatch, number):
    if number is not None:
        without_locks(monkeypatch, number)
    path = tmp_path / ".lock"
    assert not is_held(path)
    with Lock(path):
        assert is_held(path)
        with pytest.raises(HeldError):
            Lock(path).acquire(0)
        with pytest.raises(HeldError):
            Lock(path).acquire(0.1)
    assert not is_held(path)
    assert [each.name for each in tmp_path.iterdir()] == [".lock"]


def test_whether_a_lock_is_held_is_seen_where_it_may_only_be_read(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = tmp_path / ".lock"
    with Lock(path), monkeypatch.context() as patch:
        patch.setattr(Lock, "acquire", refuse)
        assert is_held(path)
    monkeypatch.setattr(Lock, "acquire", refuse)
    assert not is_held(path)


def test_an_error_of_another_kind_stays_one(tmp_path, monkeypatch):
    without_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        Lock(tmp_path / ".lock").acquire(0)


def left(path, **changes) -> None:
    """What a process that holds the lock, or did, has left."""
    path.touch()
    path.with_name(".lock.held").write_text(json.dumps(locks._myself() | changes))


def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("who", ["dead", "another of its number", "before the last boot"])
def test_what_a_dead_process_of_this_host_left_is_taken_over(tmp_path, lockless, who):
    path = tmp_path / ".lock"
    changes = {"dead": {"pid": dead()}, "another of its number": {"started": "1"}}.get(who, {"boot": "another"})
    left(path, **changes)
    assert not is_held(path)
    left(path, **changes)
    with Lock(path):
        assert json.loads((tmp_path / ".lock.held").read_text())["pid"] == os.getpid()
    assert [each.name for each in tmp_path.iterdir()] == [".lock"]


def test_a_process_of_another_host_may_live_and_its_file_is_named(tmp_path, lockless, monkeypatch):
    path = tmp_path / ".lock"
    left(path, host="node3 pid:[4026531836]", pid=4711, since="2026-11-30T08:00:00+00:00")
    assert is_held(path)
    monkeypatch.setattr(locks, "WAIT", 0.1)
    with pytest.raises(Busy) as error, Lock(path):
        pass
    assert str(error.value) == (
        f"another process holds {path}, as {path}.held says: process 4711 of node3, since 2026-11-30T08:00:00+00:00; "
        "delete that file if that process is gone; wait until it has finished and run again"
    )
    (tmp_path / ".lock.held").unlink()
    assert not is_held(path)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"host": 3, "pid": "x"}', None], ids=repr)
def test_a_file_that_says_nothing_counts_as_held(tmp_path, lockless, content):
    path = tmp_path / ".lock"
    path.touch()
    if content is None:  # a stranger's
        os.mkfifo(tmp_path / ".lock.held")
    else:
        (tmp_path / ".lock.held").write_text(content)
    with pytest.raises(HeldError, match=r"\.lock\.held says.*; delete that file if"):
        Lock(path).acquire(0)


COUNT = """
import errno, fcntl, sys
from pathlib import Path
from kdkit.system.locks import Lock
def flock(*_): raise OSError(errno.ENOLCK, "no locks")
fcntl.flock = flock
lock, number = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(40):
    with Lock(lock):
        count = int(number.read_text())
        number.write_text(str(count + 1))
"""


def test_several_processes_that_find_a_dead_one_come_one_by_one(tmp_path):
    (tmp_path / "count").write_text("0")
    left(tmp_path / ".lock", pid=dead())
    command = [sys.executable, "-c", COUNT, tmp_path / ".lock", tmp_path / "count"]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "120"
    assert sorted(each.name for each in tmp_path.iterdir()) == [".lock", "count"]
