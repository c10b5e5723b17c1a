"""Small caches for tests."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.logits.cache import CacheIdentity, CacheWriter, LogitCache, record_key
from kdkit.logits.cache.format import read_shard
from kdkit.plugins.fields import identity_of
from kdkit.testing import synthetic_block

VOCAB = 40


def identity(codec=None, **changes) -> CacheIdentity:
    codec = codec if codec is not None else U8LZ4()
    fields = {
        "teacher": "a" * 64,
        "teacher_name": "big-teacher",
        "tokenizer": "b" * 64,
        "codec": "u8-lz4" if isinstance(codec, U8LZ4) else "float",
        "codec_options": identity_of(codec),
        "vocab_size": VOCAB,
    }
    return CacheIdentity(**{**fields, **changes})


def key(number: int) -> bytes:
    return record_key("a" * 64, "b" * 64, (1, number), (number, 2))


def block(number: int):
    return synthetic_block(number % 5, VOCAB, seed=number)


def fill(folder: Path, numbers, *, codec=None, shard_bytes=600, finish=True, note=None, **changes):
    """Write records; gives the numbers that were not there before."""
    codec = codec if codec is not None else U8LZ4()
    options = {} if note is None else {"note": note}
    with CacheWriter(folder, identity(codec, **changes), codec, shard_bytes, **options) as writer:
        added = [number for number in numbers if writer.add_block(key(number), block(number))]
        if finish:
            writer.finish()
    return added


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.safetensors"))


def temporaries(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.tmp"))


def split_shard(path: Path) -> tuple[dict, bytes]:
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def join_shard(path: Path, header: dict | bytes, data: bytes) -> None:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)


def records(folder: Path) -> dict[bytes, tuple[bytes, int]]:
    cache = LogitCache.open(folder)
    return {k: cache.get(k) for k in cache}


def flip(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 16
    path.unlink()  # other folders may share the file
    path.write_bytes(raw)


def keys_in(path: Path) -> set[bytes]:
    return {k.tobytes() for k in read_shard(path).keys_N16}


def spoil_record(path: Path, nth: int = 0) -> bytes:
    """Flip a bit in a record's payload; gives the record's key."""
    shard = read_shard(path)
    number = [n for n in range(shard.records) if shard.offsets_M[n] < shard.offsets_M[n + 1]][nth]
    flip(path, shard.payload_start + int(shard.offsets_M[number]) + 3)
    return shard.keys_N16[number].tobytes()
