"""Lists a cache's folder: which shards are intact, which are not, and why. Nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.api.interfaces import FittedCodec
from kdkit.errors import DamagedData, Mismatch, MissingInput, UsageError
from kdkit.logits.cache.format import read_shard, sealed_shards
from kdkit.logits.cache.listed import read_listed
from kdkit.logits.cache.manifest import MANIFEST, describe_shard, read_manifest, shards_named_in
from kdkit.logits.cache.quarantine import QUARANTINE
from kdkit.logits.cache.state import NO_STATE, read_state

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdkit.api.interfaces.codecs import AnyCodec
    from kdkit.logits.cache.format import Shard
    from kdkit.logits.cache.identity import CacheIdentity
    from kdkit.logits.cache.manifest import Manifest, ShardEntry


@attrs.frozen(kw_only=True, eq=False)
class Inventory:
    """The contents of a cache's folder, as far as manifest, headers and indexes tell; no record is read.

    Attributes:
        folder: The cache.
        manifest: Its manifest; None where there is none, or only a damaged one.
        manifest_fault: What is wrong with the manifest; "" where nothing is, or where there is none.
        shards: Every shard whose index is whole, by its file, in the order of their numbers.
        damaged: The shards that cannot be read, by file, and why.
        missing: Shards that are not there although the manifest names them.
        stateless: Those of `shards` whose records cannot be decoded for want of their codec's state, and why.
    """

    folder: Path
    manifest: Manifest | None
    manifest_fault: str
    shards: Mapping[str, Shard]
    damaged: Mapping[str, str]
    missing: tuple[str, ...]
    stateless: Mapping[str, str]

    @classmethod
    def take(cls, folder: Path, identity: CacheIdentity | None = None, *, codec: AnyCodec | None = None) -> Inventory:
        """Look through a folder; the caller holds its lock.

        Args:
            folder: A folder that exists.
            identity: What it must belong to; None for whatever is there.
            codec: What the states are for, if they are to be checked with it.

        Raises:
            Mismatch: The manifest or a shard belongs to something else.
            UsageError: A newer kdkit wrote the manifest, or a shard that the manifest does not list.
        """
        manifest, fault = _read_manifest(folder)
        listed = {entry.file for entry in manifest.shards} if manifest is not None else set()
        # The names in a damaged one are useful too: they tell of a shard that is gone.
        named = shards_named_in(folder) if fault else listed
        if manifest is not None:
            _check_identity(folder, manifest.identity, identity)
        shards: dict[str, Shard] = {}
        damaged: dict[str, str] = {}
        for path in sealed_shards(folder):
            try:
                shard = read_listed(path) if path.name in listed else read_shard(path)
            except DamagedData as error:
                damaged[path.name] = str(error)
            except UsageError as error:
                raise UsageError(f"{path} cannot be read: {error}") from error
            else:
                _check_identity(folder, shard.identity, identity)
                shards[path.name] = shard
        faults = {state: _state_fault(folder, state, codec) for state in {shard.state for shard in shards.values()}}
        return cls(
            folder=folder,
            manifest=manifest,
            manifest_fault=fault,
            shards=shards,
            damaged=damaged,
            missing=tuple(sorted(named - shards.keys() - damaged.keys())),
            stateless={file: faults[shard.state] for file, shard in shards.items() if faults[shard.state]},
        )

    @property
    def has_manifest(self) -> bool:
        """Whether there is a manifest, whole or damaged: the cache was finished once."""
        return self.manifest is not None or bool(self.manifest_fault)

    @property
    def listed(self) -> dict[str, ShardEntry]:
        """What the manifest lists, by file."""
        return {entry.file: entry for entry in self.manifest.shards} if self.manifest is not None else {}

    @property
    def misplaced(self) -> set[str]:
        """The files of shards that can be read, and are not what the manifest lists under that name."""
        listed = self.listed
        entries = [describe_shard(shard) for shard in self.shards.values()]
        return {entry.file for entry in entries if listed.get(entry.file, entry) != entry}


def _read_manifest(folder: Path) -> tuple[Manifest | None, str]:
    try:
        return read_manifest(folder), ""
    except MissingInput:
        return None, ""
    except DamagedData as error:
        return None, str(error)


def _check_identity(folder: Path, found: CacheIdentity, identity: CacheIdentity | None) -> None:
    if identity is not None and found != identity:
        raise Mismatch(
            f"{folder} holds the logits of {found.describe()}, so those of {identity.describe()} cannot be "
            "written there; use another folder"
        )


def _state_fault(folder: Path, state: str, codec: AnyCodec | None) -> str:
    """Why records that were encoded with a state cannot be decoded; "" if they can."""
    if state == NO_STATE:
        return "it does not name a state, but its codec has one" if isinstance(codec, FittedCodec) else ""
    try:
        arrays = read_state(folder, state)
        if isinstance(codec, FittedCodec):
            codec.bind(arrays)
    except DamagedData as error:
        return f"it needs a state that is damaged: {error}"
    return ""


def caches_below(folder: Path) -> list[Path]:
    """The folders of all caches, finished or not, in a folder or anywhere below it.

    Raises:
        MissingInput: There is none.
    """
    holders = {path.parent for pattern in (MANIFEST, "shard-*.safetensors") for path in folder.rglob(pattern)}
    found = {place.parent if place.name == QUARANTINE and place != folder else place for place in holders}
    if not found:
        raise MissingInput(
            f"there is no logit cache in {folder} or below it; give the folder of one (runs/cache/logits/DIGEST), or "
            "one above it"
        )
    return sorted(found)
