"""Reads everything that a cache's manifest lists, to find every fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.errors import DamagedData
from kdkit.logits.cache.listed import read_listed
from kdkit.logits.cache.manifest import MANIFEST, misfit, read_manifest
from kdkit.logits.cache.payloads import check_records
from kdkit.logits.cache.state import read_state, state_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kdkit.logits.cache.manifest import Manifest, ShardEntry


NOT_WHOLE = "its bytes do not match its checksum"
"""The fault of a record that was changed or cut."""


@attrs.frozen(kw_only=True)
class Fault:
    """A part of a cache that has changed since it was written.

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


def repeats(key: bytes) -> str:
    """The fault of a record whose key another record has too."""
    return f"its key {key.hex()} occurs twice in the cache"


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
    """The faults of a state, known by its SHA-256."""
    try:
        read_state(folder, state)
    except DamagedData as error:
        yield Fault(file=state_name(state), record=None, what=_without(folder / state_name(state), error))


def _without(path: Path, error: DamagedData) -> str:
    """What an error says, without the file's name that it may begin with."""
    return str(error).removeprefix(f"{path}: ").removeprefix(f"{path} ")


def shard_faults(folder: Path, entry: ShardEntry, manifest: Manifest, seen: set[bytes]) -> Iterator[Fault]:
    """The faults of a shard that a manifest lists, read to its last byte.

    Args:
        folder: Where its file is.
        entry: Its entry.
        manifest: The manifest.
        seen: The keys of the shards before it; its own are added.
    """
    path = folder / entry.file
    try:
        shard = read_listed(path)
    except DamagedData as error:
        yield Fault(file=entry.file, record=None, what=_without(path, error))
        return
    wrong = misfit(shard, entry, manifest.identity)
    if wrong:
        yield Fault(file=entry.file, record=None, what=wrong)
    for number, is_whole in enumerate(check_records(path, shard)):
        if not is_whole:
            yield Fault(file=entry.file, record=number, what=NOT_WHOLE)
        key = shard.keys_N16[number].tobytes()
        if key in seen:
            yield Fault(file=entry.file, record=number, what=repeats(key))
        seen.add(key)
