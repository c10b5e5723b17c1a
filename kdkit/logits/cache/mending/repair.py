"""Mending a cache: every whole record is kept, whatever else is damaged; what was lost is counted, never hidden."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from kdkit.errors import DamagedData, MissingInput, UsageError
from kdkit.logits.cache.format import Shard, read_shard
from kdkit.logits.cache.locking import locked
from kdkit.logits.cache.manifest import (
    LARGEST_MANIFEST,
    MANIFEST,
    Manifest,
    ShardEntry,
    describe_shard,
    read_manifest,
    sealed_shards,
)
from kdkit.logits.cache.mending.verify import Fault
from kdkit.logits.cache.payloads import whole_payload
from kdkit.logits.cache.quarantine import how_to_bring_back, next_number, set_aside, shards_aside
from kdkit.logits.cache.shard_writer import GrowingShard
from kdkit.logits.cache.state import NO_STATE, STATE_PATTERN, read_state, state_name
from kdkit.system.files import disk_full, sync_folder

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence
    from pathlib import Path

    from kdkit.logits.cache.identity import CacheIdentity
    from kdkit.system.progress import Progress

_MISFIT = "it is not the file that the manifest describes"
_NAMED = re.compile(rb"shard-[0-9]{5,9}\.safetensors")


@attrs.frozen(kw_only=True)
class Repaired:
    """What a repair found and did.

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
        """What is missing, in words: `3 records`; "" where nothing is, so never of a cache that is not finished."""
        records = f"{self.missing:,} record{'' if self.missing == 1 else 's'}" if self.missing else ""
        shards = f"what was in {', '.join(self.unknown)}" if self.unknown else ""
        known = " and ".join(text for text in (records, shards) if text)
        return known or ("" if self.finished else "an unknown number of records")


@attrs.frozen(kw_only=True)
class _Promise:
    """What the manifest says, as far as it can be read."""

    manifest: Manifest | None
    named: frozenset[str]
    fault: str

    @property
    def was_finished(self) -> bool:
        """Whether there is a manifest, whole or damaged."""
        return self.manifest is not None or bool(self.fault)


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
class _Inventory:
    """All shards of a cache, and what is wrong with them.

    Attributes:
        identity: What the cache belongs to.
        found: The shards that hold something.
        kept: The keys of all whole records.
        faults: Everything that is wrong.
        lost: Files that cannot be used at all.
        stateless: Whole shards without their state, and these states.
    """

    identity: CacheIdentity
    found: list[_Found] = attrs.field(factory=list)
    kept: set[bytes] = attrs.field(factory=set)
    faults: list[Fault] = attrs.field(factory=list)
    lost: list[str] = attrs.field(factory=list)
    stateless: dict[str, str] = attrs.field(factory=dict)

    def give_up(self, file: str, what: str) -> None:
        """Nothing of that file can be kept."""
        self.lost.append(file)
        self.faults.append(Fault(file=file, record=None, what=what))

    def count(self, shard: Shard) -> int:
        """How many of a shard's records are kept, out of this shard or another that has them too."""
        return sum(key.tobytes() in self.kept for key in shard.keys_N16)


def repair(folder: Path, *, progress: Progress) -> Repaired:
    """Keep every whole record of a cache, and throw away what is damaged; whole shards without state are set aside.

    It reads all of the cache. Good records of a shard with damaged ones go into a new shard. The manifest is written
    anew where nothing that it promised is lost; else it goes, and the cache is an unfinished one until a run captures
    what is missing. Killed at any moment, it can be called again.

    Args:
        folder: A cache, finished or not.
        progress: Where progress is shown.

    Raises:
        MissingInput: There is no cache in the folder.
        DamagedData: Nothing of it can be saved.
        UsageError: Another process is writing it, or a newer kdkit wrote it.
        KdkitError: The disk is full; what was whole is kept.
    """
    if not folder.is_dir() or not (sealed_shards(folder) or shards_aside(folder) or (folder / MANIFEST).exists()):
        raise MissingInput(f"there is no logit cache in {folder}")
    with locked(folder):
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink()
        promise = _read_promise(folder)
        inventory = _take_inventory(folder, promise, progress)
        missing, unknown = _count_missing(inventory, promise)
        whole = promise.was_finished and not missing and not unknown
        if inventory.faults:
            _mend(folder, inventory, finished=whole, promised=promise.manifest is not None)
    return Repaired(
        folder=folder,
        identity=inventory.identity,
        faults=tuple(inventory.faults),
        kept=len(inventory.kept),
        missing=missing,
        unknown=unknown,
        finished=whole,
    )


