"""Caches forged so that every checksum is right again: only the rules behind the checksums can refuse them."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

import attrs
import numpy as np
from cache_kit import block, identity, join_shard, key, shards, split_shard
from fitted_codec import MeanCodec

from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.logits.cache import CacheWriter, LogitCache, Manifest
from kdkit.logits.cache.format import read_shard
from kdkit.logits.cache.manifest import describe_shard

TYPES = {"U8": "u1", "I64": "<i8", "U32": "<u4", "I32": "<i4"}
INDEX = ("offsets", "keys", "crc32", "tokens")


@attrs.frozen(kw_only=True)
class Kind:
    """A codec to make caches with, under the identity that they get."""

    codec: object
    name: str

    def identity(self, **changes):
        return attrs.evolve(identity(self.codec), **{"codec": self.name, **changes})

    def writer(self, folder, shard_bytes=600, **changes):
        return CacheWriter(folder, self.identity(**changes), self.codec, shard_bytes, note=lambda _: None)

    def learn(self, writer, seed=0):
        if writer.needs_state:
            writer.learn(self.codec.fit([block(seed + 3), block(seed + 4)]))

    def fill(self, folder, numbers, *, seed=0, shard_bytes=600, **changes):
        with self.writer(folder, shard_bytes, **changes) as writer:
            self.learn(writer, seed)
            for number in numbers:
                writer.add_block(key(number), block(number))
            writer.finish()

    def open(self, folder):
        return LogitCache.open(folder, codec=self.codec)

    def read_all(self, folder):
        cache = self.open(folder)
        return {k: cache.decode(k).tobytes() for k in cache}

    def payloads(self, folder):
        cache = self.open(folder)
        return {k: cache.get(k) for k in cache}


KINDS = {"u8-lz4": Kind(codec=U8LZ4(), name="u8-lz4"), "fitted": Kind(codec=MeanCodec(), name="mean")}


def states(folder: Path) -> list[Path]:
    return sorted(folder.glob("state-*.safetensors"))


def parts(folder: Path) -> list[Path]:
    """Every file of a finished cache."""
    return [*shards(folder), *states(folder), folder / "manifest.json"]


def split_index(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    header, data = split_shard(path)
    arrays = {
        name: np.frombuffer(data[slice(*table["data_offsets"])], TYPES[table["dtype"]]).copy()
        for name, table in header.items()
        if name != "__metadata__"
    }
    return header, arrays


def forge_index(path: Path, change) -> None:
    """Change the index and put its checksum right."""
    header, arrays = split_index(path)
    change(arrays)
    index = b"".join(arrays[name].tobytes() for name in INDEX)
    header["__metadata__"]["index_sha256"] = hashlib.sha256(index).hexdigest()
    join_shard(path, header, arrays["payload"].tobytes() + index)


def forge_shard(path: Path, records: list[tuple[bytes, bytes, int]], owner, state: str = "") -> None:
    """A shard of any records (key, payload, tokens), as its format asks for."""
    from kdkit.logits.cache.shard_writer import GrowingShard

    growing = GrowingShard(path.parent, int(path.stem.removeprefix("shard-")), owner, state)
    for record in records:
        growing.add(*record)
    growing.seal()


def relist(folder: Path) -> None:
    """A manifest that agrees with whatever shards are there."""
    found = [read_shard(path) for path in shards(folder)]
    Manifest(identity=found[0].identity, shards=tuple(describe_shard(shard) for shard in found)).write(folder)


def manifest_bytes(table: dict) -> bytes:
    """The file of a manifest's table, with its CRC put right."""
    body = json.dumps({name: value for name, value in table.items() if name != "crc32"}, indent=2)
    raw = body.encode().removesuffix(b"\n}") + b",\n"
    return raw + b'  "crc32": "%08x"\n}\n' % zlib.crc32(raw)


def remanifest(path: Path, change) -> None:
    """Change the manifest and put its CRC right."""
    table = json.loads(path.read_bytes())
    change(table)
    path.write_bytes(manifest_bytes(table))
