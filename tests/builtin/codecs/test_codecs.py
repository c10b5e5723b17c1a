"""Codecs: bounds, exactness, refusals, and bytes that stay readable. Letters: T target tokens, V vocabulary."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import attrs
import hypothesis.extra.numpy as hnp
import lz4.frame
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit import plugins
from kdkit.api.interfaces.codecs import BatchCodec
from kdkit.api.values import Grid, TeacherBlock
from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.parts.uniform_lz4 import UniformGridLZ4
from kdkit.builtin.codecs.sampled import Sampled
from kdkit.builtin.codecs.topk import TopK
from kdkit.builtin.codecs.u4_lz4 import U4LZ4
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.errors import DamagedData, UsageError
from kdkit.plugins.fields import identity_of
from kdkit.testing import check_codec, synthetic_block

FIXTURES = Path(__file__).parents[2] / "fixtures"
ALL = [
    *(U8LZ4(scope=scope, level=level) for scope in ("row", "array") for level in (0, 9)),
    *(Float(dtype=dtype, compression=c) for dtype in ("fp32", "fp16", "bf16") for c in ("none", "lz4", "zstd")),
    Float(compression="zstd", level=19),
    *(Float(dtype=dtype, compression=c, planes=True) for dtype in ("fp32", "fp16", "bf16") for c in ("lz4", "zstd")),
    *(U4LZ4(scope=scope, clip=clip) for scope in ("row", "array") for clip in (None, 10.0)),
    *(U8LZ4(scope=scope, level=9, clip=clip) for scope in ("row", "array") for clip in (0.5, 10.0)),
]


def shapes(smallest: int = 0):
    return st.tuples(st.integers(smallest, 6), st.integers(1, 40))


def floats(limit: float):
    limit = float(np.float32(limit))
    return st.one_of(
        st.floats(-limit, limit, width=32, allow_subnormal=True),
        st.floats(-30, 30, width=32),
        st.sampled_from([0.0, -0.0, 1.0, -1.0, limit, -limit]),
    )


def arrays(limit: float, smallest: int = 0):
    return hnp.arrays(np.float32, shapes(smallest), elements=floats(limit))


@st.composite
def masked_arrays(draw, shape=None):
    """Ordinary logits, and some entries that are masked or far below; each row has one that is not."""
    elements = st.one_of(st.floats(-30, 30, width=32), st.sampled_from([-1e3, -1e4, -1e9, -3.4e38, -np.inf]))
    logits_TV = draw(hnp.arrays(np.float32, shapes(1) if shape is None else shape, elements=elements))
    logits_TV[:, :1] = np.maximum(logits_TV[:, :1], -30)
    return logits_TV


def block(logits_TV, grid=None):
    return TeacherBlock(id="row 7", logits_TV=np.ascontiguousarray(logits_TV, np.float32), grid=grid)


def there_and_back(codec, given_block):
    tokens, vocab_size = given_block.logits_TV.shape
    return codec.decode(codec.encode(given_block), tokens=tokens, vocab_size=vocab_size)


def grid_bound(scope, top):
    def bound(logits_TV):
        x_TV = logits_TV.astype(np.float64)
        axis = 1 if scope == "row" else None
        span = x_TV.max(axis=axis, keepdims=True) - x_TV.min(axis=axis, keepdims=True)
        scale = np.maximum(span / top, 2.0**-126)
        return scale / 2 + 2.0**-21 * np.abs(x_TV).max(axis=axis, keepdims=True)

    return bound


def clip_bound(scope, top, clip):
    """Half a step within the clip; beyond it as far as the farthest logit there, since the mean is between them."""

    def bound(logits_TV):
        x_TV = logits_TV.astype(np.float64)
        if x_TV.size == 0:
            return x_TV
        kept_TV = x_TV >= x_TV.max(axis=1, keepdims=True) - clip
        axis = 1 if scope == "row" else None
        low = np.where(kept_TV, x_TV, np.inf).min(axis=axis, keepdims=True)
        scale = np.maximum((x_TV.max(axis=axis, keepdims=True) - low) / (top - 1), 2.0**-126)
        tail_low_T1 = x_TV.min(axis=1, keepdims=True)
        tail_high_T1 = np.where(kept_TV, -np.inf, x_TV).max(axis=1, keepdims=True)
        widest_TV = np.where(kept_TV, scale / 2, np.maximum(x_TV - tail_low_T1, tail_high_T1 - x_TV))
        return widest_TV + 2.0**-21 * np.abs(x_TV).max(axis=axis, keepdims=True)

    return bound


def relative_bound(share, floor=0.0):
    return lambda logits_TV: np.abs(logits_TV.astype(np.float64)) * share + floor


BOUNDS = {"fp32": relative_bound(0), "fp16": relative_bound(2**-11, 2**-25), "bf16": relative_bound(2**-8)}


@pytest.mark.parametrize("codec", ALL, ids=repr)
def test_every_codec_keeps_the_promises_of_the_protocol(codec):
    check_codec(codec, bound=bound_of(codec))


def bound_of(codec):
    if isinstance(codec, Float):
        return BOUNDS[codec.dtype]
    top = 2**codec.bits - 1
    plain = grid_bound(codec.scope, top)
    clipped = clip_bound(codec.scope, top, min(codec.clip or math.inf, codec.deepest))

    def bound(logits_TV):
        x_TV = logits_TV.astype(np.float64)
        spans_T = x_TV.max(axis=1) - x_TV.min(axis=1) if x_TV.size else np.zeros(0)
        return clipped(logits_TV) if codec.clip is not None or (spans_T > codec.deepest).any() else plain(logits_TV)

    return bound


@pytest.mark.parametrize("scope", ["row", "array"])
@pytest.mark.parametrize("kind", [U8LZ4, U4LZ4])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_few_bits_stay_within_half_a_step(kind, scope, data):
    logits_TV = data.draw(arrays(1e38 if scope == "row" else 30, smallest=1))
    error_TV = np.abs(there_and_back(kind(scope=scope), block(logits_TV)).astype(np.float64) - logits_TV)
    assert (error_TV <= bound_of(kind(scope=scope))(logits_TV)).all()


def log_softmax(logits_TV, temperature=1.0):
    x_TV = logits_TV.astype(np.float64) / temperature
    x_TV = x_TV - x_TV.max(axis=1, keepdims=True)
    return x_TV - np.log(np.exp(x_TV).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("scope", ["row", "array"])
@pytest.mark.parametrize("kind", [U8LZ4, U4LZ4])
@given(logits_TV=masked_arrays())
@settings(max_examples=60, deadline=None)
def test_masked_logits_leave_the_others_their_grid_and_have_no_mass(kind, scope, logits_TV):
    codec = kind(scope=scope)
    decoded_TV = there_and_back(codec, block(logits_TV))
    masked_TV = logits_TV < -100
    span = logits_TV[~masked_TV].max() - logits_TV[~masked_TV].min()
    assert np.abs(decoded_TV[~masked_TV] - logits_TV[~masked_TV]).max() <= span / (2**codec.bits - 2) / 2 + 1e-4
    for temperature in (1.0, 2.0):
        exact_TV, found_TV = log_softmax(logits_TV, temperature), log_softmax(decoded_TV, temperature)
        assert (found_TV[masked_TV] < -400).all()
        assert np.abs(found_TV[~masked_TV] - exact_TV[~masked_TV]).max() <= span / (2**codec.bits - 2) + 1e-4
    alone_T = np.isneginf(np.where(masked_TV, logits_TV, -np.inf)).all(axis=1)
    assert (np.isneginf(decoded_TV) == np.isneginf(logits_TV))[alone_T].all()


@pytest.mark.parametrize("mask", [-100.0, -1e3, -1e4, -1e9, np.finfo(np.float32).min, -np.inf])
@pytest.mark.parametrize(("codec", "most"), [(U8LZ4(), 0.01), (U8LZ4(scope="array"), 0.01), (U4LZ4(), 0.1)], ids=repr)
def test_a_masked_row_diverges_no_more_than_one_without_masks(codec, most, mask):
    """Of a grid that reached down to the masks nothing of the row was left: 3.6 of 3.97 nats."""
    logits_TV = np.random.default_rng(0).normal(size=(4, 2000)).astype(np.float32) * 3
    logits_TV[:, ::100] = mask
    exact_TV, found_TV = (log_softmax(each_TV) for each_TV in (logits_TV, there_and_back(codec, block(logits_TV))))
    with np.errstate(invalid="ignore"):
        divergence = np.where(exact_TV > -100, np.exp(exact_TV) * (exact_TV - found_TV), 0).sum(axis=1).mean()
    assert 0 <= divergence < most


def test_rows_too_far_apart_for_one_grid_are_refused_with_row_span_and_step():
    logits_TV = np.array([[0.0, -20.0], [1000.0, 990.0], [3.0, -7.0]])
    with pytest.raises(
        UsageError,
        match=r"'row 7' span 1020, from -20 at target token 0 to 1000 at target token 1: .* a step of 4\.02, where "
        r'at most 0\.504 is allowed; set scope = "row"',
    ):
        U8LZ4(scope="array").encode(block(logits_TV))
    np.testing.assert_allclose(there_and_back(U8LZ4(), block(logits_TV)), logits_TV, atol=1e-3)


@pytest.mark.parametrize("codec", [U8LZ4(), U4LZ4()], ids=repr)
def test_only_a_record_with_logits_far_below_has_a_value_for_them(codec):
    near_TV = np.array([[0.0, -codec.deepest], [1.0, 0.0]])
    far_TV = near_TV - np.array([[0, 1e-3], [0, 0]])
    sizes = [len(lz4.frame.decompress(codec.encode(block(each_TV)))) for each_TV in (near_TV, far_TV)]
    assert sizes[1] - sizes[0] == 2 * 4


def thesis_quantisation(logits, top=255):
    """thesis.md, 8 and 4 bits: NumPy float32 arrays, Python floats as scalars."""
    low, high = float(logits.min()), float(logits.max())
    scale = (high - low) / top if high != low else 1.0
    zero_point = -low / scale
    return np.clip(np.round(logits / scale + zero_point), 0, top).astype(np.uint8), scale, zero_point


@given(logits_TV=arrays(32, smallest=1))
@settings(max_examples=100, deadline=None)
def test_four_bits_of_an_array_are_the_thesis_to_the_bit(logits_TV):
    if 0 < float(logits_TV.max()) - float(logits_TV.min()) < 15 * 2.0**-126:
        return
    q_TV, scale, zero_point = thesis_quantisation(logits_TV, 15)
    content = lz4.frame.decompress(U4LZ4(scope="array").encode(block(logits_TV)))
    assert struct.unpack("<2f", content[:8]) == (np.float32(scale), np.float32(zero_point))
    codes = [*q_TV.reshape(-1).tolist(), 0]
    pairs = [low + 16 * high for low, high in zip(codes[0::2], codes[1::2], strict=False)]
    assert list(content[8:]) == [*pairs, q_TV.size % 2]


def test_a_code_after_the_last_of_four_bits_is_refused():
    content = lz4.frame.decompress(U4LZ4(scope="array").encode(block([[0.0, 1.0, 2.0]])))
    forged = lz4.frame.compress(content[:-2] + bytes([content[-2] | 16, content[-1]]), store_size=True)
    with pytest.raises(DamagedData, match="4-bit logits do not end where 3 of them must"):
        U4LZ4(scope="array").decode(forged, tokens=1, vocab_size=3)


@given(logits_TV=arrays(64, smallest=1))
@settings(max_examples=200, deadline=None)
def test_array_scope_is_the_thesis_to_the_bit(logits_TV):
    if 0 < float(logits_TV.max()) - float(logits_TV.min()) < 255 * 2.0**-126:
        return  # a scale below the smallest normal float32, where the thesis's division loses its meaning
    q_TV, scale, zero_point = thesis_quantisation(logits_TV)
    payload = U8LZ4(scope="array").encode(block(logits_TV))
    content = lz4.frame.decompress(payload)
    assert struct.unpack("<2f", content[:8]) == (np.float32(scale), np.float32(zero_point))
    assert content[8:] == q_TV.tobytes()
    decoded_TV = U8LZ4(scope="array").decode(payload, tokens=logits_TV.shape[0], vocab_size=logits_TV.shape[1])
    assert decoded_TV.tobytes() == ((q_TV.astype(np.float32) - zero_point) * scale).tobytes()


@pytest.mark.parametrize("scope", ["row", "array"])
@given(
    bits=st.integers(1, 8),
    scale=st.floats(1e-6, 1e6),
    zero_point=st.floats(-1e4, 1e4),
    shape=shapes(1),
    seed=st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_logits_on_a_given_grid_come_back_exactly(scope, bits, scale, zero_point, shape, seed):
    q_TV = np.random.default_rng(seed).integers(0, 2**bits, shape).astype(np.uint8)
    logits_TV = (q_TV.astype(np.float32) - zero_point) * scale
    assert logits_TV.dtype == np.float32
    given_block = block(logits_TV, Grid(scale=scale, zero_point=zero_point, bits=bits))
    assert there_and_back(U8LZ4(scope=scope), given_block).tobytes() == logits_TV.tobytes()
    if bits <= 4:
        assert there_and_back(U4LZ4(scope=scope), given_block).tobytes() == logits_TV.tobytes()


def test_some_rows_of_a_thesis_array_pass_through_exactly_by_its_grid():
    original_TV = synthetic_block(40, 300).logits_TV
    q_TV, scale, zero_point = thesis_quantisation(original_TV)
    logits_TV = ((q_TV.astype(np.float32) - zero_point) * scale)[:7]
    decoded_TV = there_and_back(U8LZ4(), block(logits_TV, Grid(scale=scale, zero_point=zero_point)))
    assert (decoded_TV == logits_TV).all()


def test_logits_that_are_off_their_grid_are_refused():
    given_block = block([[0.0, 0.1, 0.25]], Grid(scale=0.1, zero_point=0.0))
    with pytest.raises(UsageError, match=r"0\.25 at target token 0, vocabulary entry 2 of example 'row 7'"):
        U8LZ4().encode(given_block)


@pytest.mark.parametrize("grid", [Grid(scale=0.0, zero_point=0.0), Grid(scale=-1.0, zero_point=0.0), Grid(scale=1.0, zero_point=float("nan")), Grid(scale=1e38, zero_point=9.0)])  # fmt: skip
def test_a_grid_that_is_none_is_refused(grid):
    with pytest.raises(UsageError, match="the grid of example 'row 7'"):
        U8LZ4().encode(block([[0.0, 1.0]], grid))


def test_a_grid_of_more_than_eight_bits_is_quantised_like_any_logits():
    logits_TV = synthetic_block(3, 50).logits_TV
    plain, gridded = block(logits_TV), block(logits_TV, Grid(scale=1e-3, zero_point=30000.0, bits=16))
    assert U8LZ4().encode(gridded) == U8LZ4().encode(plain)


@given(value=floats(1e38), shape=shapes(1))
@settings(max_examples=60, deadline=None)
def test_constant_rows_are_exact(value, shape):
    logits_TV = np.full(shape, value, np.float32)
    for scope in ("row", "array"):
        assert (there_and_back(U8LZ4(scope=scope), block(logits_TV)) == logits_TV).all()


@pytest.mark.parametrize("codec", [U8LZ4(), Float(), Float(dtype="bf16", compression="zstd")], ids=repr)
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_infinity_and_what_is_no_number_are_refused_with_their_place(codec, value):
    logits_TV = np.zeros((3, 5))
    logits_TV[1, 4] = value
    with pytest.raises(
        UsageError,
        match=r"vocabulary entry 4 at target token 1 of example 'row 7' is (inf|nan); logits must be finite",
    ):
        codec.encode(block(logits_TV))


@pytest.mark.parametrize("codec", [U8LZ4(), U4LZ4(clip=3.0), Float(), TopK(), Sampled()], ids=repr)
def test_a_row_without_any_logit_above_minus_infinity_is_refused(codec):
    logits_TV = np.zeros((3, 5))
    logits_TV[1] = -np.inf
    with pytest.raises(UsageError, match=r"every logit of target token 1 of example 'row 7' is -inf, but .* needs one"):
        codec.encode(block(logits_TV))


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
@given(logits_TV=hnp.arrays(np.float32, shapes(1), elements=st.sampled_from([-np.inf, 0.5, 3.0, -7.25])))
@settings(max_examples=20, deadline=None)
def test_floats_keep_minus_infinity(dtype, logits_TV):
    logits_TV[:, 0] = 1.0
    for compression in ("none", "zstd"):
        codec = Float(dtype=dtype, compression=compression)
        assert (there_and_back(codec, block(logits_TV)) == logits_TV).all()


@pytest.mark.parametrize(
    ("codec", "value", "advice"),
    [
        (U8LZ4(), 1.1e38, 'use the codec "float"'),
        (U8LZ4(clip=2.0), np.inf, "check what the teacher computes"),
        (Float(dtype="fp16"), 65520, 'set dtype = "bf16"'),
        (Float(dtype="fp16"), -1e9, 'set dtype = "bf16"'),
        (Float(dtype="bf16"), 3.4e38, 'set dtype = "fp32"'),
    ],
)
def test_logits_too_large_for_the_codec_are_refused_with_advice(codec, value, advice):
    with pytest.raises(UsageError, match=advice):
        codec.encode(block([[0.0, value]]))


@pytest.mark.parametrize(
    ("dtype", "largest"), [("fp16", 65519.99), ("bf16", float.fromhex("0x1.fefffep127")), ("fp32", 3.4028234e38)]
)
def test_the_largest_logit_of_a_float_kind_stays_finite(dtype, largest):
    assert np.isfinite(there_and_back(Float(dtype=dtype), block([[largest, -largest]]))).all()


@given(logits_TV=arrays(3e38))
@settings(max_examples=100, deadline=None)
def test_fp32_is_exact_to_the_bit(logits_TV):
    for compression in ("none", "lz4", "zstd"):
        assert there_and_back(Float(compression=compression), block(logits_TV)).tobytes() == logits_TV.tobytes()


@given(logits_TV=arrays(3e38))
@settings(max_examples=100, deadline=None)
def test_bf16_rounds_as_torch_does(logits_TV):
    torch = pytest.importorskip("torch")
    expected = torch.from_numpy(logits_TV).to(torch.bfloat16).to(torch.float32).numpy()
    assert there_and_back(Float(dtype="bf16"), block(logits_TV)).tobytes() == expected.tobytes()


def test_a_level_is_refused_where_the_compression_has_no_such_level():
    for options in ({"level": 3}, {"compression": "zstd", "level": 0}, {"compression": "lz4", "level": 17}):
        with pytest.raises(ValueError, match="level is"):
            Float(**options)
    with pytest.raises(ValueError, match="level"):
        U8LZ4(level=17)


@pytest.mark.parametrize("codec", ALL, ids=repr)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_batch_of_targets_has_the_bits_of_decode(codec, data):
    from kdkit.losses.alignment import all_rows

    vocab_size = data.draw(st.integers(1, 30))
    lengths = data.draw(st.lists(st.integers(0, 5), max_size=4))
    rows = [
        data.draw(
            masked_arrays((tokens, vocab_size))
            if isinstance(codec, UniformGridLZ4)
            else hnp.arrays(np.float32, (tokens, vocab_size), elements=floats(1e4))
        )
        for tokens in lengths
    ]
    records = [(codec.encode(block(row)), len(row)) for row in rows]
    targets = codec.targets(records, vocab_size=vocab_size, device="cpu")
    assert isinstance(codec, BatchCodec)
    assert targets.lengths_B.tolist() == lengths
    stored_BTV = targets.codes_BTV if isinstance(codec, UniformGridLZ4) else targets.logits_BTV
    assert stored_BTV.shape == (len(lengths), max(lengths, default=0), vocab_size)
    logits_NV = targets.logits(all_rows(targets))
    decoded = [codec.decode(payload, tokens=tokens, vocab_size=vocab_size) for payload, tokens in records]
    assert str(logits_NV.dtype) == "torch.float32"
    assert logits_NV.numpy().tobytes() == b"".join(decoded_TV.tobytes() for decoded_TV in decoded)


@pytest.mark.parametrize("codec", ALL, ids=repr)
def test_targets_take_no_more_room_than_what_is_stored_and_their_padding_is_zero(codec):
    records = [(codec.encode(synthetic_block(tokens, 30)), tokens) for tokens in (2, 4)]
    targets = codec.targets(records, vocab_size=30, device="cpu")
    stored_BTV = targets.codes_BTV if isinstance(codec, UniformGridLZ4) else targets.logits_BTV
    bits = {"fp32": "torch.float32", "fp16": "torch.float16", "bf16": "torch.bfloat16"}
    assert str(stored_BTV.dtype) == ("torch.uint8" if isinstance(codec, UniformGridLZ4) else bits[codec.dtype])
    rows = [each for each in attrs.astuple(targets, recurse=False) if each is not None and each.ndim > 1]
    assert len(rows) == (1 if isinstance(codec, Float) else 3 if codec.clip is None else 4)
    assert not any(each[0, 2:].any() for each in rows)


@pytest.mark.parametrize("codec", ALL, ids=repr)
def test_a_damaged_record_of_a_batch_is_refused(codec):
    pytest.importorskip("torch")
    whole, cut = codec.encode(synthetic_block(2, 30)), codec.encode(synthetic_block(3, 30))[:-1]
    with pytest.raises(DamagedData):
        codec.targets([(whole, 2), (cut, 3)], vocab_size=30, device="cpu")


def test_infinity_and_what_is_no_number_are_damage_in_every_kind_of_float():
    for dtype, bits in (("fp32", "<u4"), ("fp16", "<u2"), ("bf16", "<u2")):
        for value in (0x7F800000, 0x7FC00001, 0xFFC00001, 0xFF810000):
            stored = {
                "fp32": value,
                "bf16": value >> 16,
                "fp16": {0x7F800000: 0x7C00, 0x7FC00001: 0x7E01, 0xFFC00001: 0xFE01, 0xFF810000: 0xFC01}[value],
            }
            payload = np.array([0, stored[dtype]], bits).tobytes()
            with pytest.raises(DamagedData, match="some logits are infinite or not numbers"):
                Float(dtype=dtype).decode(payload, tokens=1, vocab_size=2)


def test_planes_without_compression_are_refused():
    with pytest.raises(ValueError, match="planes"):
        Float(planes=True)


def test_planes_are_the_bytes_by_their_place_in_a_float():
    logits_TV = np.array([[1.0, -2.0], [3.5, 0.0]], np.float32)
    raw = zstandard.ZstdDecompressor().decompress(Float(compression="zstd", planes=True).encode(block(logits_TV)))
    interleaved = logits_TV.tobytes()
    assert raw == b"".join(interleaved[place::4] for place in range(4))


def test_planes_make_floats_smaller():
    logits = synthetic_block(20, 5000)
    assert len(Float(compression="zstd", planes=True).encode(logits)) < 0.93 * len(
        Float(compression="zstd").encode(logits)
    )


BOMB = 200 * 2**20


def _bombs():
    zeros = bytes(BOMB)
    unsized = zstandard.ZstdCompressor(write_content_size=False)
    return {
        "lz4": (Float(compression="lz4"), lz4.frame.compress(zeros, store_size=True)),
        "lz4 without a size": (Float(compression="lz4"), lz4.frame.compress(zeros, store_size=False)),
        "lz4 u8": (U8LZ4(), lz4.frame.compress(zeros, store_size=True)),
        "zstd": (Float(compression="zstd"), zstandard.ZstdCompressor().compress(zeros)),
        "zstd without a size": (Float(compression="zstd"), unsized.compress(zeros)),
    }


@pytest.mark.parametrize("name", ["lz4", "lz4 without a size", "lz4 u8", "zstd", "zstd without a size"])
def test_bombs_are_refused_in_little_memory(name):
    codec, payload = _bombs()[name]
    tracemalloc.start()
    try:
        with pytest.raises(DamagedData):
            codec.decode(payload, tokens=3, vocab_size=50)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_frame_that_declares_the_right_size_but_holds_more_is_refused():
    big = bytearray(lz4.frame.compress(bytes(2**20), store_size=True))
    small = lz4.frame.compress(bytes(600), store_size=True)
    big[:15] = small[:15]  # the header, declared size and header checksum included
    with pytest.raises(DamagedData):
        Float(compression="lz4").decode(bytes(big), tokens=3, vocab_size=50)


def test_lz4_that_could_never_grow_so_large_is_refused_before_allocating():
    frame = bytearray(lz4.frame.compress(bytes(600), store_size=True))
    frame = bytes(_redeclared(frame, 2**40))
    with pytest.raises(DamagedData, match="cannot hold"):
        Float(compression="lz4").decode(frame, tokens=2**38 // 1024, vocab_size=1024)


def _redeclared(frame, size):
    """An LZ4 frame that claims another content size, its header checksum put right by trying all 256."""
    for check in range(256):
        forged = frame[:6] + struct.pack("<Q", size) + bytes([check]) + frame[15:]
        try:
            lz4.frame.get_frame_info(bytes(forged))
        except RuntimeError:
            continue
        return forged
    raise AssertionError("no checksum fits")


def test_frames_that_follow_a_frame_are_refused():
    for codec in (U8LZ4(), Float(compression="lz4"), Float(compression="zstd")):
        payload = codec.encode(synthetic_block(2, 30))
        with pytest.raises(DamagedData):
            codec.decode(payload + payload, tokens=2, vocab_size=30)


def test_a_grid_that_no_encoder_writes_is_damage():
    for scale, zero_point in ((0.0, 0.0), (-1.0, 0.0), (float("nan"), 0.0), (1.0, float("inf")), (1e38, 1e38)):
        content = struct.pack("<2f", scale, zero_point) + bytes(5)
        with pytest.raises(DamagedData, match="grid"):
            U8LZ4().decode(lz4.frame.compress(content, store_size=True), tokens=1, vocab_size=5)


@pytest.mark.parametrize("name", json.loads((FIXTURES / "codecs.json").read_text()))
def test_bytes_of_released_formats_decode_for_ever(name):
    facts = json.loads((FIXTURES / "codecs.json").read_text())[name]
    codec = plugins.load().get("codecs", facts["codec"]).load()(**facts["options"])
    named = {name: value for name, value in facts["options"].items() if value is not None}
    assert identity_of(codec) | named == identity_of(codec)
    shape = {"tokens": facts["tokens"], "vocab_size": facts["vocab_size"]}
    decoded_TV = codec.decode((FIXTURES / f"{name}.bin").read_bytes(), **shape)
    assert decoded_TV.astype("<f4").tobytes() == (FIXTURES / f"{name}.f32").read_bytes()


def test_eight_bits_take_about_a_quarter_of_the_room_of_fp32():
    given_block = synthetic_block(10, 5000)
    assert len(U8LZ4().encode(given_block)) < 0.26 * len(Float().encode(given_block))


@attrs.frozen(kw_only=True)
class Broken(Float):
    """A codec with one fault, to see that the conformance check finds it."""

    fault: str = "none"

    def targets(self, records, *, vocab_size, device):
        if self.fault == "another order":
            records = sorted(records, key=lambda record: record[1])
        if self.fault == "forgives damage":
            records = [(payload.ljust(4 * tokens * vocab_size, b"\0"), tokens) for payload, tokens in records]
        targets = super().targets(records, vocab_size=vocab_size, device=device)
        if self.fault == "targets off":
            return attrs.evolve(targets, logits_BTV=targets.logits_BTV * 1.001)
        if self.fault == "room":
            return attrs.evolve(targets, logits_BTV=targets.logits_BTV.new_zeros(len(records), 9, vocab_size))
        return targets

    def encode(self, block):
        if self.fault == "longer than promised":
            return Float(compression="none").encode(block) + bytes(100)
        if self.fault == "changes its input":
            block.logits_TV[...] += 1
        if self.fault == "random bytes":
            return super().encode(block) + np.random.default_rng().bytes(8)
        return super().encode(block)

    def decode(self, payload, *, tokens, vocab_size):
        if self.fault in ("longer than promised", "random bytes"):
            payload = payload[: 4 * tokens * vocab_size]
        if self.fault == "takes any length":
            payload = payload[: 4 * tokens * vocab_size].ljust(4 * tokens * vocab_size, b"\0")
        if self.fault == "another error":
            return np.frombuffer(payload, "<f4").reshape(tokens, vocab_size)
        decoded_TV = super().decode(payload, tokens=tokens, vocab_size=vocab_size)
        if self.fault == "float64":
            return decoded_TV.astype(np.float64)
        return decoded_TV * np.float32(1.5) if self.fault == "off" else decoded_TV


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("longer than promised", "bytes_per_token promises"),
        ("changes its input", "changes the logits"),
        ("random bytes", "different bytes"),
        ("takes any length", "instead of raising DamagedData"),
        ("another error", r"block as \d+ x \d+ logits with \w+ instead of DamagedData"),
        ("float64", "instead of float32"),
        ("off", "stated bound"),
        ("another order", "and their records"),
        ("forgives damage", "half a payload"),
        ("targets off", "not what it decodes"),
        ("room", "have room for 9 rows"),
    ],
)
def test_the_conformance_check_names_the_broken_promise(fault, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_codec(Broken(fault=fault), bound=relative_bound(0))


def test_the_fixtures_of_the_pytest_plugin_give_blocks(teacher_block, make_teacher_block):
    assert teacher_block.logits_TV.shape == (5, 50)
    assert (make_teacher_block(5, 50).logits_TV == teacher_block.logits_TV).all()


def test_components_and_the_kit_import_nothing_heavy():
    modules = "kdkit.testing.pytest_plugin, kdkit.builtin.codecs.u8_lz4, kdkit.builtin.codecs.float_, kdkit.cli.cache"
    heavy = ("numpy", "torch", "lz4", "zstandard", "safetensors", "hypothesis")
    code = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
