"""`manifest.json`: what a finished cache holds, written last, with a checksum of its own."""

from __future__ import annotations

import json
import re
import zlib
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import DamagedData, MissingInput, UsageError
from kdkit.logits.cache.format import SHARD_FILE, sealed_shards
from kdkit.logits.cache.header import FORMAT, READ_VERSIONS, SHA256, VERSION, version_error
from kdkit.logits.cache.identity import CacheIdentity
from kdkit.logits.cache.state import NO_STATE
from kdkit.system.digests import parse_strictly
from kdkit.system.files import naming, write_atomically
from kdkit.system.reading import open_regular

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.logits.cache.format import Shard

MANIFEST = "manifest.json"
# What a larger file holds beyond this is not read, so that its checksum fails.
LARGEST_MANIFEST = 64 * 2**20
# The last lines of the file, whatever its version: what comes before them is what the CRC is of.
_TAIL = b'  "crc32": "%08x"\n}\n'
_TAIL_BYTES = len(_TAIL % 0)
_NAMED = re.compile(SHARD_FILE.pattern.replace("(", "(?:").encode())
_FIELDS = {"format", "version", "identity", "identity_sha256", "records", "tokens", "size", "shards", "crc32"}


@attrs.frozen(kw_only=True)
class ShardEntry:
    """What the manifest says of one shard.

    Attributes:
        file: Its name.
        size: Bytes of the file.
        records: How many records it holds.
        tokens: How many target tokens they have.
        sha256: Of everything in it but the payload.
        state: SHA-256 of the codec's state that it needs; "" where the codec has none.
    """

    file: str
    size: int
    records: int
    tokens: int
    sha256: str
    state: str = NO_STATE


@attrs.frozen(kw_only=True)
class Manifest:
    """What a finished cache holds."""

    identity: CacheIdentity
    shards: tuple[ShardEntry, ...]

    @property
    def records(self) -> int:
        """All records."""
        return sum(shard.records for shard in self.shards)

    @property
    def tokens(self) -> int:
        """All target tokens."""
        return sum(shard.tokens for shard in self.shards)

    @property
    def states(self) -> list[str]:
        """SHA-256 of every state of its codec that its shards need."""
        return sorted({shard.state for shard in self.shards} - {NO_STATE})

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for shard in self.shards)

    def summary(self) -> dict[str, Any]:
        """Its facts as a JSON table, for people and programs."""
        return {
            **self.identity.to_table(),
            "identity": self.identity.digest,
            "shards": len(self.shards),
            "records": self.records,
            "tokens": self.tokens,
            "bytes": self.size,
            "bytes_per_token": round(self.size / self.tokens, 3) if self.tokens else None,
        }

    def to_bytes(self) -> bytes:
        """The file."""
        table = {
            "format": FORMAT,
            "version": VERSION,
            "identity": self.identity.to_table(),
            "identity_sha256": self.identity.digest,
            "records": self.records,
            "tokens": self.tokens,
            "size": self.size,
            "shards": [attrs.asdict(shard) for shard in self.shards],
        }
        body = json.dumps(table, indent=2).encode("ascii").removesuffix(b"\n}") + b",\n"
        return body + _TAIL % zlib.crc32(body)

    def write(self, folder: Path) -> None:
        """Put it into the folder, whole."""
        write_atomically(folder / MANIFEST, self.to_bytes())

    @classmethod
    def from_bytes(cls, raw: bytes) -> Manifest:
        """The manifest of a file's bytes.

        Raises:
            DamagedData: They are not what `to_bytes` writes; the message says what is wrong, not where.
            UsageError: A newer kdkit wrote it.
        """
        body, tail = raw[:-_TAIL_BYTES], raw[-_TAIL_BYTES:]
        if tail != _TAIL % zlib.crc32(body):
            raise DamagedData("its content does not match its checksum")
        table = parse_strictly(raw)
        if not isinstance(table, dict) or table.get("format") != FORMAT:
            raise DamagedData("it is not the manifest of a logit cache")
        version = table.get("version")
        if type(version) is not int or str(version) not in READ_VERSIONS:
            raise version_error(version)
        if table.keys() != _FIELDS or not isinstance(table["shards"], list):
            raise DamagedData("its fields are incomplete")
        manifest = cls(
            identity=CacheIdentity.from_table(table["identity"]),
            shards=tuple(_entry(entry, version) for entry in table["shards"]),
        )
        claimed = tuple(table[name] for name in ("identity_sha256", "records", "tokens", "size"))
        if claimed != (manifest.identity.digest, manifest.records, manifest.tokens, manifest.size):
            raise DamagedData("its totals are not the sums of its entries")
        if len({shard.file for shard in manifest.shards}) != len(manifest.shards):
            raise DamagedData("it names a shard twice")
        return manifest


