"""Filling a cache: records go into a growing file, which is sealed as a shard when it is large enough.

A sealed shard never changes. Whatever kills the process, the sealed shards are whole and the next writer goes on after
them.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Self

import filelock

from kdkit.cache.format import read_shard
from kdkit.cache.growing import GrowingShard
from kdkit.cache.identity import KEY_BYTES
from kdkit.cache.manifest import MANIFEST, Manifest, ShardEntry, describe_shard, read_manifest, sealed_shards
from kdkit.cache.state import NO_STATE, STATE_PATTERN, read_state, state_name, write_state
from kdkit.errors import DamagedData, KdkitError, Mismatch, MissingInput, UsageError
from kdkit.files import disk_full, sync_folder
from kdkit.interfaces import Codec, FittedCodec, StateCodec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from kdkit.cache.format import Shard
    from kdkit.cache.identity import CacheIdentity
    from kdkit.interfaces.codecs import AnyCodec, CodecState
    from kdkit.values import StateBlock, TeacherBlock

LOCK = ".lock"
LARGEST_TOKENS = 2**31 - 1
_PATIENCE = 2.0


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=3)


class CacheWriter:
    """Fills a cache folder, going on after what was sealed there before.

    Use it as a context manager. On leaving, also by an error or Ctrl-C, the records added so far are sealed; only
    `finish` declares the cache complete.

    Attributes:
        folder: The cache.
        identity: What it belongs to.
        done_keys: Keys of all records that the cache holds, sealed or just added.
    """

    def __init__(
        self,
        folder: Path,
        identity: CacheIdentity,
        codec: AnyCodec,
        shard_bytes: int = 256 * 2**20,
        *,
        lock_seconds: float = 10.0,
        note: Callable[[str], None] = _warn,
    ) -> None:
        """Nothing is touched before the context is entered.

        Args:
            folder: The cache; made if it is not there.
            identity: What the cache belongs to.
            codec: What encodes blocks (`add_block`).
            shard_bytes: Payload size at which a shard is sealed.
            lock_seconds: How long to wait for another process that writes the same cache.
            note: Told of waiting, and of damaged shards that are thrown away; by default a warning.
        """
        self.folder = folder
        self.identity = identity
        self.done_keys: set[bytes] = set()
        self._codec = codec
        self._coder = codec if isinstance(codec, Codec) else None
        self._state = NO_STATE
        self._shard_bytes = shard_bytes
        self._note = note
        self._lock_seconds = lock_seconds
        self._lock = filelock.FileLock(folder / LOCK)
        self._entries: list[ShardEntry] = []
        self._next = 0
        self._growing: GrowingShard | None = None
        # After a full disk, sealing on leaving would only fail again.
        self._failed = False
        self._state_faults: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Lock the folder and take stock of it.

        Raises:
            Mismatch: The folder holds another identity's cache.
            UsageError: Another process is writing the cache, or a newer kdkit wrote it.
        """
        with disk_full(self.folder, 0):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            self._take_stock()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Seal what was added, and unlock."""
        try:
            if self._growing is not None and self._growing.is_open and not self._failed:
                self.seal()
        finally:
            if self._growing is not None:
                self._growing.discard()
                self._growing = None
            self._lock.release()

    def add(self, key: bytes, payload: bytes, tokens: int) -> bool:
        """Add a record, unless the cache has its key already.

        Args:
            key: Its 16-byte key (`record_key`).
            payload: Its encoded logits.
            tokens: How many target tokens they are for.

        Returns:
            Whether it was added.

        Raises:
            KdkitError: The disk is full.
        """
        assert self._lock.is_locked, "the writer has not been entered"
        assert len(key) == KEY_BYTES
        assert 0 <= tokens <= LARGEST_TOKENS
        if key in self.done_keys:
            return False
        try:
            with disk_full(self.folder, len(payload)):
                if self._growing is None:
                    self._growing = GrowingShard(self.folder, self._next, self.identity, self._state)
                self._growing.add(key, payload, tokens)
        except KdkitError:
            self._failed = True
            raise
        self.done_keys.add(key)
        if self._growing.size >= self._shard_bytes:
            self.seal()
        return True

    @property
    def needs_state(self) -> bool:
        """Whether its codec has to learn a state first: the cache has none yet."""
        return self._coder is None

    @property
    def takes_states(self) -> bool:
        """Whether its codec encodes hidden states."""
        return isinstance(self._coder, StateCodec)

    def learn(self, state: CodecState) -> None:
        """Keep the state that the codec has learnt, and encode with it from now on.

        Raises:
            KdkitError: The disk is full.
        """
        assert self.needs_state
        self._state = write_state(self.folder, state)
        self._bind(state)

    def add_block(self, key: bytes, block: TeacherBlock) -> bool:
        """Encode a block of logits, and add it.

        Returns:
            Whether it was added.

        Raises:
            Mismatch: Its logits are not as wide as the cache's.
        """
        assert self._coder is not None, "the codec has learnt no state"
        tokens, width = block.logits_TV.shape
        if width != self.identity.vocab_size:
            raise Mismatch(
                f"the logits of example {block.id!r} are {width} wide, and the cache {self.folder} is for a vocabulary "
                f"of {self.identity.vocab_size}; give each teacher a cache of its own"
            )
        return key not in self.done_keys and self.add(key, self._coder.encode(block), tokens)

    def add_states(self, key: bytes, block: StateBlock) -> bool:
        """Encode a block of hidden states, and add it.

        Returns:
            Whether it was added.
        """
        assert isinstance(self._coder, StateCodec), "the codec takes logits only"
        return key not in self.done_keys and self.add(key, self._coder.encode_states(block), len(block.states_TD))

    def seal(self) -> None:
        """Make a shard of the records added since the last one.

        Raises:
            KdkitError: The disk is full; the shards sealed before are kept.
        """
        if self._growing is None:
            return
        try:
            with disk_full(self.folder, self._growing.size):
                entry = self._growing.seal()
        except KdkitError:
            self._failed = True
            raise
        self._growing = None
        self._next += 1
        self._entries.append(entry)

    def finish(self) -> Manifest:
        """Seal, and write the manifest: the cache is complete, as far as its readers can tell."""
        self.seal()
        manifest = Manifest(identity=self.identity, shards=tuple(self._entries))
        manifest.write(self.folder)
        return manifest

    def _take_lock(self) -> None:
        try:
            self._lock.acquire(timeout=min(_PATIENCE, self._lock_seconds))
        except filelock.Timeout:
            self._note(f"waiting up to {self._lock_seconds:g} s for another process that writes {self.folder}")
        else:
            return
        try:
            self._lock.acquire(timeout=max(0.0, self._lock_seconds - _PATIENCE))
        except filelock.Timeout as error:
            raise UsageError(
                f"another process is writing the logit cache {self.folder}; wait until it is done and run again"
            ) from error

    def _take_stock(self) -> None:
        """Learn what is sealed, and clear away what is not whole."""
        for leftover in self.folder.glob(".*.tmp"):
            leftover.unlink()
        listed = {entry.file: entry for entry in self._read_manifest()}
        files = sealed_shards(self.folder)
        shards = [self._read_sealed(path, listed.get(path.name)) for path in files]
        bad = {path.name: why for path, (_, why) in zip(files, shards, strict=True) if why}
        bad |= {file: "the file is missing" for file in listed if file not in {path.name for path in files}}
        if bad and (self.folder / MANIFEST).exists():
            # First the promise goes, then what it promised.
            (self.folder / MANIFEST).unlink()
            sync_folder(self.folder)
        for file, why in bad.items():
            self._note(f"{self.folder / file} is damaged ({why}); it is thrown away and its records are captured again")
            (self.folder / file).unlink(missing_ok=True)
        for shard, why in shards:
            if shard is not None and not why:
                self._entries.append(describe_shard(shard))
        if self._entries and isinstance(self._codec, FittedCodec):
            self._state = self._entries[-1].state
            self._bind(read_state(self.folder, self._state))
        for path in self.folder.glob(STATE_PATTERN):
            if path.name not in {state_name(entry.state) for entry in self._entries}:
                path.unlink()
        self._next = max((int(path.stem.removeprefix("shard-")) + 1 for path in files), default=0)

    def _read_manifest(self) -> tuple[ShardEntry, ...]:
        try:
            manifest = read_manifest(self.folder)
        except MissingInput:
            return ()
        except DamagedData as error:
            self._note(f"{error} (now done)")
            (self.folder / MANIFEST).unlink()
            return ()
        self._check_identity(manifest.identity)
        return manifest.shards

    def _read_sealed(self, path: Path, listed: ShardEntry | None) -> tuple[Shard | None, str]:
        """A sealed shard, and why it cannot be kept ("" if it can). Its keys are done."""
        try:
            shard = read_shard(path)
        except DamagedData as error:
            return None, str(error)
        except UsageError as error:
            raise UsageError(f"{path} cannot be read: {error}") from error
        self._check_identity(shard.identity)
        if listed is not None and describe_shard(shard) != listed:
            return None, "it is not the file that the manifest describes"
        if why := self._state_fault(shard.state):
            return None, why
        keys = [key.tobytes() for key in shard.keys_N16]
        if len(set(keys)) != len(keys) or not self.done_keys.isdisjoint(keys):
            return None, "it repeats records"
        self.done_keys.update(keys)
        return shard, ""

    def _bind(self, state: CodecState) -> None:
        assert isinstance(self._codec, FittedCodec)
        self._coder = self._codec.bind(state)

    def _state_fault(self, state: str) -> str:
        """Why records that were encoded with a state cannot be decoded; "" if they can."""
        if state not in self._state_faults:
            try:
                if state != NO_STATE:
                    read_state(self.folder, state)
                self._state_faults[state] = ""
            except DamagedData as error:
                self._state_faults[state] = f"it needs a state that is damaged: {error}"
        return self._state_faults[state]

    def _check_identity(self, found: CacheIdentity) -> None:
        if found != self.identity:
            raise Mismatch(
                f"{self.folder} holds the logits of {found.describe()}, and those of {self.identity.describe()} "
                "were to be written there; use another folder"
            )
