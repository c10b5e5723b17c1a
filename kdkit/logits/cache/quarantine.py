"""The folder `damaged` within a cache: what is whole but of no use as things are, and may be wanted back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kdkit.logits.cache.manifest import sealed_shards
from kdkit.system.files import disk_full

if TYPE_CHECKING:
    from pathlib import Path

ASIDE = "damaged"
_NUMBER = re.compile(r"shard-([0-9]+)")


def set_aside(folder: Path, file: str) -> None:
    """Move a file of a cache into its `damaged`, if it is there.

    Raises:
        KdkitError: The disk is full.
    """
    source, aside = folder / file, folder / ASIDE
    if not source.exists():
        return
    with disk_full(folder, 0):
        aside.mkdir(exist_ok=True)
    target, count = aside / file, 1
    while target.exists():  # of an earlier mishap
        target, count = aside / f"{source.stem}-{count}{source.suffix}", count + 1
    source.rename(target)


def shards_aside(folder: Path) -> list[Path]:
    """The shards of a cache that were set aside."""
    return sealed_shards(folder / ASIDE) if (folder / ASIDE).is_dir() else []


def next_number(folder: Path) -> int:
    """The first number after those of all shards: one that was set aside keeps its own, so that it can come back."""
    files = [*sealed_shards(folder), *shards_aside(folder)]
    return max((int(found[1]) + 1 for path in files if (found := _NUMBER.match(path.name))), default=0)


def how_to_bring_back(folder: Path, what: str) -> str:
    """What is said of a shard that is set aside: why, where it is, and how it comes back."""
    return (
        f"{what}; it is whole, and moved into {folder / ASIDE}: if you have that state file still, put it back into "
        f"{folder}, move what is in {ASIDE} there too, and run `kdkit cache repair {folder}`"
    )
