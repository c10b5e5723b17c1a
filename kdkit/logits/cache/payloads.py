"""Reading records' bytes from the files of a cache, from any thread.

A record of a local cache is read by one seek in its shard's file and not through a memory map: another program may
shrink the file, and that kills a process that reads the map. There is no way around it: a check before the read may be
passed by what happens after. A mirror of a cache at a URL is ours alone, its files being replaced and never changed; so
there a record comes out of a map.
"""

from __future__ import annotations

import mmap
import threading
import zlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.system.files import naming

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from kdkit.logits.cache.format import Shard


def whole_payload(file: BinaryIO, shard: Shard, number: int) -> bytes | None:
    """A record's encoded logits, out of its shard's open file; None where they are not what was written."""
    start, end = (int(offset) for offset in shard.offsets_M[number : number + 2])
    file.seek(shard.payload_start + start)
    payload = file.read(end - start)
    return payload if len(payload) == end - start and zlib.crc32(payload) == shard.crc32_N[number] else None


def _share_of_open_files() -> int:
    try:
        import resource
    except ImportError:  # not on Windows
        return 256
    may_be_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(max(may_be_open // 4, 1), 4096) if may_be_open != resource.RLIM_INFINITY else 4096


class SoughtFiles:
    """Files that others may change: opened for each record."""

    def read(self, path: Path, start: int, length: int) -> bytes:
        """So many bytes from there on; fewer where the file ends."""
        with naming(path), path.open("rb") as file:
            file.seek(start)
            return file.read(length)


@attrs.frozen(eq=False)
class MappedFiles:
    """Files that nobody changes: mapped, those used last staying open.

    Attributes:
        at_most: How many; by default a quarter of the files that the process may have open.
    """

    at_most: int = attrs.field(factory=_share_of_open_files)
    _maps: OrderedDict[Path, mmap.mmap] = attrs.field(factory=OrderedDict, init=False)
    _lock: Any = attrs.field(factory=threading.Lock, init=False)

    def read(self, path: Path, start: int, length: int) -> bytes:
        """So many bytes from there on."""
        with self._lock:
            mapped = self._maps.get(path)
            if mapped is None:
                with path.open("rb") as file:
                    mapped = self._maps[path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                if len(self._maps) > self.at_most:
                    # Not closed here: another thread may be reading it, and the last one to let go of it closes it.
                    self._maps.popitem(last=False)
            else:
                self._maps.move_to_end(path)
        return mapped[start : start + length]
