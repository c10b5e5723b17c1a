"""Reads a cache: open it once, then get records by key, from any thread.

Nothing but the index stays in memory (about 70 bytes a record). How records are
read from their files, see `kdkit.logits.cache.payloads`.
"""

from __future__ import annotations

import zlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.interfaces import FittedCodec
from kdkit.errors import DamagedData, Mismatch, MissingInput
from kdkit.logits.cache.identity import KEY_BYTES
from kdkit.logits.cache.index import Index
from kdkit.logits.cache.listed import damaged_shard, load_listed
from kdkit.logits.cache.manifest import read_manifest
from kdkit.logits.cache.payloads import files_of
from kdkit.logits.cache.state import read_state
from kdkit.system.digests import digest_of_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from kdkit.api.interfaces import Codec
    from kdkit.api.interfaces.codecs import AnyCodec
    from kdkit.api.values import FloatArray
    from kdkit.logits.cache.identity import CacheIdentity
    from kdkit.logits.cache.manifest import Manifest, ShardEntry
    from kdkit.logits.cache.payloads import MappedFiles, SoughtFiles


@attrs.frozen(kw_only=True, eq=False)
class LogitCache:
    """A finished cache, open for reading; reading changes nothing in it, so threads and processes share it freely.

    Attributes:
        folder: Where it lies.
        manifest: What it holds.
    """

    folder: Path
    manifest: Manifest
    _codec: AnyCodec | None
    _index: Index
    _files: SoughtFiles | MappedFiles
    _coders: dict[str, Codec] = attrs.field(factory=dict, init=False)

    @classmethod
    def open(cls, folder: Path, identity: CacheIdentity | None = None, *, codec: AnyCodec | None = None) -> LogitCache:
        """Open a cache, checking everything but the payloads; `kdkit.logits.cache.open_cache` also opens one at a URL.

        Args:
            folder: Where it lies.
            identity: What it must belong to; None for whatever is there.
            codec: What decodes it; by default the codec that the manifest names.

        Raises:
            MissingInput: There is no finished cache.
            Mismatch: It belongs to something else.
            DamagedData: Manifest or shards are not what was written.
        """
        manifest = read_manifest(folder)
        if identity is not None and manifest.identity != identity:
            raise Mismatch(
                f"{folder} holds the logits of {manifest.identity.describe()}, but those of "
                f"{identity.describe()} are needed; use another cache folder"
            )
        shards = [load_listed(folder, entry, manifest.identity) for entry in manifest.shards]
        index = Index.of(shards)
        if index.repeated():
            raise DamagedData(f"{folder} holds a record twice; run `kdkit cache repair {folder}` to repair it")
        return cls(folder=folder, manifest=manifest, codec=codec, index=index, files=files_of(folder))

    @property
    def identity(self) -> CacheIdentity:
        """The identity of the cache."""
        return self.manifest.identity

    @property
    def vocab_size(self) -> int:
        """Width of its logits."""
        return self.manifest.identity.vocab_size

    @property
    def keys(self) -> npt.NDArray[np.uint8]:
        """All keys, uint8 `[records, 16]`, in the order in which they were written."""
        return self._index.keys_N16

    def __len__(self) -> int:
        return self.manifest.records

    def __iter__(self) -> Iterator[bytes]:
        return (key.tobytes() for key in self._index.keys_N16)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and len(key) == KEY_BYTES and self._index.find(key) is not None

    def holds(self, keys_RK: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Which of many keys have a record here."""
        return self._index.find_all(keys_RK) >= 0

    def sizes(self, keys_RK: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Tokens and bytes of the records with these keys, which are all here."""
        numbers_R = self._index.find_all(keys_RK)
        return self._index.tokens_N[numbers_R], self._index.length_N[numbers_R]

    def tokens(self, key: bytes) -> int:
        """For how many target tokens a record has logits.

        Raises:
            MissingInput: There is no such record.
        """
        return int(self._index.tokens_N[self._number(key)])

    def size(self, key: bytes) -> int:
        """How many bytes a record's encoded logits take.

        Raises:
            MissingInput: There is no such record.
        """
        return int(self._index.length_N[self._number(key)])

    def get(self, key: bytes) -> tuple[bytes, int]:
        """A record's encoded logits, and for how many target tokens they are.

        Raises:
            MissingInput: There is no such record.
            DamagedData: It is not what was written.
        """
        number = self._number(key)
        return self._payload(number), int(self._index.tokens_N[number])

    def digest_of_records(self, keys: Iterable[bytes]) -> str:
        """Digest of what decodes to the logits of some records, in that order: by checksums, so that none is read.

        Raises:
            MissingInput: There is no such record.
        """
        index, numbers = self._index, [self._number(key) for key in keys]
        records = (
            [int(index.tokens_N[each]), int(index.length_N[each]), int(index.crc32_N[each]), self._entry(each).state]
            for each in numbers
        )
        return digest_of_list([self.identity.digest, *records])

    def decode(self, key: bytes) -> FloatArray:
        """A record's logits, float32 `[T, V]`.

        Raises:
            MissingInput: There is no such record.
            DamagedData: It is not what was written.
        """
        number = self._number(key)
        coder, payload = self._coder(number), self._payload(number)
        try:
            return coder.decode(payload, tokens=int(self._index.tokens_N[number]), vocab_size=self.vocab_size)
        except DamagedData as error:
            raise self._damaged(number, str(error)) from error

    @cached_property
    def codec(self) -> AnyCodec:
        """The codec that wrote it."""
        return self._codec if self._codec is not None else _build_codec(self.identity)

    def coders(self, keys: Sequence[bytes]) -> list[Codec]:
        """The decoder of each of these records: the same object for all records with the same state.

        Raises:
            MissingInput: There is no such record.
            DamagedData: The state is not what was written.
        """
        return [self._coder(self._number(key)) for key in keys]

    def info(self) -> dict[str, Any]:
        """The facts of the cache as a JSON table."""
        return {"folder": str(self.folder), **self.manifest.summary()}

    def _number(self, key: bytes) -> int:
        number = self._index.find(key) if len(key) == KEY_BYTES else None
        if number is None:
            raise MissingInput(
                f"{self.folder} has no record {key.hex()}; run the recipe again to capture it or, if the run "
                f"is finished, `kdkit cache repair {self.folder} --run RUN_DIR`"
            )
        return number

    def _payload(self, number: int) -> bytes:
        index = self._index
        length = int(index.length_N[number])
        try:
            payload = self._files.read(self.folder / self._entry(number).file, int(index.start_N[number]), length)
        except FileNotFoundError as error:
            raise self._damaged(number, "the file was deleted") from error
        if len(payload) != length:
            raise self._damaged(number, f"only {len(payload)} of its {length} bytes are left")
        if zlib.crc32(payload) != index.crc32_N[number]:
            raise self._damaged(number, "its bytes do not match its checksum")
        return payload

    def _coder(self, number: int) -> Codec:
        """The decoder of a record."""
        state = self._entry(number).state
        if state not in self._coders:
            self._coders[state] = self._bound(state)
        return self._coders[state]

    def _bound(self, state: str) -> Codec:
        codec: AnyCodec = self.codec
        if not isinstance(codec, FittedCodec):
            return codec
        try:
            return codec.bind(read_state(self.folder, state))
        except DamagedData as error:
            raise DamagedData(
                f"{error}; run `kdkit cache repair {self.folder}`, which quarantines the shards that need it"
            ) from error

    def _entry(self, number: int) -> ShardEntry:
        return self.manifest.shards[int(self._index.shard_N[number])]

    def _damaged(self, number: int, what: str) -> DamagedData:
        record = number - int(self._index.first_N[number])
        return damaged_shard(self.folder, self._entry(number).file, f"record {record} is damaged: {what}")


def _build_codec(identity: CacheIdentity) -> AnyCodec:
    """The codec that a manifest names, from the plugins that are installed."""
    from kdkit import plugins
    from kdkit.plugins.structure import Structurer

    structurer = Structurer(plugins.load(), is_stored=True)
    options = {key: value for key, value in identity.codec_options.items() if value is not None}
    codec: AnyCodec
    _, codec = structurer.component("codecs", {"name": identity.codec, **options}, ("codec",))
    if structurer.problems:
        raise Mismatch(
            f'the installed codec "{identity.codec}" does not have the options {identity.codec_options} of '
            f"the cache ({structurer.problems[0][1]}): install the version of its plugin that wrote it"
        )
    return codec
