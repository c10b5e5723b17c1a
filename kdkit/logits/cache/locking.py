"""The lock of a cache's folder: one process writes it at a time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kdkit.errors import Busy
from kdkit.system.locks import HeldError, Lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOCK = ".lock"
_PATIENCE = 2.0


@contextmanager
def locked(folder: Path, *, seconds: float = 10.0, note: Callable[[str], None] | None = None) -> Iterator[None]:
    """Keep other processes from writing the cache while the block runs.

    Args:
        folder: The cache.
        seconds: How long to wait for another process that writes it.
        note: Called with a sentence when the wait becomes noticeable.

    Raises:
        Busy: Another process is still writing it after that time.
    """
    lock = Lock(folder / LOCK)
    quiet = seconds if note is None else min(_PATIENCE, seconds)
    try:
        _acquire(lock, folder, quiet)
    except Busy:
        if note is None:
            raise
        note(f"waiting up to {seconds:g} s for another process that writes {folder}")
        _acquire(lock, folder, max(0.0, seconds - quiet))
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: Lock, folder: Path, seconds: float) -> None:
    try:
        lock.acquire(seconds)
    except HeldError as held:
        raise Busy(
            f"another process is writing the logit cache {folder}{held.who}; wait until it is done and run again"
        ) from None
