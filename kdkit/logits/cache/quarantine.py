"""The folder `damaged` within a cache: intact shards that cannot be used now, kept so that they can be restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.logits.cache.format import sealed_shards, shard_number
from kdkit.system.files import disk_full, make_folder, publish
from kdkit.system.folders import check_inside

if TYPE_CHECKING:
    from pathlib import Path

QUARANTINE = "damaged"


def quarantine(folder: Path, file: str) -> None:
    """Move a file of a cache into its `damaged`, if the file exists.

    Raises:
        UsageError: `damaged` is a link that leads out of the cache.
        KdkitError: The disk is full.
    """
    source, place = folder / file, folder / QUARANTINE
    if not source.exists():
        return
    check_inside(folder)
    with disk_full(folder, 0):
        make_folder(place)
    target, count = place / file, 1
    while target.exists():  # of an earlier mishap
        target, count = place / f"{source.stem}-{count}{source.suffix}", count + 1
    publish(source, target)


def quarantined_shards(folder: Path) -> list[Path]:
    """The shards of a cache that were quarantined."""
    return sealed_shards(folder / QUARANTINE) if (folder / QUARANTINE).is_dir() else []


def next_number(folder: Path) -> int:
    """The first number after those of all shards: a quarantined one keeps its own, so that it can be restored."""
    files = [*sealed_shards(folder), *quarantined_shards(folder)]
    return max((shard_number(path.name) + 1 for path in files), default=0)


def how_to_restore(folder: Path, why: str) -> str:
    """A phrase about a quarantined shard: why it cannot be used, where it is, and how it is restored."""
    return (
        f"{why}; the shard is intact and was moved into {folder / QUARANTINE}: if you still have that state "
        f"file, put it back into {folder}, move the contents of {QUARANTINE} there too, and run `kdkit cache "
        f"repair {folder}`"
    )
