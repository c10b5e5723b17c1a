"""The temporary folder below which rows run, which goes at the end, also after a process that was killed."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "kdkit-rows-"


@contextlib.contextmanager
def rows_folder() -> Iterator[Path]:
    """A new folder in the temporary folder. Those of processes that were killed are deleted first."""
    _delete_left()
    folder, lock = _made()
    try:
        yield folder
    finally:
        delete(folder)
        os.close(lock)


def _made() -> tuple[Path, int]:
    """A new folder, and its lock, which lives as long as this process: so others know that it is in use."""
    import fcntl

    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with contextlib.suppress(FileNotFoundError):  # another process may take it for a dead one's before it is locked
            lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            with contextlib.suppress(OSError):  # a file system without locks: then nobody deletes it but its owner
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.is_dir():
                return folder, lock
            os.close(lock)


def _delete_left() -> None:
    """Delete this user's folders that no process holds."""
    import fcntl

    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another's, or gone, or held
            if folder.lstat().st_uid != os.getuid():
                continue
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                delete(folder)
            finally:
                os.close(held)


def delete(folder: Path) -> None:
    """Delete a folder with whatever a stranger made in it, however deep it is and whatever its modes are."""
    numbers = count()
    with contextlib.suppress(OSError):  # what cannot be deleted is left; the next run tries again
        while found := _opened(folder):
            for path in found:
                if _is_folder(path):
                    for child in _opened(path):  # brought up, so that no path grows long and nothing calls itself
                        if _is_folder(child):
                            child.chmod(stat.S_IRWXU)  # what has another parent is changed itself
                        child.rename(folder / f".{next(numbers)}")
                    path.rmdir()
                else:
                    path.unlink()
        folder.rmdir()


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(path.lstat().st_mode)


def _opened(folder: Path) -> list[Path]:
    """What is in a folder, which may now be listed and changed."""
    folder.chmod(stat.S_IRWXU)
    return list(folder.iterdir())
