"""Clears a cache's folder of everything that cannot be used; quarantines intact shards that only lack their state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.logits.cache.inventory import Inventory
from kdkit.logits.cache.manifest import MANIFEST, ShardEntry, describe_shard
from kdkit.logits.cache.quarantine import how_to_restore, next_number, quarantine
from kdkit.logits.cache.state import NO_STATE, STATE_FILE, state_name
from kdkit.system.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from kdkit.api.interfaces.codecs import AnyCodec
    from kdkit.logits.cache.format import Shard
    from kdkit.logits.cache.identity import CacheIdentity


@attrs.frozen(kw_only=True, eq=False)
class Kept:
    """The records and files that a writer continues from.

    Attributes:
        entries: The shards that were kept.
        keys: The keys of their records.
        next_number: The number of the first shard that may be written.
    """

    entries: tuple[ShardEntry, ...]
    keys: frozenset[bytes]
    next_number: int


def clean_up(folder: Path, identity: CacheIdentity, codec: AnyCodec | None, *, note: Callable[[str], None]) -> Kept:
    """Make a folder ready for a writer: whole shards stay, the others go; the caller holds its lock.

    Args:
        folder: The cache.
        identity: What it must belong to.
        codec: What its records were encoded with; None where nobody will decode them.
        note: Called with a sentence for everything that goes.

    Raises:
        Mismatch: The folder holds another identity's cache; nothing but temporary files was touched.
        UsageError: A newer kdkit wrote it.
    """
    discard_temporaries(folder)
    inventory = Inventory.take(folder, identity, codec=codec)
    useless = dict(inventory.damaged)
    stateless = [shard for file, shard in inventory.shards.items() if file in inventory.stateless]
    kept: list[ShardEntry] = []
    keys: set[bytes] = set()
    for file, shard in inventory.shards.items():
        if file in inventory.stateless:
            continue
        own = [key.tobytes() for key in shard.keys_N16]
        if len(set(own)) != len(own) or not keys.isdisjoint(own):
            useless[file] = "it holds records that other shards hold too"
        else:
            keys.update(own)
            kept.append(describe_shard(shard))
    misplaced = inventory.misplaced
    moved = [entry.file for entry in kept if entry.file in misplaced]
    if inventory.manifest_fault:
        note(f"{inventory.manifest_fault} (now done)")
    for file in moved:
        note(
            f"{folder / file} is not the file that {MANIFEST} describes, but it is intact and of the same "
            "teacher, so its records are kept"
        )
    for file, why in inventory.stateless.items():
        note(f"{folder / file}: {how_to_restore(folder, why)}. Its records are captured again")
    for file in inventory.missing:
        note(f"{folder / file} is missing; its records are captured again")
    for file, why in useless.items():
        note(f"{folder / file} is damaged ({why}); it is deleted and its records are captured again")
    if inventory.has_manifest and (inventory.manifest_fault or moved or stateless or useless or inventory.missing):
        withdraw_manifest(inventory, stateless)
    number = next_number(folder)  # never that of a file that goes: a reader may still have the manifest that names it
    remove(folder, useless, stateless=stateless, kept=kept)
    return Kept(entries=tuple(kept), keys=frozenset(keys), next_number=number)


def discard_temporaries(folder: Path) -> None:
    """Remove the files that a writer did not finish."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink()


def withdraw_manifest(inventory: Inventory, stateless: Sequence[Shard]) -> None:
    """Remove the manifest before any file that it lists; quarantine it if shards may be restored."""
    if stateless and inventory.manifest is not None:
        quarantine(inventory.folder, MANIFEST)
    else:
        (inventory.folder / MANIFEST).unlink(missing_ok=True)
    sync_folder(inventory.folder)


def remove(folder: Path, files: Iterable[str], *, stateless: Iterable[Shard], kept: Iterable[ShardEntry]) -> None:
    """Remove files from a cache, quarantine the shards that lack their state, and remove states that nobody needs.

    Args:
        folder: The cache.
        files: What is deleted.
        stateless: What is quarantined, with what there is of its state.
        kept: The shards that stay.
    """
    for shard in stateless:
        quarantine(folder, shard.file)
        if shard.state != NO_STATE:
            quarantine(folder, state_name(shard.state))
    for file in files:
        (folder / file).unlink(missing_ok=True)
    needed = {state_name(entry.state) for entry in kept}
    for path in folder.iterdir():
        if STATE_FILE.fullmatch(path.name) and path.name not in needed:
            path.unlink()
