"""Writes files whole or not at all: temporary file, fsync, rename, fsync of the folder.

A folder may come from a stranger, with links in it that lead elsewhere. So a file is always a new one, made exclusively
and then renamed, or it is appended to without following a link; what is deleted is the link, not what it points to.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import re
import secrets
import shutil
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdkit.errors import KdkitError, UsageError
from kdkit.system.folders import discard_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO, TextIO

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.EISDIR)
_LEFT_AFTER = 3600
"""Seconds after which a temporary file was left by a process that was killed: none takes so long to write."""
FAILED_DISK = (errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE)
UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
"""Errors of a file system without locks, or without sync of folders."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old content or the new, never a part.

    Raises:
        KdkitError: The disk is full, or fails.
    """
    write_parts_atomically(path, (content,), len(content))


def write_parts_atomically(path: Path, parts: Iterable[bytes], size: int = 0) -> None:
    """`write_atomically` with a content that need not be in memory at once; its `size` is 0 where it is not known."""
    temporary = _temporary(path)
    with disk_full(path, size):
        try:
            with create(temporary) as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            publish(temporary, path)
        except BaseException:
            discard(temporary)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomically(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def create(path: Path) -> BinaryIO:
    """Open a new file for writing, replacing whatever has its name; a link itself is replaced."""
    path.unlink(missing_ok=True)
    return path.open("xb")


def append(path: Path) -> TextIO:
    """Open a file to add lines to, each of which is there once it is written; the file is made if it is not there.

    Raises:
        UsageError: It is a link or no regular file.
    """
    try:
        stream = open(path, "a", buffering=1, encoding="utf-8", opener=_without_following)  # noqa: SIM115 - for callers
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise _no_file(path) from error
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise _no_file(path)
    return stream


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def kind_of(mode: int) -> str:
    """The kind of a file that is not regular, in words."""
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _no_file(path: Path) -> UsageError:
    return UsageError(f"{path} is {kind_of(path.lstat().st_mode)}, but kdkit appends only to regular files; delete it")


def _temporary(path: Path) -> Path:
    """A temporary name that no other process has for this file; old ones that a kill left are deleted."""
    for left in path.parent.glob(f".{glob.escape(path.name)}*.tmp"):
        with suppress(OSError):  # its process has renamed it by now
            if time.time() - left.lstat().st_mtime > _LEFT_AFTER:
                left.unlink()
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def publish(temporary: Path, final: Path) -> None:
    """Give a written and synced file or folder its name, so that it is there after a power cut too."""
    temporary.replace(final)
    for folder in {final.parent, temporary.parent}:
        sync_folder(folder)


def make_folder(folder: Path) -> None:
    """Make a folder with its parents, unless it is there, so that all of them are there after a power cut too."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in made:
        sync_folder(each.parent)


def reserve(path: Path, size: int) -> None:
    """Reserve room on the disk with a file, if the system can and the name is free."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)


def discard(temporary: Path) -> None:
    """Remove an unfinished file, if it exists, to free room on a full disk."""
    # A disk that fails says so in the error that led here; the next writer clears away what is left.
    with suppress(OSError):
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let the system's errors say which file they are about: those of reading, writing and syncing do not."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def copy_synced(source: Path, target: Path) -> None:
    """Copy a file's content to a new file, so that it is on the disk when this returns."""
    with source.open("rb") as content, create(target) as file:
        shutil.copyfileobj(content, file)
        file.flush()
        os.fsync(file.fileno())


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file that never changes a second name, whole or not at all; where links are impossible, copy it.

    Raises:
        KdkitError: The disk is full, or fails.
    """
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        temporary = _temporary(target)
        with disk_full(target, source.stat().st_size):
            copy_synced(source, temporary)
            publish(temporary, target)
    else:
        sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Make a folder and all that is in it durable; its own name is not."""
    for each in folder.rglob("*"):
        sync_folder(each) if each.is_dir() else sync_file(each)
    sync_folder(folder)


@contextmanager
def disk_full(place: Path, needed: int, *, discards: Path | None = None) -> Iterator[None]:
    """Turn a full disk (or quota, or a limit on a file's size) into one sentence, and a disk that fails too.

    Args:
        place: The file that is written; or a folder, where the system may know which file in it.
        needed: Bytes that are needed there for what is being written; 0 where that is not known.
        discards: What was made for that alone, and takes room for nothing where it fails.
    """
    try:
        yield
    except Exception as error:
        try:
            _refuse_disk(error, place, needed)
        finally:
            if discards is not None:
                discard_folder(discards)
        raise


def _refuse_disk(error: Exception, place: Path, needed: int) -> None:
    """Raise the sentence of an error that is the disk's."""
    number = _error_number(error)
    # Of two names, as of a rename or a copy, the second is the one that is written.
    named = getattr(error, "filename2", None) or getattr(error, "filename", None)
    file = Path(os.fsdecode(named)) if place.is_dir() and isinstance(named, str | bytes) else place
    if number in FAILED_DISK:
        raise KdkitError(
            f"{file} cannot be written ({os.strerror(number)}); check the disk and run again: finished work is kept"
        ) from error
    if number not in FULL_DISK:
        return
    there = next(each for each in (file, *file.absolute().parents) if each.exists())
    free = f"{shutil.disk_usage(there).free:,} bytes are free"
    if hasattr(os, "statvfs") and (entries := os.statvfs(there)).f_files and not entries.f_favail:
        raise KdkitError(
            f"{file} cannot be made ({os.strerror(number)}: the file system has no inodes left, and each file "
            f"needs one; {free}); delete files there and run again: finished work is kept"
        ) from error
    raise KdkitError(
        f"{file} cannot take {f'{needed:,} bytes ' if needed else ''}more ({os.strerror(number)}; {free}); "
        "free some space and run again: finished work is kept"
    ) from error


def _error_number(error: Exception) -> int | None:
    """The system's number of an error; safetensors and tokenizers, written in Rust, have it in their text."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def weight_files(root: Path, folders: str) -> list[str]:
    """The weight files in the folders below a root that match, relative to the root."""
    return sorted(file.relative_to(root).as_posix() for file in root.glob(f"{folders}/*.safetensors"))


def user_path(name: str | Path) -> Path:
    """A user's path, with `~` replaced.

    Raises:
        UsageError: It cannot be one.
    """
    if "\0" in str(name):
        raise UsageError(f"{str(name)!r} cannot be a path: it holds a zero byte")
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{name} cannot be a path: that user has no home folder") from error


def size_text(size: float) -> str:
    """A number of bytes for people: `512 bytes`, `45.5 KB`, `1.0 GB`."""
    if size < 1000:
        return f"{size:.0f} byte{'' if size == 1 else 's'}"
    for unit in ("KB", "MB", "GB"):
        size /= 1000
        if size < 999.95:  # what would be rounded up to 1000.0 is 1.0 of the next unit
            return f"{size:.1f} {unit}"
    size /= 1000
    return f"{size:,.1f} TB"


def folder_bytes(folder: Path, pattern: str = "*") -> int:
    """Bytes of the files in a folder that match."""
    return sum(path.stat().st_size for path in Path(folder).glob(pattern) if path.is_file())
