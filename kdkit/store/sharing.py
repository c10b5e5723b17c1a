"""Lets runs that share a store make each entry once: a run takes the entry, or makes it while others wait."""

from __future__ import annotations

import errno
import tempfile
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from kdkit.system.files import make_folder
from kdkit.system.locks import HeldError, Lock
from kdkit.system.signals import acquired
from kdkit.system.team import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)


@contextmanager
def found_or_making(
    entry: Path, *, what: str, note: Callable[[str], None], is_there: Callable[[], bool], team: Team = ALONE
) -> Iterator[bool]:
    """Tell whether an entry of the store exists; if not, no other run can make it within the block.

    All processes of a team enter the block together; their lead looks, and holds the lock.

    Args:
        entry: The entry.
        what: What it is: "teacher".
        note: Called with a sentence where another run has to be waited for.
        is_there: Whether it is there; called a second time once the lock is held.
        team: The processes of the run.

    Raises:
        KeyboardInterrupt: A signal came while waiting, within `kdkit.system.signals.leaving`.
    """
    with ExitStack() as held:

        def look() -> bool:
            if is_there():
                return True
            held.enter_context(making(entry, note, what=what))
            return is_there()

        yield team.lead_does(look)


@contextmanager
def making(entry: Path, note: Callable[[str], None], *, what: str) -> Iterator[None]:
    """Within the block no other run can make the same entry of the store; the second one waits, however long.

    Look for the entry inside the block: the one that was waited for has made it, unless it failed.

    Args:
        entry: What is to be made.
        note: Told of waiting.
        what: What it is: "teacher".

    Raises:
        KeyboardInterrupt: A signal came while waiting, within `kdkit.system.signals.leaving`.
    """
    make_folder(entry.parent)
    lock = Lock(entry.with_name(f".{entry.name}.making.lock"))
    try:
        lock.acquire(0)
    except HeldError as held:
        note(f"waiting for another run that makes the same {what} ({entry}){held.who}")
        acquired(partial(_tried, lock))
    try:
        yield
    finally:
        lock.release()


def why_unwritable(folder: Path) -> str | None:
    """Why no file can be made in a folder, which may not exist yet; None if one can.

    It is tried: what a file's mode says is not all, on read-only and network file systems.
    """
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            return None
    except OSError as error:
        return error.strerror if error.errno in _FORBIDDEN else None


def _tried(lock: Lock, seconds: float) -> bool:
    try:
        lock.acquire(seconds)
    except HeldError:
        return False
    return True