def _read_promise(folder: Path) -> _Promise:
    try:
        manifest = read_manifest(folder)
    except MissingInput:
        return _Promise(manifest=None, named=frozenset(), fault="")
    except DamagedData:
        with (folder / MANIFEST).open("rb") as file:
            # The names in it are worth having: a shard that is gone is not found out otherwise.
            named = frozenset(name.decode("ascii") for name in _NAMED.findall(file.read(LARGEST_MANIFEST)))
        return _Promise(manifest=None, named=named, fault="it is not what was written")
    return _Promise(manifest=manifest, named=frozenset(entry.file for entry in manifest.shards), fault="")


def _read_shards(folder: Path, listed: Container[str]) -> dict[str, Shard | str]:
    """The index of every shard, or what is wrong with it, in the order of their numbers."""
    shards: dict[str, Shard | str] = {}
    for path in sorted(sealed_shards(folder), key=lambda path: _number(path.name)):
        try:
            shards[path.name] = read_shard(path)
        except DamagedData as error:
            shards[path.name] = str(error)
        except UsageError as error:
            if path.name not in listed:
                raise UsageError(f"{path} cannot be read: {error}") from error
            # A newer kdkit would have written a manifest of its version.
            shards[path.name] = "its format version is newer than that of the manifest"
    return shards


def _take_inventory(folder: Path, promise: _Promise, progress: Progress) -> _Inventory:
    listed = {entry.file: entry for entry in promise.manifest.shards} if promise.manifest is not None else {}
    shards = _read_shards(folder, listed)
    inventory = _Inventory(identity=_identity_of(folder, promise, [s for s in shards.values() if isinstance(s, Shard)]))
    if promise.fault:
        inventory.faults.append(Fault(file=MANIFEST, record=None, what=promise.fault))
    for file in sorted(promise.named - shards.keys()):
        inventory.give_up(file, "the file is missing")
    as_written = {_nameless(entry) for entry in listed.values()}
    bad_states: dict[str, str] = {}
    with progress.task("read", total=len(shards), unit="shards") as task:
        for file, shard in shards.items():
            if isinstance(shard, str):
                inventory.give_up(file, shard)
            elif shard.identity != inventory.identity:
                inventory.give_up(file, f"it belongs to another cache, of {shard.identity.describe()}")
            elif what := _state_fault(folder, shard.state, bad_states):
                inventory.stateless[file] = shard.state
                inventory.faults.append(Fault(file=file, record=None, what=how_to_bring_back(folder, what)))
            else:
                entry = describe_shard(shard)
                if listed.get(file, entry) != entry:
                    inventory.faults.append(Fault(file=file, record=None, what=_MISFIT))
                # One that only stands under another's name is as it was written.
                altered = file in listed and _nameless(entry) not in as_written
                _add_shard(folder, shard, inventory, altered=altered)
            task.advance()
    return inventory


def _identity_of(folder: Path, promise: _Promise, shards: Sequence[Shard]) -> CacheIdentity:
    """The manifest's, else that of most shards."""
    if promise.manifest is not None:
        return promise.manifest.identity
    aside = list(_read_aside(folder)) if not shards else []
    counts = Counter(shard.identity.digest for shard in (*shards, *aside))
    if not counts:
        raise DamagedData(f"nothing in {folder} can be saved; delete it and run the recipe again, which captures anew")
    most = counts.most_common(1)[0][0]
    return next(shard.identity for shard in (*shards, *aside) if shard.identity.digest == most)


def _read_aside(folder: Path) -> Iterator[Shard]:
    for path in shards_aside(folder):
        with suppress(DamagedData, UsageError):
            yield read_shard(path)


