"""Merging the parts of a capture, which other processes wrote beside a cache, into it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from kdkit.errors import DamagedData, Mismatch, UsageError
from kdkit.logits.cache.locking import locked
from kdkit.logits.cache.manifest import MANIFEST, read_manifest
from kdkit.logits.cache.mending.merge import Merged, merge
from kdkit.system.files import publish
from kdkit.system.folders import delete

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.logits.cache.identity import CacheIdentity
    from kdkit.system.progress import Progress

_TAKEN = ".taken"
# A merge reads all of its parts.
_WAIT = 3600.0


def take_parts(cache: Path, identity: CacheIdentity, progress: Progress) -> Merged | None:
    """Merge the finished parts that lie beside a cache into it, and delete them; None where there are none.

    A part that another process is writing stays until the next time.

    Raises:
        Mismatch: A part belongs to something else.
        DamagedData: A part is damaged; names file and record.
        KdkitError: The disk is full.
    """
    if not _finished_parts(cache):
        return None
    with locked(cache.parent, seconds=_WAIT):  # two runs that take the same parts would delete them under each other
        for left in cache.parent.glob(f".{cache.name}.part-*{_TAKEN}"):
            delete([left])
        with ExitStack() as held:
            # From before its manifest is read until it has gone: what is added between would go with it, unmerged.
            parts = [part for part in _finished_parts(cache) if _hold(part, held, progress)]
            if not parts:
                return None
            for part in parts:
                _check_identity(part, identity)
            merged = merge(cache, parts, progress=progress)
            gone = [part.with_name(f".{part.name}{_TAKEN}") for part in parts]
            for part, renamed in zip(parts, gone, strict=True):
                publish(part, renamed)  # first its name goes, so that nobody sees half of it
        for renamed in gone:
            delete([renamed])
    return merged


def _finished_parts(cache: Path) -> list[Path]:
    return [part for part in sorted(cache.parent.glob(f"{cache.name}.part-*-of-*")) if (part / MANIFEST).exists()]


def _check_identity(part: Path, identity: CacheIdentity) -> None:
    try:
        found = read_manifest(part).identity
    except DamagedData as error:
        raise DamagedData(f"{error}; or delete {part} to capture its records again") from error
    if found != identity:
        raise Mismatch(
            f"{part} holds the logits of {found.describe()}, but those of {identity.describe()} are needed; "
            "move that folder away"
        )


def _hold(part: Path, held: ExitStack, progress: Progress) -> bool:
    """Keep writers out of a part until `held` ends; tell whether it exists, is finished, and has no writer."""
    try:
        held.enter_context(locked(part, seconds=0))
    except UsageError:
        progress.note(f"{part} is being written by another process, so it is left alone")
        return False
    return (part / MANIFEST).exists()
