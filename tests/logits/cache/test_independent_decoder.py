"""What others read out of a record by the document alone is what kdkit reads, to the bit.

`topk`, `sampled` and `subspace` have readers of their own: `plain_sparse.py`, `subspace_reader.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from independent_decoder import decode

from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.logits.cache import LogitCache
from kdkit.plugins.fields import identity_of
from kdkit.testing import synthetic_block

FIXTURES = Path(__file__).parents[2] / "fixtures"
GOLDEN = {
    name: table
    for name, table in json.loads((FIXTURES / "codecs.json").read_text()).items()
    if table["codec"] in {"u8-lz4", "float"}
}
CODECS = [
    *(("u8-lz4", U8LZ4(scope=scope, clip=clip)) for scope in ("row", "array") for clip in (None, 0.5, 4.0)),
    ("u8-lz4", U8LZ4(level=9)),
    *(
        ("float", Float(dtype=dtype, compression=c))
        for dtype in ("fp32", "fp16", "bf16")
        for c in ("none", "lz4", "zstd")
    ),
    *(("float", Float(dtype=dtype, compression="lz4", planes=True)) for dtype in ("fp32", "fp16", "bf16")),
]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_bytes_are_read(name):
    table = GOLDEN[name]
    payload = (FIXTURES / f"{name}.bin").read_bytes()
    logits_TV = decode(table["codec"], table["options"], payload, table["tokens"], table["vocab_size"])
    assert logits_TV.tobytes() == (FIXTURES / f"{name}.f32").read_bytes()


@pytest.mark.parametrize("version", [1, 2])
def test_the_golden_caches_are_read(version):
    cache = LogitCache.open(FIXTURES / f"cache-{version}")
    for key in cache:
        payload, tokens = cache.get(key)
        logits_TV = decode(cache.identity.codec, cache.identity.codec_options, payload, tokens, cache.vocab_size)
        assert logits_TV.tobytes() == cache.decode(key).tobytes()


@pytest.mark.parametrize(("registered", "codec"), CODECS, ids=[repr(codec) for _, codec in CODECS])
@given(
    tokens=st.integers(0, 5),
    vocab_size=st.integers(1, 60),
    seed=st.integers(0, 99),
    constant=st.booleans(),
    masked=st.booleans(),
)
@settings(max_examples=12, deadline=None)
def test_both_read_the_same(registered, codec, tokens, vocab_size, seed, constant, masked):
    block = synthetic_block(tokens, vocab_size, seed=seed)
    if constant:  # long matches, which lengthen themselves
        block.logits_TV[...] = np.float32(1.5)
    if masked:
        block.logits_TV[:, 1::5] = -np.inf
    payload = codec.encode(block)
    theirs_TV = decode(registered, identity_of(codec), payload, tokens, vocab_size)
    ours_TV = codec.decode(payload, tokens=tokens, vocab_size=vocab_size)
    assert theirs_TV.tobytes() == ours_TV.tobytes()
