"""What a writer finds in a cache's folder: it keeps whatever is whole, and clears away the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.api.interfaces import FittedCodec
from kdkit.errors import DamagedData, Mismatch, MissingInput, UsageError
from kdkit.logits.cache.format import read_shard
from kdkit.logits.cache.manifest import MANIFEST, ShardEntry, describe_shard, read_manifest, sealed_shards
from kdkit.logits.cache.quarantine import how_to_bring_back, next_number, set_aside
from kdkit.logits.cache.state import NO_STATE, STATE_FILE, read_state, state_name
from kdkit.system.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kdkit.api.interfaces.codecs import AnyCodec
    from kdkit.logits.cache.format import Shard
    from kdkit.logits.cache.identity import CacheIdentity


@attrs.define(kw_only=True, eq=False)
class Stock:
    """The sealed shards of a cache, once `take` has looked at them all; the caller holds the cache's lock.

    Attributes:
        folder: The cache.
        identity: What it must belong to.
        codec: What its records were encoded with; None where nobody will decode them.
        note: Told of what is thrown away.
        entries: The shards that were kept.
        done_keys: Keys of their records.
        following: Number of the first shard that may be written.
    """

    folder: Path
    identity: CacheIdentity
    codec: AnyCodec | None
    note: Callable[[str], None]
    entries: list[ShardEntry] = attrs.field(factory=list, init=False)
    done_keys: set[bytes] = attrs.field(factory=set, init=False)
    following: int = attrs.field(default=0, init=False)
    _state_faults: dict[str, str] = attrs.field(factory=dict, init=False)
    # Whole shards that only lack their state, and these states.
    _stateless: dict[str, str] = attrs.field(factory=dict, init=False)

    def take(self) -> None:
        """Learn what is sealed, and clear away what is not whole; whole shards without their state are set aside.

        Raises:
            Mismatch: The folder holds another identity's cache; nothing but temporary files was touched.
            UsageError: A newer kdkit wrote it.
        """
        for leftover in self.folder.glob(".*.tmp"):
            leftover.unlink()
        listed, is_damaged = self._read_manifest()
        files = sealed_shards(self.folder)
        shards = [self._read_sealed(path, is_listed=path.name in listed) for path in files]
        bad = {path.name: why for path, (_, why) in zip(files, shards, strict=True) if why}
        names = {path.name for path in files}
        bad |= dict.fromkeys((file for file in listed if file not in names), "the file is missing")
        self.entries = [describe_shard(shard) for shard, why in shards if shard is not None and not why]
        moved = [entry.file for entry in self.entries if listed.get(entry.file, entry) != entry]
        if is_damaged or moved or (bad and (self.folder / MANIFEST).exists()):
            # First the promise goes, then what it promised. With what is set aside it is worth having.
            if self._stateless and not is_damaged:
                set_aside(self.folder, MANIFEST)
            else:
                (self.folder / MANIFEST).unlink()
            sync_folder(self.folder)
        for file in moved:
            self.note(
                f"{self.folder / file} is not the file that {MANIFEST} describes, but whole and of the same teacher; "
                "its records are kept"
            )
        self.following = next_number(self.folder)
        for file, state in self._stateless.items():
            why = how_to_bring_back(self.folder, bad.pop(file))
            self.note(f"{self.folder / file}: {why}. Its records are captured again")
            set_aside(self.folder, file)
            if state != NO_STATE:
                set_aside(self.folder, state_name(state))
        for file, why in bad.items():
            self.note(f"{self.folder / file} is damaged ({why}); it is thrown away and its records are captured again")
            (self.folder / file).unlink(missing_ok=True)
        self._clear_states()

    def _clear_states(self) -> None:
        needed = {state_name(entry.state) for entry in self.entries}
        for path in self.folder.iterdir():
            if STATE_FILE.fullmatch(path.name) and path.name not in needed:
                path.unlink()

    def _read_manifest(self) -> tuple[dict[str, ShardEntry], bool]:
        """The shards that the manifest lists, by name, and whether it is damaged."""
        try:
            manifest = read_manifest(self.folder)
        except MissingInput:
            return {}, False
        except DamagedData as error:
            self.note(f"{error} (now done)")
            return {}, True
        self._check_identity(manifest.identity)
        return {entry.file: entry for entry in manifest.shards}, False

    def _read_sealed(self, path: Path, *, is_listed: bool) -> tuple[Shard | None, str]:
        """A sealed shard, and why it cannot be kept ("" if it can). Its keys are done."""
        try:
            shard = read_shard(path)
        except DamagedData as error:
            return None, str(error)
        except UsageError as error:
            if is_listed:  # a newer kdkit would have written a manifest of its version
                return None, "its format version is newer than that of the manifest"
            raise UsageError(f"{path} cannot be read: {error}") from error
        self._check_identity(shard.identity)
        if why := self._state_fault(shard.state):
            self._stateless[path.name] = shard.state
            return None, why
        keys = [key.tobytes() for key in shard.keys_N16]
        if len(set(keys)) != len(keys) or not self.done_keys.isdisjoint(keys):
            return None, "it repeats records"
        self.done_keys.update(keys)
        return shard, ""

    def _state_fault(self, state: str) -> str:
        """Why records that were encoded with a state cannot be decoded; "" if they can."""
        if state not in self._state_faults:
            self._state_faults[state] = self._find_state_fault(state)
        return self._state_faults[state]

    def _find_state_fault(self, state: str) -> str:
        if state == NO_STATE:
            return "it names no state, and its codec has one" if isinstance(self.codec, FittedCodec) else ""
        try:
            arrays = read_state(self.folder, state)
            if isinstance(self.codec, FittedCodec):
                self.codec.bind(arrays)
        except DamagedData as error:
            return f"it needs a state that is damaged: {error}"
        return ""

    def _check_identity(self, found: CacheIdentity) -> None:
        if found != self.identity:
            raise Mismatch(
                f"{self.folder} holds the logits of {found.describe()}, and those of {self.identity.describe()} "
                "were to be written there; use another folder"
            )
