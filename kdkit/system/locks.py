"""Locks that keep other processes out of a folder, on file systems that have locks and on those that have none.

Where the system locks files, a process that dies takes its lock with it. Some network file systems have no locks; there
a second file beside the first, which only one process can make, says who holds the lock: host, process and time. One
that a dead process of this host has left is removed. Whether a process of another host lives nobody can tell from here,
so the message names the file that has to be deleted if it does not.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout

from kdkit.errors import Busy, DamagedData
from kdkit.system.files import UNSUPPORTED, naming
from kdkit.system.reading import open_regular, read_json

if TYPE_CHECKING:
    from types import TracebackType

SUFFIX = ".held"
WAIT = 600.0
"""Seconds that `with Lock(...)` waits: work under a lock is quick."""
_POLL = 0.05
_LARGEST = 2**16


class HeldError(Exception):
    """Another process holds a lock.

    Attributes:
        who: What is known of it, to be put into a sentence: empty, or `, as FILE says: process ...`.
    """

    def __init__(self, who: str = "") -> None:
        super().__init__(who)
        self.who = who


class Lock:
    """A lock of one process at a time.

    Args:
        path: Its file, which stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._native = FileLock(path, fallback_to_soft=False)
        self._mark = path.with_name(path.name + SUFFIX)
        self._marked = False

    def acquire(self, seconds: float | None = None) -> None:
        """Take it.

        Args:
            seconds: How long to wait for a process that holds it; None for as long as it takes.

        Raises:
            HeldError: That process still holds it.
            OSError: The file cannot be made.
        """
        try:
            self._native.acquire(timeout=-1 if seconds is None else seconds)
        except Timeout:
            raise HeldError from None
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            self._acquire_mark(seconds)

    @property
    def has_marks(self) -> bool:
        """Whether it is held by a second file, since the file system has no locks."""
        return self._marked

    def release(self) -> None:
        """Give it back."""
        if self._marked:
            self._marked = False
            self._mark.unlink(missing_ok=True)
        else:
            self._native.release()

    def __enter__(self) -> Self:
        """Wait for it and take it.

        Raises:
            Busy: Another process holds it for long.
        """
        try:
            self.acquire(WAIT)
        except HeldError as held:
            raise Busy(
                f"another process holds {self._path}{held.who}; wait until it has finished and run again"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        self.release()

    def _acquire_mark(self, seconds: float | None) -> None:
        ends = time.monotonic() + seconds if seconds is not None else None
        while not _made(self._mark, _myself()):
            holder = _holder_of(self._mark)
            if _is_dead(holder) and _taken_away(self._mark, holder):
                continue
            if ends is not None and time.monotonic() >= ends:
                raise HeldError(_described(self._mark, holder))
            time.sleep(_POLL)
        self._marked = True


def is_held(path: Path) -> bool:
    """Whether a process holds a lock, this one included."""
    if not path.exists():
        return False
    lock = Lock(path)
    try:
        lock.acquire(0)
    except HeldError:
        return True
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return _looks_held(path)
    lock.release()
    return False


def _looks_held(path: Path) -> bool:
    """The same of a lock whose file may only be read, as in a colleague's folder."""
    import fcntl

    with open_regular(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in UNSUPPORTED
    return False


def _made(file: Path, content: dict[str, Any]) -> bool:
    """Make a file if it does not exist; tells whether this process made it."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    try:
        with naming(file):
            os.write(descriptor, json.dumps(content).encode())
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return True


def _myself() -> dict[str, Any]:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": _host(), "boot": _boot(), "pid": os.getpid(), "started": _started(os.getpid()), "since": started}


def _holder_of(file: Path) -> dict[str, Any] | None:
    """The maker of a lock file, as it says; None if the file is gone, or empty yet."""
    try:
        found = read_json(file, at_most=_LARGEST)
    except (OSError, ValueError, DamagedData):
        return None
    return found if isinstance(found, dict) else None


def _is_dead(holder: dict[str, Any] | None) -> bool:
    """Whether a process of this host is known to be dead: its number is free or another's, or it was before a boot."""
    if holder is None or holder.get("host") != _host() or not isinstance(holder.get("pid"), int):
        return False
    if "" != holder.get("boot") != _boot() != "":
        return True
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return holder.get("started") != _started(holder["pid"])


def _taken_away(file: Path, holder: dict[str, Any] | None) -> bool:
    """Delete a dead process's lock file; of several that try, one does it, and looks again first."""
    breaking = file.with_name(f"{file.name}.breaking")
    if not _made(breaking, _myself()):
        other = _holder_of(breaking)
        if _is_dead(other):  # killed between two lines of this function
            raise HeldError(_described(breaking, other))
        return False
    try:
        if _holder_of(file) == holder:
            file.unlink(missing_ok=True)
    finally:
        breaking.unlink(missing_ok=True)
    return True


def _described(file: Path, holder: dict[str, Any] | None) -> str:
    if holder is None:
        return f", as {file} says; delete that file if no such process is left"
    return (
        f", as {file} says: process {holder.get('pid')} of {str(holder.get('host')).partition(' ')[0]}, since "
        f"{holder.get('since')}; delete that file if that process is gone"
    )


def _host() -> str:
    """This host, and the space of its process numbers: a container has its own."""
    with suppress(OSError):
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def _started(pid: int) -> str:
    """When a process began, to tell it from another with the same number; empty if that is not known."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    return ""
