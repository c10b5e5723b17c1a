"""Repairs a cache: keeps every intact record, whatever else is damaged, and counts what was lost."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from kdkit.errors import DamagedData, MissingInput, UsageError
from kdkit.logits.cache.cleanup import discard_temporaries, remove, withdraw_manifest
from kdkit.logits.cache.format import Shard, read_shard, sealed_shards
from kdkit.logits.cache.inventory import Inventory
from kdkit.logits.cache.locking import locked
from kdkit.logits.cache.manifest import MANIFEST, Manifest, ShardEntry, describe_shard
from kdkit.logits.cache.mending.verify import NOT_WHOLE, Fault, repeats
from kdkit.logits.cache.payloads import check_records
from kdkit.logits.cache.quarantine import how_to_restore, next_number, quarantined_shards
from kdkit.logits.cache.shard_writer import copy_shard
from kdkit.system.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kdkit.logits.cache.identity import CacheIdentity
    from kdkit.system.progress import Progress

_MISPLACED = "it is not the file that the manifest describes"


@attrs.frozen(kw_only=True)
class Repaired:
    """The result of a repair.

    Attributes:
        folder: The cache.
        identity: What it belongs to.
        faults: What was wrong with it; none where nothing was.
        kept: How many whole records it holds.
        missing: How many records are lost.
        unknown: Shards of which it is not known how many records they held; these are lost beyond `missing`.
        finished: Whether the cache is whole now: it has a manifest, and all records that it ever promised.
    """

    folder: Path
    identity: CacheIdentity
    faults: tuple[Fault, ...]
    kept: int
    missing: int
    unknown: tuple[str, ...]
    finished: bool

    @property
    def lost(self) -> str:
        """The missing records in words: `3 records`; "" if none is, never of an unfinished cache."""
        records = f"{self.missing:,} record{'' if self.missing == 1 else 's'}" if self.missing else ""
        shards = f"the contents of {', '.join(self.unknown)}" if self.unknown else ""
        known = " and ".join(text for text in (records, shards) if text)
        return known or ("" if self.finished else "an unknown number of records")


@attrs.frozen(kw_only=True, eq=False)
class _Found:
    """A shard that can be read.

    Attributes:
        shard: Its index.
        good: Numbers of its records that are whole and stand in no shard before it.
        rewrite: Whether these have to go into a new file.
    """

    shard: Shard
    good: tuple[int, ...]
    rewrite: bool


@attrs.define(kw_only=True, eq=False)
class _Findings:
    """The result of reading the records of a cache.

    Attributes:
        identity: What the cache belongs to.
        found: The shards that hold something.
        kept: The keys of all whole records.
        faults: Everything that is wrong.
        lost: Files that cannot be used at all.
        stateless: Whole shards without their state.
    """

    identity: CacheIdentity
    found: list[_Found] = attrs.field(factory=list)
    kept: set[bytes] = attrs.field(factory=set)
    faults: list[Fault] = attrs.field(factory=list)
    lost: list[str] = attrs.field(factory=list)
    stateless: list[Shard] = attrs.field(factory=list)

    def give_up(self, file: str, what: str) -> None:
        """Nothing of that file can be kept."""
        self.lost.append(file)
        self.faults.append(Fault(file=file, record=None, what=what))

    def count(self, shard: Shard) -> int:
        """How many of a shard's records are kept, out of this shard or another that has them too."""
        return sum(key.tobytes() in self.kept for key in shard.keys_N16)


def repair(folder: Path, *, progress: Progress) -> Repaired:
    """Keep every intact record of a cache, delete damaged ones, and quarantine intact shards that lack their state.

    All of the cache is read. Good records of a shard with damaged ones are copied into a new shard. The manifest is
    written again if nothing that it promised is lost; else it is removed, and the cache is unfinished until a run
    captures what is missing. After a kill at any moment, call it again.

    Args:
        folder: A cache, finished or not.
        progress: Where progress is shown.

    Raises:
        MissingInput: There is no cache in the folder.
        DamagedData: Nothing of it can be saved.
        UsageError: Another process is writing it, or a newer kdkit wrote it.
        KdkitError: The disk is full; what was whole is kept.
    """
    if not folder.is_dir() or not (sealed_shards(folder) or quarantined_shards(folder) or (folder / MANIFEST).exists()):
        raise MissingInput(f"there is no logit cache in {folder}; give the folder of one (runs/cache/logits/DIGEST)")
    with locked(folder):
        discard_temporaries(folder)
        inventory = Inventory.take(folder)
        findings = _read_records(inventory, progress)
        missing, unknown = _count_missing(inventory, findings)
        whole = inventory.has_manifest and not missing and not unknown
        if findings.faults:
            _mend(inventory, findings, finished=whole)
    return Repaired(
        folder=folder,
        identity=findings.identity,
        faults=tuple(findings.faults),
        kept=len(findings.kept),
        missing=missing,
        unknown=unknown,
        finished=whole,
    )


