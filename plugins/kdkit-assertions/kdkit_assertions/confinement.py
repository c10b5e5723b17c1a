"""What keeps a process that runs generated code apart from everything else.

Which parts there are depends on the system: see `Confinement`. Nothing here needs a privilege, and what the kernel does
not allow is left out, and said.

Sources: the Linux manual pages prctl(2), capset(2), setrlimit(2) and proc(5), from which the numbers are.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import struct
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kdkit_assertions import landlock
from kdkit_assertions.libc import give_up_new_privileges, libc
from kdkit_assertions.systemcalls import ROWS, WORKERS, refuse_system_calls

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit_assertions.namespaces import Namespaces

_PR_SET_PDEATHSIG, _PR_GET_DUMPABLE, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 3, 4, 36
_CAPABILITY_VERSION_3 = 0x20080522
_FILE_BYTES = 16 * 2**20
PROCESSES = 64
_OPEN_FILES = 256


@attrs.frozen(kw_only=True)
class Confinement:
    """What holds for the process of a row.

    Attributes:
        network: It is in a network namespace of its own, in which there is nothing.
        processes: It is in a process namespace of its own: it can signal no other process, and whatever it starts ends
            with it.
        files: It can write below one folder only.
        home: What lies in the user's home, the working folder and the temporary one is closed to it, but for what
            Python imports from there.
        room: The folder that it can write to is a file system of its own, of bounded size.
        system_calls: What namespaces and Landlock leave open is refused: sockets that are files, memory that outlives
            a process, and a file's mode, owner, times and attributes.
    """

    network: bool
    processes: bool
    files: bool
    home: bool
    room: bool
    system_calls: bool


NO_KERNEL_LAYER = Confinement(network=False, processes=False, files=False, home=False, room=False, system_calls=False)


def guard_worker(folder: Path, held: Namespaces) -> None:
    """Guard a process that imports tests and starts rows, and so all that it starts.

    Its memory can be read by no process without privileges, and orphans of its children are its own.

    Args:
        folder: Below which it may write.
        held: Its namespaces. Where rows are still to mount, Landlock, which forbids that, and a part of the refused
            system calls wait for them; what is outside is read-only by then.
    """
    if sys.platform != "linux":
        return
    adopt_orphans()
    if not held.mounts and landlock.version():
        landlock.restrict([landlock.Place.open(folder), landlock.Place.open(os.devnull)], None, scoped=False)
    refuse_system_calls(WORKERS if held.apart else ROWS)
    libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of processes whose own parent ends, if this process started them or one that did."""
    if sys.platform == "linux":
        libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def confine_row(home: Path, readable: Sequence[landlock.Place], held: Namespaces) -> Confinement:
    """Confine this process and all that it starts, for good; what holds then.

    Args:
        home: Below which it may write.
        readable: What it may read, beside that.
        held: The namespaces that it is in.
    """
    if sys.platform != "linux":
        return NO_KERNEL_LAYER
    die_with_parent()
    give_up_new_privileges()  # so root's programs get no capabilities back
    is_bound = False
    if landlock.version():
        writable = [landlock.Place.open(home), landlock.Place.open(os.devnull)]
        is_bound = landlock.restrict(writable, readable, scoped=True)
    refuses = refuse_system_calls(ROWS)
    _drop_capabilities()
    return Confinement(
        network=held.apart,
        processes=held.apart,
        files=is_bound or held.read_only,
        home=is_bound,
        room=held.mounts,
        system_calls=refuses,
    )


def die_with_parent() -> None:
    """End this process when its parent ends, where the kernel does that."""
    if sys.platform == "linux":
        libc().prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)


def limit_row(*, seconds: float, memory_bytes: int, counts_own: bool) -> None:
    """Limit this process, for good, before it runs anything.

    Args:
        seconds: Time that it may compute.
        memory_bytes: Memory that it may take beyond what it has.
        counts_own: Whether the kernel counts its processes apart from the user's others.
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
        if counts_own:
            limits[resource.RLIMIT_NPROC] = PROCESSES
    for name, most in limits.items():
        hard = resource.getrlimit(name)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(name, (allowed, allowed))
    if sys.platform == "linux":
        libc().prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    sys.addaudithook(_refuse_sockets)


def _refuse_sockets(event: str, _arguments: object) -> None:
    """Refuse sockets to code that means no harm: code that does can change this function, or go around it."""
    if event.startswith("socket."):
        raise PermissionError(f"generated code has no network: {event}")


@attrs.define
class _Unseen:
    """How many callers want this process unseen, and whether it was seen before."""

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    count: int = 0
    was_seen: bool = False


_unseen = _Unseen()


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """While rows run, keep this process's memory and environment from processes of the same user without privileges."""
    if sys.platform != "linux":
        yield
        return
    with _unseen.lock:
        if _unseen.count == 0:
            _unseen.was_seen = libc().prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 1
            libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        _unseen.count += 1
    try:
        yield
    finally:
        with _unseen.lock:
            _unseen.count -= 1
            if _unseen.count == 0 and _unseen.was_seen:
                libc().prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def end_child(pid: int) -> None:
    """End a child of this process and its group, and wait for its end."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, 9)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)  # it may not have made its group yet
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def end_orphans(kept: frozenset[int]) -> None:
    """End what processes that ended have left to this one, and what that leaves, but for children that are kept."""
    while orphans := children() - kept:
        for pid in orphans:
            end_child(pid)


def end_others() -> None:
    """End all others of this process namespace, whose first process this is."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, 9)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def children() -> frozenset[int]:
    """The children of this process; none on other systems than Linux."""
    try:
        return frozenset(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split()))
    except OSError:
        return frozenset()


def _drop_capabilities() -> None:
    """Give up what a namespace's first process, or root, may do."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    libc().capset(ctypes.create_string_buffer(header), ctypes.create_string_buffer(24))
