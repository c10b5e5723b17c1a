"""Makes the golden files in `tests/fixtures`: bytes of every released codec format, and one small cache.

They are never made anew for a released format: readers of today must read them for ever. Run it only to add those of a new
format: `python tests/make_fixtures.py NEW_FOLDER`, and copy what is new.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.cache import CacheIdentity, CacheWriter, options_of, record_key
from kdkit.values import TeacherBlock

CODECS = {
    "u8-lz4-row": ("u8-lz4", U8LZ4()),
    "u8-lz4-array-9": ("u8-lz4", U8LZ4(scope="array", level=9)),
    "float-fp32": ("float", Float()),
    "float-fp32-zstd": ("float", Float(compression="zstd")),
    "float-fp16-lz4": ("float", Float(dtype="fp16", compression="lz4")),
    "float-bf16": ("float", Float(dtype="bf16")),
    "u8-lz4-row-clip": ("u8-lz4", U8LZ4(clip=5.0, level=9)),
    "u8-lz4-array-clip": ("u8-lz4", U8LZ4(scope="array", clip=5.0)),
    "float-fp32-zstd-planes": ("float", Float(compression="zstd", planes=True)),
    "float-bf16-lz4-planes": ("float", Float(dtype="bf16", compression="lz4", planes=True)),
}


def logits(tokens: int, vocab_size: int) -> np.ndarray:
    """Logits whose values are exact in float32, from integers alone: the same on every machine."""
    numbers = (np.arange(tokens * vocab_size, dtype=np.int64) * 7919) % 1009
    return ((numbers - 504) / 64).astype(np.float32).reshape(tokens, vocab_size)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    block = TeacherBlock(id="golden", logits_TV=logits(3, 50))
    table = {}
    for name, (registered, codec) in CODECS.items():
        payload = codec.encode(block)
        (folder / f"{name}.bin").write_bytes(payload)
        decoded = codec.decode(payload, tokens=3, vocab_size=50)
        (folder / f"{name}.f32").write_bytes(decoded.astype("<f4").tobytes())
        table[name] = {"codec": registered, "options": options_of(codec), "tokens": 3, "vocab_size": 50}
    (folder / "codecs.json").write_text(json.dumps(table, indent=2) + "\n")
    codec = U8LZ4()
    identity = CacheIdentity(
        teacher="0" * 64,
        teacher_name="golden teacher",
        tokenizer="1" * 64,
        codec="u8-lz4",
        codec_options=options_of(codec),
        vocab_size=50,
    )
    with CacheWriter(folder / "cache-2", identity, codec, shard_bytes=400) as writer:
        for tokens in range(6):
            key = record_key(identity.teacher, identity.tokenizer, (5, 6, tokens), tuple(range(tokens)))
            writer.add_block(key, TeacherBlock(id=str(tokens), logits_TV=logits(tokens, 50)))
        writer.finish()
    (folder / "cache-2" / ".lock").unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
