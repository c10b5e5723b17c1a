"""Fills a cache: records go into a growing file, which is sealed as a shard when it is large enough.

A sealed shard never changes. Whatever kills the process, the sealed shards are whole and the next writer continues
after them. A kill loses what was added since; it is captured again.
"""

from __future__ import annotations

import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

from kdkit.api.interfaces import Codec, EntriesCodec, FittedCodec, StateCodec
from kdkit.errors import KdkitError, Mismatch
from kdkit.logits.cache.cleanup import clean_up
from kdkit.logits.cache.identity import KEY_BYTES
from kdkit.logits.cache.locking import locked
from kdkit.logits.cache.manifest import Manifest, ShardEntry
from kdkit.logits.cache.shard_writer import GrowingShard
from kdkit.logits.cache.state import NO_STATE, read_state, write_state
from kdkit.system.files import disk_full, make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from kdkit.api.interfaces.codecs import AnyCodec, CodecState
    from kdkit.api.values import EntriesBlock, StateBlock, TeacherBlock
    from kdkit.logits.cache.identity import CacheIdentity

LARGEST_TOKENS = 2**31 - 1


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=3)


class CacheWriter:
    """Fills a cache folder, continuing after what was sealed there before.

    Use it as a context manager. A record is safe from a kill or a power cut once it is sealed: when `seal` or `finish`
    has returned, or the context was left, also by an error or Ctrl-C. Only `finish` declares the cache complete. Once
    the disk has failed, nothing more is taken: what was not sealed is lost, and a new writer continues after the rest.

    Attributes:
        folder: The cache.
        identity: What it belongs to.
        done_keys: Keys of all records that the cache holds, sealed or just added.
    """

    def __init__(
        self,
        folder: Path,
        identity: CacheIdentity,
        codec: AnyCodec | None,
        shard_bytes: int = 256 * 2**20,
        *,
        lock_seconds: float = 10.0,
        note: Callable[[str], None] = _warn,
    ) -> None:
        """Nothing is touched before the context is entered.

        Args:
            folder: The cache; made if it is not there.
            identity: What the cache belongs to.
            codec: What encodes blocks (`add_block`); None where only encoded records are added.
            shard_bytes: Payload size at which a shard is sealed.
            lock_seconds: How long to wait for another process that writes the same cache.
            note: Called with a sentence about waiting, and about shards that are removed; by default it warns.
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
        self._lock: ExitStack | None = None
        self._entries: list[ShardEntry] = []
        self._next = 0
        self._growing: GrowingShard | None = None
        # After a full disk, sealing on leaving would only fail again. After a failed sync it would succeed, and promise
        # bytes that the system has given up to write.
        self._failed = False

    def __enter__(self) -> Self:
        """Lock the folder, and clear it of everything that is not intact.

        Raises:
            Mismatch: The folder holds another identity's cache.
            UsageError: Another process is writing the cache, or a newer kdkit wrote it.
        """
        with disk_full(self.folder, 0):
            make_folder(self.folder)
        with ExitStack() as lock:
            lock.enter_context(locked(self.folder, seconds=self._lock_seconds, note=self._note))
            self._resume()
            self._lock = lock.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Seal what was added, and unlock."""
        assert self._lock is not None
        try:
            if self._growing is not None and self._growing.is_open and not self._failed:
                self.seal()
        finally:
            growing, self._growing = self._growing, None
            try:
                if growing is not None:
                    growing.discard()
            finally:
                self._lock.close()
                self._lock = None

    def add(self, key: bytes, payload: bytes, tokens: int) -> bool:
        """Add a record, unless the cache has its key already.

        This alone promises nothing: the record is safe once it is sealed, as it is here and now if it fills the shard.

        Args:
            key: Its 16-byte key (`record_key`).
            payload: Its encoded logits.
            tokens: How many target tokens they are for.

        Returns:
            Whether it was added.

        Raises:
            KdkitError: The disk is full, or fails.
        """
        assert self._lock is not None, "the writer has not been entered"
        assert len(key) == KEY_BYTES
        assert 0 <= tokens <= LARGEST_TOKENS
        if key in self.done_keys:
            return False
        with self._writing(len(payload)):
            if self._growing is None:
                self._growing = GrowingShard(self.folder, self._next, self.identity, self._state)
            self._growing.add(key, payload, tokens)
        self.done_keys.add(key)
        if self._growing.size >= self._shard_bytes:
            self.seal()
        return True

    @property
    def needs_state(self) -> bool:
        """Whether its codec has to learn a state first: the cache has none yet."""
        return self._coder is None

    @property
    def coder(self) -> Codec:
        """What encodes blocks, bound to its state."""
        assert self._coder is not None, "the codec has not learnt a state"
        return self._coder

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
        tokens, width = block.logits_TV.shape
        if width != self.identity.vocab_size:
            raise Mismatch(
                f"the logits of example {block.id!r} are {width} wide, but the cache {self.folder} is for a "
                f"vocabulary of {self.identity.vocab_size}; use a cache of its own for each teacher"
            )
        return key not in self.done_keys and self.add(key, self.coder.encode(block), tokens)

    def add_states(self, key: bytes, block: StateBlock) -> bool:
        """Encode a block of hidden states, and add it.

        Returns:
            Whether it was added.
        """
        assert isinstance(self._coder, StateCodec), "the codec takes logits only"
        return key not in self.done_keys and self.add(key, self._coder.encode_states(block), len(block.states_TD))

    def add_entries(self, key: bytes, block: EntriesBlock) -> bool:
        """Encode a block of some entries, and add it.

        Returns:
            Whether it was added.
        """
        assert isinstance(self._coder, EntriesCodec), "the codec takes whole rows only"
        return key not in self.done_keys and self.add(key, self._coder.encode_entries(block), len(block.ids_TK))

    def seal(self) -> None:
        """Make a shard of the records added since the last one; when this returns, they are safe.

        Raises:
            KdkitError: The disk is full, or fails; the shards sealed before are kept.
        """
        with self._writing(self._growing.size if self._growing is not None else 0):
            if self._growing is None:
                return
            entry = self._growing.seal()
        self._growing = None
        self._next += 1
        self._entries.append(entry)

    def finish(self) -> Manifest:
        """Seal, and write the manifest: the cache is complete, as far as its readers can tell."""
        self.seal()
        manifest = Manifest(identity=self.identity, shards=tuple(self._entries))
        manifest.write(self.folder)
        return manifest

    @contextmanager
    def _writing(self, needed: int) -> Iterator[None]:
        if self._failed:
            raise KdkitError(
                f"{self.folder} could not be written, so this run stops writing to it; check the disk and run "
                "again: sealed records are kept"
            )
        try:
            with disk_full(self._growing.file if self._growing is not None else self.folder, needed):
                yield
        except (KdkitError, OSError):
            self._failed = True
            raise

    def _resume(self) -> None:
        kept = clean_up(self.folder, self.identity, self._codec, note=self._note)
        self.done_keys |= kept.keys
        self._entries.extend(kept.entries)
        self._next = kept.next_number
        if self._entries and isinstance(self._codec, FittedCodec):
            self._state = self._entries[-1].state
            self._bind(read_state(self.folder, self._state))

    def _bind(self, state: CodecState) -> None:
        assert isinstance(self._codec, FittedCodec)
        self._coder = self._codec.bind(state)
