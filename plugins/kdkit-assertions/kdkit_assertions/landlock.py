"""Landlock: which files a process may write and read, for good, and whom it may signal. It needs no privilege.

Sources: landlock(7), landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2) and linux/landlock.h,
from which the numbers are.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from typing import TYPE_CHECKING

import attrs

from kdkit_assertions.libc import give_up_new_privileges, libc

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446
# Rights over files, and which of them there are for a file that is no folder. Truncating came with version 3.
_EXECUTE, _WRITE, _READ, _LIST, _TRUNCATE = 1, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_READING = _EXECUTE | _READ | _LIST
_OF_A_FILE = _EXECUTE | _WRITE | _READ | _TRUNCATE
# Writing, removing and making, by the version that they came with.
_WRITING = {1: _WRITE | sum(1 << bit for bit in range(4, 13)), 2: 1 << 13, 3: _TRUNCATE}
_SIGNALS_SINCE, _SCOPE_SIGNAL = 6, 1 << 1


@attrs.frozen
class Place:
    """A file or folder that is open to be named in rules, and to nothing else."""

    descriptor: int
    is_folder: bool

    @classmethod
    def open(cls, path: Path | str) -> Place:
        """Open it.

        Raises:
            OSError: It is not there.
        """
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        return cls(descriptor, stat.S_ISDIR(os.fstat(descriptor).st_mode))


def version() -> int:
    """The version of Landlock that the kernel has; 0 where it has none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(libc().syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def restrict(writable: Iterable[Place], readable: Sequence[Place] | None, *, scoped: bool) -> bool:
    """Restrict this process and all that it starts; whether the kernel did.

    Args:
        writable: Files and folders below which it may write; they may be read too.
        readable: The same for reading; None for all.
        scoped: Whether it may signal only what it started itself, where the kernel knows that (Linux 6.12).
    """
    since = version()
    if since < 1:
        return False
    writing = sum(bits for first, bits in _WRITING.items() if since >= first)
    handled = writing | (_READING if readable is not None else 0)
    scope = _SCOPE_SIGNAL if scoped and since >= _SIGNALS_SINCE else 0
    wanted = struct.pack("=QQQ", handled, 0, scope)[: 24 if since >= _SIGNALS_SINCE else 8]
    rules = libc().syscall(_CREATE, wanted, ctypes.c_size_t(len(wanted)), ctypes.c_uint32(0))
    if rules < 0:
        return False
    try:
        allowed = [(place, handled) for place in writable]
        allowed += [(place, _READING) for place in readable or ()]
        if not all(_allow(rules, place, rights) for place, rights in allowed):
            return False
        give_up_new_privileges()
        return bool(libc().syscall(_RESTRICT, ctypes.c_int(rules), ctypes.c_uint32(0)) == 0)
    finally:
        os.close(rules)


def _allow(rules: int, place: Place, rights: int) -> bool:
    rule = struct.pack("=Qi", rights if place.is_folder else rights & _OF_A_FILE, place.descriptor)
    return bool(libc().syscall(_ADD, ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint32(0)) == 0)
