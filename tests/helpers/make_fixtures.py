"""Makes the golden files in `tests/fixtures`: bytes of every released codec format, and one small cache.

They are never made anew for a released format: readers of today must read them for ever. Run it only to add those of a new
format: `python tests/helpers/make_fixtures.py NEW_FOLDER`, and copy what is new.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from kdkit.api.values import OutputHead, StateBlock, TeacherBlock
from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.sampled import Sampled
from kdkit.builtin.codecs.subspace import Subspace
from kdkit.builtin.codecs.topk import TopK
from kdkit.builtin.codecs.u4_lz4 import U4LZ4
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.logits.cache import CacheIdentity, CacheWriter, record_key
from kdkit.logits.cache.state import pack_state
from kdkit.plugins.fields import identity_of

CODECS = {
    "u8-lz4-row": ("u8-lz4", U8LZ4()),
    "u8-lz4-array-9": ("u8-lz4", U8LZ4(scope="array", level=9)),
    "u4-lz4-row": ("u4-lz4", U4LZ4()),
    "u4-lz4-array-clip": ("u4-lz4", U4LZ4(scope="array", clip=5.0)),
    "float-fp32": ("float", Float()),
    "float-fp32-zstd": ("float", Float(compression="zstd")),
    "float-fp16-lz4": ("float", Float(dtype="fp16", compression="lz4")),
    "float-bf16": ("float", Float(dtype="bf16")),
    "u8-lz4-row-clip": ("u8-lz4", U8LZ4(clip=5.0, level=9)),
    "u8-lz4-array-clip": ("u8-lz4", U8LZ4(scope="array", clip=5.0)),
    "float-fp32-zstd-planes": ("float", Float(compression="zstd", planes=True)),
    "float-bf16-lz4-planes": ("float", Float(dtype="bf16", compression="lz4", planes=True)),
    "topk-8": ("topk", TopK(k=8, temperatures=(1.0, 2.0))),
    "topk-all": ("topk", TopK(k=50)),
    "sampled": ("sampled", Sampled()),
}
# Of logits of which every seventh is -inf.
MASKED = {
    "u8-lz4-row-masked": ("u8-lz4", U8LZ4()),
    "u4-lz4-array-masked": ("u4-lz4", U4LZ4(scope="array")),
    "float-fp16-lz4-masked": ("float", Float(dtype="fp16", compression="lz4")),
    "topk-46-masked": ("topk", TopK(k=46)),
}


def logits(tokens: int, vocab_size: int) -> np.ndarray:
    """Logits whose values are exact in float32, from integers alone: the same on every machine."""
    numbers = (np.arange(tokens * vocab_size, dtype=np.int64) * 7919) % 1009
    return ((numbers - 504) / 64).astype(np.float32).reshape(tokens, vocab_size)


def subspace(folder: Path) -> None:
    """Codec `subspace` with a state from a head and one from logits: state, payload and logits of each.

    Some rows are wider than the sample, so that every kind of number of the format is in the payload.
    """
    weight_VD = logits(50, 6)
    bias_V = logits(1, 50)[0]
    sample_TD = logits(60, 6) / 8
    states_TD = logits(4, 6) / 8 * np.array([[1], [1], [300], [0.125]], np.float32)
    states_TD[1, 2] *= 100
    codec = Subspace()
    from_head = codec.fit_head(
        OutputHead(weight_VD=weight_VD, bias_V=bias_V), [StateBlock(id="sample", states_TD=sample_TD)]
    )
    from_logits = codec.fit([TeacherBlock(id="sample", logits_TV=sample_TD @ weight_VD.T)])
    payloads = {
        "subspace-head": codec.bind(from_head).encode_states(StateBlock(id="golden", states_TD=states_TD)),
        "subspace-logits": codec.bind(from_logits).encode(TeacherBlock(id="golden", logits_TV=states_TD @ weight_VD.T)),
    }
    table = {}
    for (name, payload), state in zip(payloads.items(), (from_head, from_logits), strict=True):
        (folder / f"{name}.bin").write_bytes(payload)
        (folder / f"{name}.safetensors").write_bytes(pack_state(state))
        decoded = codec.bind(state).decode(payload, tokens=4, vocab_size=50)
        (folder / f"{name}.f32").write_bytes(decoded.astype("<f4").tobytes())
        table[name] = {"codec": "subspace", "options": identity_of(codec), "tokens": 4, "vocab_size": 50}
    (folder / "fitted-codecs.json").write_text(json.dumps(table, indent=2) + "\n")
    identity = CacheIdentity(
        teacher="0" * 64,
        teacher_name="golden teacher",
        tokenizer="1" * 64,
        codec="subspace",
        codec_options=identity_of(codec),
        vocab_size=50,
    )
    with CacheWriter(folder / "cache-2-subspace", identity, codec) as writer:
        writer.learn(from_head)
        key = record_key(identity.teacher, identity.tokenizer, (5, 6), (1, 2, 3, 4))
        writer.add_states(key, StateBlock(id="golden", states_TD=states_TD))
        writer.finish()
    (folder / "cache-2-subspace" / ".lock").unlink(missing_ok=True)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    subspace(folder)
    plain_TV = logits(3, 50)
    masked_TV = np.where(np.arange(50) % 7, plain_TV, -np.inf)
    table = {}
    for name, (registered, codec) in (CODECS | MASKED).items():
        payload = codec.encode(TeacherBlock(id="golden", logits_TV=masked_TV if name in MASKED else plain_TV))
        (folder / f"{name}.bin").write_bytes(payload)
        decoded = codec.decode(payload, tokens=3, vocab_size=50)
        (folder / f"{name}.f32").write_bytes(decoded.astype("<f4").tobytes())
        table[name] = {"codec": registered, "options": identity_of(codec), "tokens": 3, "vocab_size": 50}
    (folder / "codecs.json").write_text(json.dumps(table, indent=2) + "\n")
    codec = U8LZ4()
    identity = CacheIdentity(
        teacher="0" * 64,
        teacher_name="golden teacher",
        tokenizer="1" * 64,
        codec="u8-lz4",
        codec_options=identity_of(codec),
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
