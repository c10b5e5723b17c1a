"""Keeping other writers out of a cache's folder."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import filelock

from kdkit.errors import Busy
from kdkit.logits.cache.writer import LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def locked(folder: Path, *, seconds: float = 10.0) -> Iterator[None]:
    """Within the block no other process writes the cache.

    Raises:
        Busy: Another process is still writing it after so many seconds.
    """
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=seconds)
    except filelock.Timeout as error:
        raise Busy(
            f"another process is writing the logit cache {folder}; wait until it is done and run again"
        ) from error
    try:
        yield
    finally:
        lock.release()
