"""A disk whose n-th operation fails, at the lowest level that Python has: below buffers, pathlib and filelock."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
from pathlib import Path

import attrs


class Died(BaseException):
    """The process is no more; what catches errors must not catch this."""


@attrs.define
class Disk:
    """Counts what is done to files in a folder, and lets it fail.

    Attributes:
        folder: Operations on what lies elsewhere are let through.
        at: Number of the operation that fails, from 0; None for none.
        number: Its errno.
        for_good: Whether all operations after it fail too.
        kills: Whether the process dies there (`Died`) instead; a dead process does nothing more.
        done: Names of the operations so far.
    """

    folder: Path
    at: int | None = None
    number: int = errno.EIO
    for_good: bool = False
    kills: bool = False
    done: list[str] = attrs.field(factory=list)
    is_in_use: bool = attrs.field(default=False, init=False)

    def step(self, name, path=None):
        """Count an operation; raise what the system raises where this one fails."""
        if not self.is_in_use:
            return
        count = len(self.done)
        self.done.append(name)
        if self.at is not None and (count == self.at or (self.for_good and count > self.at)):
            if self.kills:
                raise Died
            raise OSError(self.number, os.strerror(self.number), *(() if path is None else (str(path),)))

    def concerns(self, path) -> bool:
        return isinstance(path, str | os.PathLike) and Path(path).is_relative_to(self.folder)

    @contextlib.contextmanager
    def in_use(self):
        """Within the block, files in the folder are on this disk."""
        with contextlib.ExitStack() as stack:
            for owner, name in ((os, "open"), (os, "replace"), (os, "unlink"), (os, "scandir"), (os, "listdir")):
                self._patch(stack, owner, name, self._named(name, getattr(os, name)))
            self._patch(stack, os, "fsync", self._fsync(os.fsync))
            for owner in (io, builtins):
                self._patch(stack, owner, "open", self._open(owner.open))
            self.is_in_use = True
            # Files that are opened here may be used after it.
            stack.callback(setattr, self, "is_in_use", False)
            yield self

    def _patch(self, stack, owner, name, replacement):
        stack.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, replacement)

    def _named(self, name, real):
        def operation(path, *args, **kwargs):
            if self.concerns(path):
                self.step(name, path)
            return real(path, *args, **kwargs)

        return operation

    def _fsync(self, real):
        def fsync(descriptor):
            try:
                self.step("fsync")
            except OSError:
                self._lose(descriptor)
                raise
            return real(descriptor)

        return fsync

    def _lose(self, descriptor):
        """What was written and not synced is gone after a sync that failed; a second sync would say that all is well."""
        with contextlib.suppress(OSError):  # a folder, which has no bytes
            size = os.fstat(descriptor).st_size
            os.ftruncate(descriptor, 0)
            os.ftruncate(descriptor, size)

    def _open(self, real):
        def opened(path, mode="r", *args, **kwargs):
            if not self.concerns(path) or "b" not in mode:
                return real(path, mode, *args, **kwargs)
            self.step("open", path)
            raw = _File(path, mode.replace("b", ""))
            raw.disk = self
            if "+" in mode:
                return io.BufferedRandom(raw)
            return io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)

        return opened


class _File(io.FileIO):
    """A file without a buffer; a write that fails has written a part."""

    disk: Disk

    def write(self, data):
        try:
            self.disk.step("write")
        except OSError:
            super().write(bytes(data)[: len(data) // 2])
            raise
        return super().write(data)

    def truncate(self, size=None):
        self.disk.step("truncate")
        return super().truncate(size)

    def readinto(self, buffer):
        self.disk.step("read")
        return super().readinto(buffer)

    def readall(self):
        self.disk.step("read")
        return super().readall()