def _state_fault(folder: Path, state: str, known: dict[str, str]) -> str:
    if state not in known:
        known[state] = ""
        if state != NO_STATE:
            try:
                read_state(folder, state)
            except DamagedData as error:
                known[state] = f"it needs a state that is damaged: {error}"
    return known[state]


def _add_shard(folder: Path, shard: Shard, inventory: _Inventory, *, altered: bool) -> None:
    good: list[int] = []
    with (folder / shard.file).open("rb") as file:
        for number in range(shard.records):
            if whole_payload(file, shard, number) is None:
                what = "its bytes do not match its checksum"
            elif (key := shard.keys_N16[number].tobytes()) in inventory.kept:
                what = f"its key {key.hex()} stands twice in the cache"
            else:
                inventory.kept.add(key)
                good.append(number)
                continue
            inventory.faults.append(Fault(file=shard.file, record=number, what=what))
    rewrite = altered or len(good) < shard.records
    inventory.found.append(_Found(shard=shard, good=tuple(good), rewrite=rewrite))


def _count_missing(inventory: _Inventory, promise: _Promise) -> tuple[int, tuple[str, ...]]:
    """How many of the promised records are lost, and the shards of which that is not known."""
    if promise.manifest is None:
        lost = sum(found.shard.records - inventory.count(found.shard) for found in inventory.found)
        return lost, (*inventory.lost, *inventory.stateless)
    promised = {_nameless(entry) for entry in promise.manifest.shards}
    as_written = {_nameless(describe_shard(found.shard)): found for found in inventory.found}
    # A file with other bytes than were promised may still hold the records; another shard's copy holds none of them.
    altered = {found.shard.file: found for plain, found in as_written.items() if plain not in promised}
    missing = 0
    for entry in promise.manifest.shards:
        found = as_written.get(_nameless(entry)) or altered.get(entry.file)
        missing += max(0, entry.records - inventory.count(found.shard)) if found is not None else entry.records
    return missing, ()


def _mend(folder: Path, inventory: _Inventory, *, finished: bool, promised: bool) -> None:
    """Bring the folder to hold what is good. The promise goes before anything that it promised."""
    rewritten = [found for found in inventory.found if found.rewrite]
    if inventory.stateless and promised:
        set_aside(folder, MANIFEST)  # worth having if these shards come back
    elif rewritten or inventory.lost or not finished:
        (folder / MANIFEST).unlink(missing_ok=True)
    sync_folder(folder)
    entries = [describe_shard(found.shard) for found in inventory.found if not found.rewrite]
    following = next_number(folder)
    for file, state in inventory.stateless.items():
        set_aside(folder, file)
        set_aside(folder, state_name(state))
    for found in rewritten:
        if found.good:
            entries.append(_rewrite(folder, found, following, inventory.identity))
            following += 1
        (folder / found.shard.file).unlink()
    for file in inventory.lost:
        (folder / file).unlink(missing_ok=True)
    needed = {state_name(entry.state) for entry in entries}
    for path in folder.glob(STATE_PATTERN):
        if path.name not in needed:
            path.unlink()
    sync_folder(folder)
    if finished:
        Manifest(identity=inventory.identity, shards=tuple(entries)).write(folder)


def _rewrite(folder: Path, found: _Found, number: int, identity: CacheIdentity) -> ShardEntry:
    """A new shard of the good records of another."""
    growing = GrowingShard(folder, number, identity, found.shard.state)
    try:
        with disk_full(folder, found.shard.size), (folder / found.shard.file).open("rb") as file:
            for record in found.good:
                payload = whole_payload(file, found.shard, record)
                if payload is None:
                    raise DamagedData(f"{folder / found.shard.file} changed while it was repaired; repair it again")
                growing.add(found.shard.keys_N16[record].tobytes(), payload, int(found.shard.tokens_N[record]))
            return growing.seal()
    finally:
        growing.discard()


def _nameless(entry: ShardEntry) -> ShardEntry:
    return attrs.evolve(entry, file="")


def _number(file: str) -> int:
    return int(file.removeprefix("shard-").removesuffix(".safetensors"))
