"""A JSONL inside a ZIP inside a ZIP, as one stream.

A ZIP's table of contents stands at its end, so that an inner ZIP must be read with seeks. One that is stored is read
where it lies; one that is compressed is first unpacked into a temporary file (seeking in compressed data would start
from the beginning each time), which takes as much disk as the inner ZIP has bytes and is gone afterwards.
"""

from __future__ import annotations

import errno
import io
import lzma
import shutil
import struct
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from kdkit.data import decompressed
from kdkit.errors import DamagedData, KdkitError, MissingInput, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, then the lengths of name and extra field
LOCAL_SIGNATURE = b"PK\x03\x04"
ENCRYPTED = 0x1
BUFFER = 1 << 20
# What zipfile and the decompressors below it raise for bytes that make no sense, wrong lengths and offsets included.
DAMAGE = (zipfile.BadZipFile, struct.error, zlib.error, lzma.LZMAError, EOFError, ValueError, OverflowError)


@contextmanager
def open_nested_jsonl(outer: Path, stem: str, *, spool_dir: Path | None = None) -> Iterator[BinaryIO]:
    """The decompressed bytes of `STEM.jsonl` in `STEM.jsonl.zip` in a ZIP.

    Args:
        outer: The ZIP.
        stem: Name of the JSONL without its ending; folders before it do not matter.
        spool_dir: Where a compressed inner ZIP is unpacked; by default the system's folder for temporary files.

    Raises:
        UsageError: A ZIP lacks the file, has a password, or there is no room to unpack the inner one.
        MissingInput: There is no such folder to unpack it into.
        DamagedData: A ZIP is damaged, or is none.
    """
    try:
        with (
            zipfile.ZipFile(outer) as archive,
            _inner_zip(outer, archive, f"{stem}.jsonl.zip", spool_dir) as inner_file,
            zipfile.ZipFile(inner_file) as inner,
            inner.open(_jsonl_member(inner, outer, stem)) as member,
            io.BufferedReader(cast(io.RawIOBase, member), BUFFER) as stream,
            decompressed(stream) as lines,
        ):
            yield lines
    except KdkitError:
        raise
    except DAMAGE as error:
        raise DamagedData(f"{outer} is damaged or not a ZIP ({error}); download the file again") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # a decompressor's, or a seek to before the file's start
            raise
        raise DamagedData(f"{outer} is damaged ({error}); download the file again") from error
    except NotImplementedError as error:
        raise UsageError(f"{outer} is compressed in a way that cannot be read here: {error}") from error


def _member(archive: zipfile.ZipFile, name: str, label: str) -> zipfile.ZipInfo:
    """The one member with that file name, in whatever folder."""
    for info in archive.infolist():
        if info.filename.rsplit("/", 1)[-1] == name:
            if info.flag_bits & ENCRYPTED:
                raise UsageError(
                    f"{info.filename} in {label} has a password; unpack the ZIP and make one without a password"
                )
            return info
    names = [info.filename for info in archive.infolist()]
    raise UsageError(f"{label} does not contain {name}, only {', '.join(names[:10]) or 'nothing'}")


def _jsonl_member(inner: zipfile.ZipFile, outer: Path, stem: str) -> zipfile.ZipInfo:
    gzipped = f"{stem}.jsonl.gz"
    has_gzipped = any(name.rsplit("/", 1)[-1] == gzipped for name in inner.namelist())
    return _member(inner, gzipped if has_gzipped else f"{stem}.jsonl", f"{outer}/{stem}.jsonl.zip")


@contextmanager
def _inner_zip(outer: Path, archive: zipfile.ZipFile, name: str, spool_dir: Path | None) -> Iterator[BinaryIO]:
    info = _member(archive, name, str(outer))
    if info.compress_type == zipfile.ZIP_STORED:
        with outer.open("rb") as file, _Window(file, _data_offset(file, info), info.file_size) as window:
            yield io.BufferedReader(window, BUFFER)
        return
    folder = spool_dir if spool_dir is not None else Path(tempfile.gettempdir())
    if not folder.is_dir():
        raise MissingInput(f"there is no folder {folder}; create it, or set spool_dir to another folder")
    free = shutil.disk_usage(folder).free
    if free < info.file_size:
        raise UsageError(
            f"{name} must be unpacked into {folder}, which takes {info.file_size / 1e9:.1f} GB, but "
            f"only {free / 1e9:.1f} GB are free; set spool_dir to a folder with more room"
        )
    with tempfile.TemporaryFile(dir=folder) as spooled:
        with archive.open(info) as packed:
            shutil.copyfileobj(packed, spooled, BUFFER)
        spooled.seek(0)
        yield spooled


def _data_offset(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: its own header repeats name and extra field, in lengths of its own."""
    file.seek(info.header_offset)
    signature, name_length, extra_length = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    if signature != LOCAL_SIGNATURE:
        raise zipfile.BadZipFile(f"{info.filename} does not begin where the table of contents says")
    return int(info.header_offset + LOCAL_HEADER.size + name_length + extra_length)


class _Window(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._size - self._position))
        self._file.seek(self._start + self._position)
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
