"""Joining caches of one identity: whole shards by a link where they fit, else record by record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import attrs
import numpy as np

from kdkit.errors import DamagedData, Mismatch, UsageError
from kdkit.logits.cache.format import shard_name
from kdkit.logits.cache.listed import load_listed
from kdkit.logits.cache.manifest import MANIFEST, Manifest, describe_shard, read_manifest
from kdkit.logits.cache.mending.verify import verify
from kdkit.logits.cache.payloads import read_records
from kdkit.logits.cache.reader import LogitCache
from kdkit.logits.cache.state import copy_state
from kdkit.logits.cache.writer import CacheWriter
from kdkit.system.files import link_or_copy
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kdkit.logits.cache.format import Shard
    from kdkit.logits.cache.identity import CacheIdentity
    from kdkit.system.progress import Progress

SHARD_BYTES = 256 * 2**20


@attrs.frozen(kw_only=True)
class Merged:
    """The result of a merge.

    Attributes:
        manifest: What the joined cache holds now.
        shards: How many shards were taken whole.
        records: How many records were copied one by one, because others of their shard were there already.
        repeated: How many records were there already.
        different: How many of these had other bytes, or need another state of the codec; the first are kept.
    """

    manifest: Manifest
    shards: int
    records: int
    repeated: int
    different: int

    def describe(self) -> str:
        """One phrase for people."""
        return f"{plural(self.shards, 'whole shard')} and {plural(self.records, 'single record')} are new{self._there}"

    @property
    def _there(self) -> str:
        if not self.repeated:
            return ""
        there = f", {plural(self.repeated, 'record')} {'was' if self.repeated == 1 else 'were'} there already"
        if not self.different:
            return there
        of_them = "" if self.different == self.repeated else f"{self.different:,} of them "
        return f"{there}, {of_them}with other bytes: the first {'is' if self.different == 1 else 'are'} kept"


def merge(out: Path, parts: Sequence[Path], *, progress: Progress) -> Merged:
    """Join finished caches of one identity.

    The parts are read to the last byte before anything is written, and stay as they are. After a kill at any moment,
    the same call resumes; readers see what `out` was before until it is done.

    Args:
        out: The joined cache: a new folder, or a cache that is to hold what the parts hold as well.
        parts: Finished caches.
        progress: Where progress is shown.

    Raises:
        UsageError: A part is the joined cache itself, or another process is writing that.
        MissingInput: A part is not a finished cache.
        Mismatch: Two of the caches belong to different things, or have one record for different numbers of tokens.
        DamagedData: A part or the joined cache is damaged; names file and record.
        KdkitError: The disk is full.
    """
    if any(part.resolve() == out.resolve() for part in parts):
        raise UsageError(f"{out} is given both as the merged cache and as a part of it; give it once")
    manifests = [read_manifest(part) for part in parts]
    _check_same(out, parts, manifests)
    if (out / MANIFEST).exists():
        LogitCache.open(out)  # the writer would throw away what is damaged, to have it captured again
    with progress.task("verify", total=len(parts), unit="caches") as task:
        for part in parts:
            _check_whole(part)
            task.advance()
    with _Joining(out, manifests[0].identity, progress) as joining:
        listed = [
            (part, [load_listed(part, entry, manifest.identity) for entry in manifest.shards])
            for part, manifest in zip(parts, manifests, strict=True)
        ]
        joining.compare(listed)
        for part, shards in listed:
            joining.take(part, shards)
        joining.copy_rest()
        return Merged(
            manifest=joining.finish(),
            shards=joining.linked,
            records=joining.copied,
            repeated=joining.repeated,
            different=joining.different,
        )


def _check_same(out: Path, parts: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    named = list(zip(parts, (manifest.identity for manifest in manifests), strict=True))
    if (out / MANIFEST).exists():
        named.insert(0, (out, read_manifest(out).identity))
    first, identity = named[0]
    for other, found in named[1:]:
        if found != identity:
            raise Mismatch(
                f"{first} holds the logits of {identity.describe()}, and {other} those of {found.describe()}; "
                "only caches of one teacher, tokenizer and codec can be merged"
            )


def _check_whole(part: Path) -> None:
    faults = verify(part)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise DamagedData(
            f"{part}: {faults[0]}{more}; nothing of it was merged; run `kdkit cache repair {part}`, which "
            "keeps every intact record"
        )


@attrs.frozen(kw_only=True, eq=False)
class _Rest:
    """A shard of which only some records are new."""

    part: Path
    shard: Shard


class _Joining(CacheWriter):
    """A cache that takes what others hold. It encodes nothing, so it needs no codec."""

    def __init__(self, folder: Path, identity: CacheIdentity, progress: Progress) -> None:
        super().__init__(folder, identity, None, SHARD_BYTES, note=progress.note)
        self._progress = progress
        self._rest: list[_Rest] = []
        self._put_off: set[bytes] = set()
        self.linked = self.copied = self.repeated = self.different = 0

    def __enter__(self) -> Self:
        """See `CacheWriter`."""
        super().__enter__()
        return self

    def compare(self, listed: Sequence[tuple[Path, Sequence[Shard]]]) -> None:
        """Count the records that the parts hold with other bytes; refuse those that cannot be of one row.

        Args:
            listed: Each part, and its shards.

        Raises:
            Mismatch: A key has one number of tokens here and another there.
        """
        known: dict[bytes, tuple[Path, int, tuple[str, int, int]]] = {}
        own = [load_listed(self.folder, entry, self.identity) for entry in self._entries]
        for folder, shards in ((self.folder, own), *listed):
            for shard in shards:
                numbers = zip(
                    shard.keys_N16,
                    shard.tokens_N.tolist(),
                    np.diff(shard.offsets_M).tolist(),
                    shard.crc32_N.tolist(),
                    strict=True,
                )
                for key_16, tokens, size, crc32 in numbers:
                    key, found = key_16.tobytes(), (shard.state, size, crc32)
                    first, first_tokens, first_found = known.setdefault(key, (folder, tokens, found))
                    if tokens != first_tokens:
                        raise Mismatch(
                            f"the record {key.hex()} has {plural(first_tokens, 'token')} in {first} and "
                            f"{tokens:,} in {folder}, so one of them does not match its key; merge without "
                            "that cache"
                        )
                    self.different += found != first_found

    def take(self, part: Path, shards: Sequence[Shard]) -> None:
        """Take every shard whose keys are all new; leave the others to `copy_rest`."""
        with self._progress.task("merge", total=len(shards), unit="shards") as task:
            for shard in shards:
                keys = {key.tobytes() for key in shard.keys_N16}
                if self.done_keys.isdisjoint(keys) and self._put_off.isdisjoint(keys):
                    self._link(part, shard)
                else:
                    self._put_off |= keys
                    self._rest.append(_Rest(part=part, shard=shard))
                task.advance()

    def copy_rest(self) -> None:
        """Copy the new records of the shards that could not be taken whole, in their order: the first are kept."""
        for rest in self._rest:
            self._use_state(rest.part, rest.shard.state)
            self._copy(rest.part / rest.shard.file, rest.shard)

    def _link(self, part: Path, shard: Shard) -> None:
        name = shard_name(self._next)
        with self._writing(shard.size):
            copy_state(part, self.folder, shard.state)
            link_or_copy(part / shard.file, self.folder / name)
        self._next += 1
        self._entries.append(attrs.evolve(describe_shard(shard), file=name))
        self.done_keys.update(key.tobytes() for key in shard.keys_N16)
        self.linked += 1

    def _use_state(self, part: Path, state: str) -> None:
        """Records from now on need this state of a part."""
        if state != self._state:
            self.seal()
            copy_state(part, self.folder, state)
            self._state = state

    def _copy(self, path: Path, shard: Shard) -> None:
        new = [number for number, key in enumerate(shard.keys_N16) if key.tobytes() not in self.done_keys]
        for record in read_records(path, shard, new):
            self.add(*record)
        self.repeated += shard.records - len(new)
        self.copied += len(new)
