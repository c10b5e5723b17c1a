"""The C library, for what Python has no function for."""

from __future__ import annotations

import ctypes
import functools

_PR_SET_NO_NEW_PRIVS = 38


@functools.cache
def libc() -> ctypes.CDLL:
    """The library that this process has loaded."""
    return ctypes.CDLL(None, use_errno=True)


def give_up_new_privileges() -> None:
    """Let no program that this process starts have more rights than it has: the kernel asks for that before filters."""
    libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
