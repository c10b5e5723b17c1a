"""Namespaces of Linux: a worker enters some of its own, and within them each row has others again.

Nothing here needs a privilege where the system lets ordinary users have namespaces. What it does not allow is found out
in a process that ends, since a namespace that was entered cannot be left.

Sources: the Linux manual pages unshare(2), setns(2), user_namespaces(7), pid_namespaces(7), mount(2) and
mount_setattr(2), from which the numbers are.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import stat
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kdkit_assertions.libc import libc

if TYPE_CHECKING:
    from collections.abc import Callable

_NEW_MOUNTS, _NEW_IPC, _NEW_USER, _NEW_PID, _NEW_NET = 0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
_NOSUID, _NODEV, _NOEXEC, _MOVE, _RECURSIVE, _PRIVATE = 2, 4, 8, 1 << 13, 1 << 14, 1 << 18
_MOUNT_SETATTR, _HERE, _AT_RECURSIVE, _ATTR_READ_ONLY = 442, -100, 0x8000, 1
_ROOM = "size=67108864,nr_inodes=4096,mode=0700"


@attrs.frozen(kw_only=True)
class Namespaces:
    """Which namespaces a worker has.

    Attributes:
        apart: Those of network, processes and messages.
        mounts: That of mounts, in which file systems can be put over folders.
        user: Whether one of users was needed for it.
        read_only: Whether all file systems are read-only there, but for one over the worker's folder; since Linux 5.12.
        shows_own: Whether `/proc` shows the processes of these namespaces alone.
    """

    apart: bool
    mounts: bool
    user: bool = False
    read_only: bool = False
    shows_own: bool = False


NONE = Namespaces(apart=False, mounts=False)
_TRIED = tuple(Namespaces(apart=True, mounts=mounts, user=user) for mounts in (True, False) for user in (True, False))


def enter(folder: Path) -> Namespaces:
    """Enter as many as the system allows; the next child is the first process of a new process namespace.

    Call it in a process with one thread.

    Args:
        folder: The worker's folder; a file system in memory is put over it in the new namespace of mounts.
    """
    if sys.platform != "linux":
        return NONE
    for tried in _TRIED:
        if _succeeds(functools.partial(_try, tried, folder)):
            _enter(tried)
            return tried
    return NONE


def settle(held: Namespaces, folder: Path) -> Namespaces:
    """Make the first process's place in new namespaces, as far as that is allowed; what there is then.

    Raises:
        OSError: No file system can be put over the folder.
    """
    if not held.mounts:
        return held
    _mount(None, "/", None, _RECURSIVE | _PRIVATE)
    attributes = struct.pack("=QQQQ", _ATTR_READ_ONLY, 0, 0, 0)
    size = ctypes.c_size_t(len(attributes))
    is_read_only = libc().syscall(_MOUNT_SETATTR, _HERE, b"/", _AT_RECURSIVE, attributes, size) == 0
    _mount("tmpfs", str(folder), "tmpfs", _NOSUID | _NODEV, _ROOM)
    os.chdir(folder)
    return attrs.evolve(held, read_only=is_read_only, shows_own=own_processes())


def own_processes() -> bool:
    """Show this process namespace alone in `/proc`; whether that is allowed, which it may not be in containers."""
    try:
        _mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    except OSError:
        return False
    return True


def fresh_room(room: Path) -> None:
    """Put a file system in memory over a folder, with what the folder holds, for this process and what it starts.

    Raises:
        OSError: The system does not allow it, or there is more than it takes.
    """
    below = os.open(room, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(libc().unshare(_NEW_MOUNTS), "unshare")
        _mount("tmpfs", str(room), "tmpfs", _NOSUID | _NODEV, _ROOM)
        copy_files(Path(f"/proc/self/fd/{below}"), room)
    finally:
        os.close(below)


def copy_files(source: Path, target: Path) -> None:
    """Copy folders, links and plain files with their modes; sockets and pipes are left out."""
    for folder, folders, files in os.walk(source):
        here = target / Path(folder).relative_to(source)
        here.mkdir(exist_ok=True)
        for name in (*folders, *files):
            each, copy = Path(folder) / name, here / name
            if each.is_symlink():
                copy.symlink_to(each.readlink())
            elif each.is_file():
                os.close(os.open(copy, os.O_CREAT | os.O_WRONLY, stat.S_IMODE(each.stat().st_mode)))
                shutil.copyfile(each, copy)


def fork_first() -> int:
    """Fork a child that is the first process of a new namespace of processes, and has one of messages of its own.

    Raises:
        OSError: The system does not allow it.
    """
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(libc().unshare(_NEW_PID), "unshare")
        child = os.fork()
        if child == 0:
            if libc().unshare(_NEW_IPC) != 0:
                os._exit(1)
        else:
            _check(libc().setns(own, _NEW_PID), "setns")
    finally:
        os.close(own)
    return child


def _enter(wanted: Namespaces) -> None:
    user, group = os.getuid(), os.getgid()
    flags = _NEW_PID | _NEW_NET | _NEW_IPC | (_NEW_MOUNTS if wanted.mounts else 0) | (_NEW_USER if wanted.user else 0)
    _check(libc().unshare(flags), "unshare")
    if wanted.user:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")


def _try(wanted: Namespaces, folder: Path) -> None:
    """Do all that a worker and a row of it do, in processes that end."""
    _enter(wanted)

    def first() -> None:
        settle(wanted, folder)
        child = fork_first()
        if child == 0:
            if wanted.mounts:
                fresh_room(folder)
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            raise OSError("a row has no namespaces")

    if not _succeeds(first):
        raise OSError("a worker has no namespaces")


def _succeeds(work: Callable[[], object]) -> bool:
    """Whether some work in a child ends well."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:  # whatever was raised, in whichever process
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    source_, kind_, options_ = (None if each is None else os.fsencode(each) for each in (source, kind, options))
    _check(libc().mount(source_, os.fsencode(target), kind_, ctypes.c_ulong(flags), options_), "mount")


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