def _entry(table: Any, version: int) -> ShardEntry:
    kinds = {"file": str, "size": int, "records": int, "tokens": int, "sha256": str}
    if version > 1:
        kinds["state"] = str
    if not isinstance(table, dict) or {name: type(value) for name, value in table.items()} != kinds:
        raise DamagedData("the entry of a shard is incomplete")
    entry = ShardEntry(**table)
    is_state = entry.state == NO_STATE or SHA256.fullmatch(entry.state)
    if not SHARD_FILE.fullmatch(entry.file) or not SHA256.fullmatch(entry.sha256) or not is_state:
        raise DamagedData(f"{entry.file[:80]!r} is not an entry of a shard")
    if min(entry.size, entry.records, entry.tokens) < 0 or max(entry.size, entry.records, entry.tokens) > 2**63 - 1:
        raise DamagedData(f"the sizes of {entry.file} are not possible")
    return entry


def describe_shard(shard: Shard) -> ShardEntry:
    """The entry of a shard."""
    return ShardEntry(
        file=shard.file,
        size=shard.size,
        records=shard.records,
        tokens=shard.tokens,
        sha256=shard.sha256,
        state=shard.state,
    )


def misfit(shard: Shard, entry: ShardEntry, identity: CacheIdentity) -> str:
    """Why a shard is not the one that an entry of a cache's manifest describes; "" if it is."""
    if shard.identity != identity:
        return f"it belongs to another cache, of {shard.identity.describe()}"
    if describe_shard(shard) != entry:
        return "it is not the file that the manifest describes"
    return ""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a cache.

    Raises:
        MissingInput: There is no finished cache in the folder.
        DamagedData: The manifest is not what was written.
        UsageError: A newer kdkit wrote it.
    """
    path = folder / MANIFEST
    try:
        with naming(path), open_regular(path) as file:
            raw = file.read(LARGEST_MANIFEST)
    except (FileNotFoundError, NotADirectoryError) as error:
        if folder.is_dir() and sealed_shards(folder):
            raise MissingInput(
                f"the capture into {folder} has not finished (there are shards but no {MANIFEST}); run its "
                "recipe again or, if the cache was repaired and its run is finished, `kdkit cache repair "
                f"{folder} --run RUN_DIR`"
            ) from error
        raise MissingInput(
            f"there is no logit cache in {folder} (no {MANIFEST}); give the folder of one (runs/cache/logits/DIGEST)"
        ) from error
    try:
        return Manifest.from_bytes(raw)
    except DamagedData as error:
        raise DamagedData(
            f"{path} is damaged: {error}; run `kdkit cache repair {folder}`, which writes it again from the shards"
        ) from error
    except UsageError as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def shards_named_in(folder: Path) -> set[str]:
    """The shard files that a cache's manifest names, however damaged it is."""
    with open_regular(folder / MANIFEST) as file:
        return {name.decode("ascii") for name in _NAMED.findall(file.read(LARGEST_MANIFEST))}
