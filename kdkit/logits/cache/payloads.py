"""Reading the records' bytes from the files of a cache, from any thread.

A record of a local cache is read by one seek in its shard's file and not through a memory map: another program may
shrink the file, and that kills a process that reads the map, whatever it checked before. Only kdkit works in a mirror
of a cache at a URL, and replaces its files instead of changing them; so there a record comes out of a map.
"""

from __future__ import annotations

import mmap
import threading
import zlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kdkit.errors import DamagedData
from kdkit.system.files import naming
from kdkit.system.reading import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from kdkit.logits.cache.format import Shard


# In the folder of a mirror: the URL that it is the mirror of.
MARK = ".url"
_PIECE = 4 * 2**20


def is_mirror(folder: Path) -> bool:
    """Whether a folder is the mirror of a cache at a URL."""
    return (folder / MARK).exists()


def check_records(path: Path, shard: Shard) -> Iterator[bool]:
    """Whether each record of a shard is whole, in turn; at most 4 MiB are in memory at a time."""
    with naming(path), open_regular(path) as file:
        file.seek(shard.payload_start)
        for length, crc32 in zip(np.diff(shard.offsets_M).tolist(), shard.crc32_N.tolist(), strict=True):
            yield _crc32(file, length) == crc32


def _crc32(file: BinaryIO, length: int) -> int | None:
    """Of the next bytes of a file; None where it ends before."""
    crc32 = 0
    while length:
        piece = file.read(min(length, _PIECE))
        if not piece:
            return None
        crc32 = zlib.crc32(piece, crc32)
        length -= len(piece)
    return crc32


def read_records(path: Path, shard: Shard, numbers: Iterable[int]) -> Iterator[tuple[bytes, bytes, int]]:
    """Key, encoded logits and number of tokens of some of a shard's records, which were found to be whole before.

    Raises:
        DamagedData: A record is not whole any more.
    """
    with naming(path), open_regular(path) as file:
        for number in numbers:
            start, end = shard.offsets_M[number : number + 2].tolist()
            file.seek(shard.payload_start + start)
            payload = file.read(end - start)
            if len(payload) != end - start or zlib.crc32(payload) != shard.crc32_N[number]:
                raise DamagedData(
                    f"{path} record {number}: its bytes no longer match its checksum, so the file changed "
                    "while it was copied; run the same command again"
                )
            yield shard.keys_N16[number].tobytes(), payload, int(shard.tokens_N[number])


def _share_of_open_files() -> int:
    try:
        import resource
    except ImportError:  # not on Windows
        return 256
    may_be_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(max(may_be_open // 4, 1), 4096) if may_be_open != resource.RLIM_INFINITY else 4096


class SoughtFiles:
    """Files that other programs may change: each is opened for each record."""

    def read(self, path: Path, start: int, length: int) -> bytes:
        """So many bytes from there on; fewer where the file ends."""
        with naming(path), open_regular(path) as file:
            file.seek(start)
            return file.read(length)


@attrs.frozen(eq=False)
class MappedFiles:
    """Files that nobody changes: they are mapped, and those used last stay open.

    Attributes:
        at_most: How many stay open; by default a quarter of the files that the process may have open.
    """

    at_most: int = attrs.field(factory=_share_of_open_files)
    _maps: OrderedDict[Path, mmap.mmap] = attrs.field(factory=OrderedDict, init=False)
    _lock: Any = attrs.field(factory=threading.Lock, init=False)

    def read(self, path: Path, start: int, length: int) -> bytes:
        """So many bytes from there on."""
        with self._lock:
            mapped = self._maps.get(path)
            if mapped is None:
                with open_regular(path) as file:
                    mapped = self._maps[path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                if len(self._maps) > self.at_most:
                    # Not closed here: another thread may be reading it, and the last one to let go of it closes it.
                    self._maps.popitem(last=False)
            else:
                self._maps.move_to_end(path)
        return mapped[start : start + length]


def files_of(folder: Path) -> SoughtFiles | MappedFiles:
    """How the files of a cache are read."""
    return MappedFiles() if is_mirror(folder) else SoughtFiles()
