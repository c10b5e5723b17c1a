"""Reading the shards that a manifest lists, and the error where one is not as listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import DamagedData, UsageError
from kdkit.logits.cache.format import read_shard
from kdkit.logits.cache.manifest import misfit

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.logits.cache.format import Shard
    from kdkit.logits.cache.identity import CacheIdentity
    from kdkit.logits.cache.manifest import ShardEntry


def read_listed(path: Path) -> Shard:
    """Header and index of a shard whose cache has a manifest that names it.

    Raises:
        DamagedData: It is not a shard as kdkit writes it; the message says what is wrong, not where.
    """
    try:
        return read_shard(path)
    except UsageError as error:
        # A newer kdkit that adds a shard writes the manifest in its own version too.
        raise DamagedData("its format version is newer than that of the manifest") from error


def load_listed(folder: Path, entry: ShardEntry, identity: CacheIdentity) -> Shard:
    """Header and index of a shard that the manifest lists.

    Raises:
        DamagedData: It is damaged, missing, or another file than the manifest describes.
    """
    try:
        shard = read_listed(folder / entry.file)
    except DamagedData as error:
        raise damaged_shard(folder, entry.file, str(error)) from error
    wrong = misfit(shard, entry, identity)
    if wrong:
        raise damaged_shard(folder, entry.file, wrong)
    return shard


def damaged_shard(folder: Path, file: str, what: str) -> DamagedData:
    """The error of a damaged shard, with what to do."""
    named = what if what.startswith(f"{folder / file} ") else f"{folder / file}: {what}"
    return DamagedData(
        f"{named}; run `kdkit cache repair {folder}`, which keeps every intact record, then run the recipe "
        f"again, which captures only the missing ones (if the run is finished, `kdkit cache repair {folder} "
        "--run RUN_DIR` does both)"
    )