def _read_records(inventory: Inventory, progress: Progress) -> _Findings:
    findings = _Findings(identity=_identity_of(inventory))
    if inventory.manifest_fault:
        findings.faults.append(Fault(file=MANIFEST, record=None, what="it has changed since it was written"))
    for file in inventory.missing:
        findings.give_up(file, "the file is missing")
    for file, what in inventory.damaged.items():
        findings.give_up(file, what)
    listed, misplaced = inventory.listed, inventory.misplaced
    as_written = {_nameless(entry) for entry in listed.values()}
    with progress.task("read", total=len(inventory.shards), unit="shards") as task:
        for file, shard in inventory.shards.items():
            if shard.identity != findings.identity:
                findings.give_up(file, f"it belongs to another cache, of {shard.identity.describe()}")
            elif file in inventory.stateless:
                findings.stateless.append(shard)
                what = how_to_restore(inventory.folder, inventory.stateless[file])
                findings.faults.append(Fault(file=file, record=None, what=what))
            else:
                if file in misplaced:
                    findings.faults.append(Fault(file=file, record=None, what=_MISPLACED))
                # One that only stands under another's name is as it was written.
                altered = file in listed and _nameless(describe_shard(shard)) not in as_written
                _add_shard(inventory.folder, shard, findings, altered=altered)
            task.advance()
    return findings


def _identity_of(inventory: Inventory) -> CacheIdentity:
    """The manifest's, else that of most shards."""
    if inventory.manifest is not None:
        return inventory.manifest.identity
    shards = list(inventory.shards.values()) or list(_read_quarantined(inventory.folder))
    counts = Counter(shard.identity.digest for shard in shards)
    if not counts:
        raise DamagedData(
            f"nothing in {inventory.folder} can be saved; delete it and run the recipe again, which captures from "
            "scratch"
        )
    most = counts.most_common(1)[0][0]
    return next(shard.identity for shard in shards if shard.identity.digest == most)


def _read_quarantined(folder: Path) -> Iterator[Shard]:
    for path in quarantined_shards(folder):
        with suppress(DamagedData, UsageError):
            yield read_shard(path)


def _add_shard(folder: Path, shard: Shard, findings: _Findings, *, altered: bool) -> None:
    good: list[int] = []
    for number, is_whole in enumerate(check_records(folder / shard.file, shard)):
        key = shard.keys_N16[number].tobytes()
        if is_whole and key not in findings.kept:
            findings.kept.add(key)
            good.append(number)
        else:
            what = repeats(key) if is_whole else NOT_WHOLE
            findings.faults.append(Fault(file=shard.file, record=number, what=what))
    rewrite = altered or len(good) < shard.records
    findings.found.append(_Found(shard=shard, good=tuple(good), rewrite=rewrite))


def _count_missing(inventory: Inventory, findings: _Findings) -> tuple[int, tuple[str, ...]]:
    """How many of the promised records are lost, and the shards of which that is not known."""
    if inventory.manifest is None:
        lost = sum(found.shard.records - findings.count(found.shard) for found in findings.found)
        return lost, (*findings.lost, *(shard.file for shard in findings.stateless))
    promised = {_nameless(entry) for entry in inventory.manifest.shards}
    as_written = {_nameless(describe_shard(found.shard)): found for found in findings.found}
    # A file with other bytes than were promised may still hold the records; another shard's copy holds none of them.
    altered = {found.shard.file: found for plain, found in as_written.items() if plain not in promised}
    missing = 0
    for entry in inventory.manifest.shards:
        found = as_written.get(_nameless(entry)) or altered.get(entry.file)
        missing += max(0, entry.records - findings.count(found.shard)) if found is not None else entry.records
    return missing, ()


def _mend(inventory: Inventory, findings: _Findings, *, finished: bool) -> None:
    """Bring the folder to hold what is good."""
    folder = inventory.folder
    rewritten = [found for found in findings.found if found.rewrite]
    if findings.stateless or rewritten or findings.lost or not finished:
        withdraw_manifest(inventory, findings.stateless)
    entries = [describe_shard(found.shard) for found in findings.found if not found.rewrite]
    following = next_number(folder)
    for found in rewritten:
        if found.good:
            entries.append(copy_shard(folder, found.shard, found.good, following))
            following += 1
        (folder / found.shard.file).unlink()
    remove(folder, findings.lost, stateless=findings.stateless, kept=entries)
    sync_folder(folder)
    if finished:
        Manifest(identity=findings.identity, shards=tuple(entries)).write(folder)


def _nameless(entry: ShardEntry) -> ShardEntry:
    return attrs.evolve(entry, file="")
