"""Writing one shard: record after record, then sealed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zlib
from typing import TYPE_CHECKING

from kdkit.errors import UsageError
from kdkit.logits.cache.format import Record, index_bytes, shard_name
from kdkit.logits.cache.header import header_bytes, header_room
from kdkit.logits.cache.manifest import ShardEntry
from kdkit.logits.cache.payloads import read_records
from kdkit.system.files import create, discard, disk_full, publish

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kdkit.logits.cache.format import Shard
    from kdkit.logits.cache.identity import CacheIdentity

# Nine digits: a longer name is not that of a shard, and nobody would find what is in it.
LARGEST_NUMBER = 999_999_999


class GrowingShard:
    """A temporary file: room for the header, then payload after payload; sealing adds index and header.

    Raises:
        UsageError: The folder's shards are numbered so high that no number is left.
    """

    def __init__(self, folder: Path, number: int, identity: CacheIdentity, state: str) -> None:
        if number > LARGEST_NUMBER:
            raise UsageError(
                f"{folder} has a shard with the number {number - 1}, after which no other can follow; rename "
                "it to the lowest free number, delete manifest.json and run again"
            )
        self._identity = identity
        self._state = state
        self._final = folder / shard_name(number)
        self._temporary = folder / f".{shard_name(number)}.tmp"
        self._room = header_room(identity)
        self._records: list[Record] = []
        self._file = create(self._temporary)

    @property
    def is_open(self) -> bool:
        """Whether records can still be added: False once sealing has begun its last step, however that ended."""
        return not self._file.closed

    @property
    def file(self) -> Path:
        """Its size once it is sealed."""
        return self._final

    @property
    def size(self) -> int:
        """Bytes of payload."""
        return self._records[-1].end if self._records else 0

    def add(self, key: bytes, payload: bytes, tokens: int) -> None:
        """Add a record."""
        # Seeking, because an earlier `add` may have been interrupted after writing and before counting.
        self._file.seek(self._room + self.size)
        self._file.write(payload)
        self._records.append(Record(key=key, crc32=zlib.crc32(payload), tokens=tokens, end=self.size + len(payload)))

    def seal(self) -> ShardEntry:
        """Write index and header, and give the file its name."""
        index = index_bytes(self._records)
        digest = hashlib.sha256(index).hexdigest()
        header = header_bytes(self._identity, self._state, self.size, len(self._records), digest, room=self._room)
        assert len(header) == self._room
        self._file.seek(self._room + self.size)
        self._file.write(index)
        self._file.truncate()
        self._file.seek(0)
        self._file.write(header)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        publish(self._temporary, self._final)
        return ShardEntry(
            file=self._final.name,
            size=len(header) + self.size + len(index),
            records=len(self._records),
            tokens=sum(record.tokens for record in self._records),
            sha256=hashlib.sha256(header + index).hexdigest(),
            state=self._state,
        )

    def discard(self) -> None:
        """Remove it: its records were sealed, or are lost."""
        # Closing writes what is buffered, which a full disk does not take; nobody wants these bytes any more.
        with contextlib.suppress(OSError):
            self._file.close()
        discard(self._temporary)


def copy_shard(folder: Path, shard: Shard, records: Iterable[int], number: int) -> ShardEntry:
    """Write a new shard of some of the records of another.

    Args:
        folder: Where both are.
        shard: The other one.
        records: The numbers of its records that are copied.
        number: The number of the new one.

    Raises:
        DamagedData: One of these records is not whole.
        KdkitError: The disk is full, or fails.
    """
    growing = GrowingShard(folder, number, shard.identity, shard.state)
    try:
        with disk_full(growing.file, shard.size):
            for record in read_records(folder / shard.file, shard, records):
                growing.add(*record)
            return growing.seal()
    finally:
        growing.discard()
