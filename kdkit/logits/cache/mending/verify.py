"""Reading a whole cache, to list every fault in it."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import attrs

from kdkit.errors import DamagedData, MissingInput, UsageError
from kdkit.logits.cache.format import SHARD_PATTERN, read_shard
from kdkit.logits.cache.manifest import MANIFEST, misfit, read_manifest
from kdkit.logits.cache.quarantine import ASIDE
from kdkit.logits.cache.state import read_state, state_name
from kdkit.system.files import naming

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from kdkit.logits.cache.format import Shard
    from kdkit.logits.cache.manifest import Manifest, ShardEntry

_PIECE = 4 * 2**20


@attrs.frozen(kw_only=True)
class Fault:
    """Something in a cache that is not what was written.

    Attributes:
        file: The file it is in.
        record: Number of the record within the shard; None where the fault is the file's own.
        what: What is wrong.
    """

    file: str
    record: int | None
    what: str

    def __str__(self) -> str:
        place = self.file if self.record is None else f"{self.file} record {self.record}"
        return f"{place}: {self.what}"


def verify(folder: Path) -> list[Fault]:
    """Every fault of a cache, found by reading all of it, a piece of at most 4 MiB in memory at a time.

    Raises:
        MissingInput: There is no finished cache in the folder.
        UsageError: A newer kdkit wrote it.
    """
    try:
        manifest = read_manifest(folder)
    except DamagedData as error:
        return [Fault(file=MANIFEST, record=None, what=str(error))]
    faults = [fault for state in manifest.states for fault in state_faults(folder, state)]
    seen: set[bytes] = set()
    for entry in manifest.shards:
        faults.extend(shard_faults(folder, entry, manifest, seen))
    return faults


def state_faults(folder: Path, state: str) -> Iterator[Fault]:
    """What is wrong with a state, known by its SHA-256."""
    try:
        read_state(folder, state)
    except DamagedData as error:
        yield Fault(
            file=state_name(state), record=None, what=str(error).removeprefix(f"{folder / state_name(state)}: ")
        )


def caches_below(folder: Path) -> list[Path]:
    """The folders of all caches, finished or not, in a folder or anywhere below it.

    Raises:
        MissingInput: There is none.
    """
    holders = {path.parent for pattern in (MANIFEST, SHARD_PATTERN) for path in folder.rglob(pattern)}
    found = {place.parent if place.name == ASIDE and place != folder else place for place in holders}
    if not found:
        raise MissingInput(f"there is no logit cache in {folder} or below it")
    return sorted(found)


def shard_faults(folder: Path, entry: ShardEntry, manifest: Manifest, seen: set[bytes]) -> Iterator[Fault]:
    """What is wrong with a shard that a manifest lists, read to its last byte.

    Args:
        folder: Where its file is.
        entry: Its entry.
        manifest: The manifest.
        seen: The keys of the shards before it; its own are added.
    """
    path = folder / entry.file
    try:
        shard = read_shard(path)
    except DamagedData as error:
        yield Fault(file=entry.file, record=None, what=str(error))
        return
    except UsageError:
        # Whoever adds a shard of a newer version writes the manifest in that version too.
        yield Fault(file=entry.file, record=None, what="its format version is newer than that of the manifest")
        return
    wrong = misfit(shard, entry, manifest.identity)
    if wrong:
        yield Fault(file=entry.file, record=None, what=wrong)
    for number, what in _record_faults(path, shard, seen):
        yield Fault(file=entry.file, record=number, what=what)


def _record_faults(path: Path, shard: Shard, seen: set[bytes]) -> Iterator[tuple[int, str]]:
    with naming(path), path.open("rb") as file:
        file.seek(shard.payload_start)
        for number in range(shard.records):
            length = int(shard.offsets_M[number + 1] - shard.offsets_M[number])
            if _crc32(file, length) != shard.crc32_N[number]:
                yield number, "its bytes do not match its checksum"
            key = shard.keys_N16[number].tobytes()
            if key in seen:
                yield number, f"its key {key.hex()} stands twice in the cache"
            seen.add(key)


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
