"""What keeps a process that runs generated code apart from everything else: limits, namespaces, Landlock, seccomp.

Which of them there are depends on the system: see `Confinement`. Nothing here needs a privilege, and what the kernel
does not allow is left out, to be told.

Sources: the Linux manual pages unshare(2), user_namespaces(7), pid_namespaces(7), mount(2), prctl(2), capset(2) and
landlock(7), from which the numbers are.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import struct
import sys
from pathlib import Path

import attrs

from kdkit_assertions.systemcalls import refuse_system_calls

_NEW_USER, _NEW_PID, _NEW_NET, _NEW_IPC, _NEW_MOUNTS = 0x10000000, 0x20000000, 0x40000000, 0x08000000, 0x00020000
_MOUNT_NOSUID, _MOUNT_NODEV, _MOUNT_RECURSIVE, _MOUNT_PRIVATE = 2, 4, 1 << 14, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_CAPABILITY_VERSION_3 = 0x20080522
_FILE_BYTES = 16 * 2**20
_FOLDER_BYTES, _FOLDER_FILES = 64 * 2**20, 4096
_PROCESSES = 64
_OPEN_FILES = 256

# Of Landlock's rights over files, by the version that they came with: writing, removing and making.
_WRITE_FILE = 1 << 1
_WRITING = {1: _WRITE_FILE | sum(1 << bit for bit in range(4, 13)), 2: 1 << 13, 3: 1 << 14}
_SIGNALS_SINCE, _SCOPE_SIGNAL = 6, 1 << 1


@attrs.frozen(kw_only=True)
class Confinement:
    """What holds for a process.

    Attributes:
        network: It is in a network namespace of its own, in which there is nothing.
        processes: It is the first process of a namespace of its own: whatever is started ends with it, and sees no
            other process.
        files: It can write below one folder only.
        room: That folder is of bounded size.
        system_calls: What namespaces and Landlock leave open is refused: sockets that are files, and a file's mode,
            owner, times and attributes.
    """

    network: bool
    processes: bool
    files: bool
    room: bool
    system_calls: bool


def enter_namespaces() -> tuple[bool, bool]:
    """New namespaces for network, processes, messages and mounts; whether there is one for network, and for processes.

    The next child is the first process of the new process namespace. Call it in a process with one thread.
    """
    if sys.platform != "linux":
        return False, False
    user, group = os.getuid(), os.getgid()
    most = _NEW_PID | _NEW_NET | _NEW_IPC | _NEW_MOUNTS
    for flags in (_NEW_USER | most, most, _NEW_NET):
        if _libc().unshare(flags) == 0:
            if flags & _NEW_USER:
                Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
                Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
                Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
            return True, bool(flags & _NEW_PID)
    return False, False


def guard_worker(folder: Path, *, owns_namespace: bool) -> tuple[bool, bool, bool]:
    """Guard the process that starts rows, and so all that it starts; what holds of files, room and system calls.

    Its memory can be read by no process without privileges, and orphans of its children are its own.

    Args:
        folder: Below which it may write.
        owns_namespace: Whether it is in namespaces of processes and mounts.
    """
    if sys.platform != "linux":
        return False, False, False
    _libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    has_room = owns_namespace and _limit_room(folder)
    is_bound = _landlock(folder)
    refuses = refuse_system_calls()
    _libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return is_bound, has_room, refuses


def _limit_room(folder: Path) -> bool:
    """Put a file system in memory over a folder, for the processes of this namespace only; whether it is there."""
    libc = _libc()
    if libc.mount(None, b"/", None, ctypes.c_ulong(_MOUNT_RECURSIVE | _MOUNT_PRIVATE), None) != 0:
        return False  # without this it could show outside
    options = f"size={_FOLDER_BYTES},nr_inodes={_FOLDER_FILES},mode=0700".encode()
    flags = ctypes.c_ulong(_MOUNT_NOSUID | _MOUNT_NODEV)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options) != 0:
        return False
    os.chdir(folder)
    return True


def guard_row(*, seconds: float, memory_bytes: int, owns_namespace: bool) -> None:
    """Limit the process of a row, for good, before it runs anything.

    Args:
        seconds: Time that it may compute.
        memory_bytes: Memory that it may take beyond what it has.
        owns_namespace: Whether it is in a namespace of processes; elsewhere those of the same user would count as its
            own.
    """
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: _FILE_BYTES,
        resource.RLIMIT_CPU: math.ceil(seconds),
        resource.RLIMIT_NOFILE: _OPEN_FILES,
    }
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + memory_bytes
        if owns_namespace:
            limits[resource.RLIMIT_NPROC] = _PROCESSES
    for name, most in limits.items():
        hard = resource.getrlimit(name)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(name, (allowed, allowed))
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)  # it does not outlive the worker
        _landlock(None)
        _drop_capabilities()
        _libc().prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    sys.addaudithook(_refuse_sockets)  # unlike a replaced function, it cannot be taken off again


def _refuse_sockets(event: str, _arguments: object) -> None:
    if event.startswith("socket."):
        raise PermissionError(f"generated code has no network: {event}")


def kill_all(pid: int, *, owns_namespace: bool) -> None:
    """End a child of this process and all that it started, and wait for their ends."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, 9)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)  # it may not have made its group yet
    if owns_namespace:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, 9)
    while True:
        for child in () if owns_namespace else _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split()]
    except OSError:  # another system than Linux: the group is all that is known
        return []


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _drop_capabilities() -> None:
    """Give up what a namespace's first process may do there; it would reach no further, but need not."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _libc().capset(ctypes.create_string_buffer(header), ctypes.create_string_buffer(24))


def _landlock(folder: Path | None) -> bool:
    """Confine this process by Landlock: writing to a folder and `/dev/null`, or signals to what it started itself."""
    libc = _libc()
    version = libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    rights = sum(bits for since, bits in _WRITING.items() if version >= since) if folder is not None else 0
    scope = _SCOPE_SIGNAL if folder is None and version >= _SIGNALS_SINCE else 0
    if version < 1 or not (rights or scope):
        return False
    wanted = struct.pack("=QQQ", rights, 0, scope)[: 24 if version >= _SIGNALS_SINCE else 8]
    rules = libc.syscall(_LANDLOCK_CREATE, wanted, ctypes.c_size_t(len(wanted)), ctypes.c_uint32(0))
    if rules < 0:
        return False
    try:
        if folder is not None and not (
            _allow(rules, folder, rights) and _allow(rules, Path(os.devnull), rights & (_WRITE_FILE | _WRITING[3]))
        ):
            return False
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(libc.syscall(_LANDLOCK_RESTRICT, ctypes.c_int(rules), ctypes.c_uint32(0)) == 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: Path, rights: int) -> bool:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, opened)
        return bool(_libc().syscall(_LANDLOCK_ADD, ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint32(0)) == 0)
    finally:
        os.close(opened)
