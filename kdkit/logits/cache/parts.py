"""Parts of a cache: what one of several processes captures, in a folder of its own beside the cache."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING

import attrs

from kdkit.errors import DamagedData, Mismatch, UsageError
from kdkit.logits.cache.locking import locked
from kdkit.logits.cache.manifest import MANIFEST, read_manifest
from kdkit.logits.cache.mending.merge import Merged, merge
from kdkit.system.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kdkit.api.values import EncodedExample
    from kdkit.logits.cache.identity import CacheIdentity
    from kdkit.system.progress import Progress

_SPELT = re.compile(r"(0|[1-9][0-9]{0,5})/([1-9][0-9]{0,5})", re.ASCII)
_TAKEN = ".taken"
# A merge reads all of its parts.
_WAIT = 3600.0


@attrs.frozen(kw_only=True)
class Part:
    """One of several parts of a capture.

    Attributes:
        index: Which, from 0.
        count: Of how many.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str, *, of: str = "a capture") -> Part:
        """The part that a text such as `0/3` names.

        Args:
            text: The text.
            of: What it is a part of, for messages.

        Raises:
            UsageError: It names none.
        """
        spelt = _SPELT.fullmatch(text)
        if spelt is None:
            raise UsageError(f'"{text}" is no part of {of}; write i/n, the first of three being 0/3')
        part = cls(index=int(spelt[1]), count=int(spelt[2]))
        if part.index >= part.count:
            raise UsageError(f'"{text}" is no part of {of}: of {part.count} the last is {part.count - 1}/{part.count}')
        return part

    @property
    def suffix(self) -> str:
        """What tells its folders from others': `0-of-3`."""
        return f"{self.index}-of-{self.count}"

    def folder(self, cache: Path) -> Path:
        """Its folder beside the cache that it is a part of."""
        return cache.with_name(f"{cache.name}.part-{self.suffix}")

    def owned(self, groups: Sequence[Sequence[EncodedExample]], keys: Mapping[str, bytes]) -> set[bytes]:
        """The keys that are its own: those of every `count`th group, from its index on.

        A key that several rows share is its first row's, as in a capture that one process makes: all parts together
        hold what that holds, each record once.

        Args:
            groups: All rows, in the groups that the teacher computes together.
            keys: Each row's id to its key in the cache.
        """
        first = first_rows(groups, keys)
        own = (row.id for group in groups[self.index :: self.count] for row in group)
        return {keys[row_id] for row_id in own if row_id in first}


def first_rows(groups: Sequence[Sequence[EncodedExample]], keys: Mapping[str, bytes]) -> set[str]:
    """Ids of the rows whose key no row before them has."""
    first: dict[bytes, str] = {}
    for group in groups:
        for row in group:
            first.setdefault(keys[row.id], row.id)
    return set(first.values())


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
            shutil.rmtree(left)
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
                part.rename(renamed)  # first its name goes, so that nobody sees half of it
            sync_folder(cache.parent)
        for renamed in gone:
            shutil.rmtree(renamed)
    return merged


def _finished_parts(cache: Path) -> list[Path]:
    return [part for part in sorted(cache.parent.glob(f"{cache.name}.part-*-of-*")) if (part / MANIFEST).exists()]


def _check_identity(part: Path, identity: CacheIdentity) -> None:
    try:
        found = read_manifest(part).identity
    except DamagedData as error:
        raise DamagedData(f"{error}; or delete {part}, whose records are then captured again") from error
    if found != identity:
        raise Mismatch(
            f"{part} holds the logits of {found.describe()}, and those of {identity.describe()} are needed; "
            "move it away"
        )


def _hold(part: Path, held: ExitStack, progress: Progress) -> bool:
    """Keep writers out of a part until `held` ends; whether it is there, finished, and no writer has it."""
    try:
        held.enter_context(locked(part, seconds=0))
    except UsageError:
        progress.note(f"{part} is being written by another process; it stays")
        return False
    return (part / MANIFEST).exists()
