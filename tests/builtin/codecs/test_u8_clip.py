"""`u8-lz4` with `clip`: what is within it, what is beyond, and the mass of that. Letters: T target tokens, V vocabulary."""

from __future__ import annotations

import struct

import hypothesis.extra.numpy as hnp
import lz4.frame
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kdkit.api.values import Grid, TeacherBlock
from kdkit.builtin.codecs.u4_lz4 import U4LZ4
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.errors import DamagedData, UsageError
from kdkit.testing import synthetic_block

SCOPES = ("row", "array")
LOGITS = hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 40)), elements=st.floats(-60, 60, width=32))
# Rows further from each other than a clip is wide: one grid for all of them has wider steps.
APART = np.array([[45.0], [42.0], [43.0]], np.float32)


def block(logits_TV, grid=None):
    return TeacherBlock(id="row 7", logits_TV=np.ascontiguousarray(logits_TV, np.float32), grid=grid)


def there_and_back(codec, logits_TV, grid=None):
    return codec.decode(codec.encode(block(logits_TV, grid)), tokens=len(logits_TV), vocab_size=logits_TV.shape[1])


def log_softmax(logits_TV):
    x_TV = logits_TV.astype(np.float64)
    x_TV = x_TV - x_TV.max(axis=1, keepdims=True)
    return x_TV - np.log(np.exp(x_TV).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("scope", SCOPES)
@given(logits_TV=LOGITS, clip=st.floats(0.01, 100))
@example(logits_TV=APART, clip=0.01)
@settings(max_examples=150, deadline=None)
def test_log_probabilities_within_the_clip_are_off_by_one_step_at_most(scope, logits_TV, clip):
    kept_TV = logits_TV >= logits_TV.max(axis=1, keepdims=True).astype(np.float64) - clip
    decoded_TV = there_and_back(U8LZ4(scope=scope, clip=clip), logits_TV)
    low = logits_TV[kept_TV].min()
    scale = clip / 254 if scope == "row" else (float(logits_TV.max()) - float(low)) / 254
    error_TV = np.abs(log_softmax(decoded_TV) - log_softmax(logits_TV))
    assert error_TV[kept_TV].max() <= scale + 1e-4


@pytest.mark.parametrize("scope", SCOPES)
@given(logits_TV=LOGITS, clip=st.floats(0.01, 30))
@example(logits_TV=APART, clip=0.01)
@settings(max_examples=150, deadline=None)
def test_the_sum_of_exponentials_beyond_the_clip_is_kept(scope, logits_TV, clip):
    x_TV = logits_TV.astype(np.float64)
    beyond_TV = x_TV < x_TV.max(axis=1, keepdims=True) - clip
    decoded_TV = there_and_back(U8LZ4(scope=scope, clip=clip), logits_TV).astype(np.float64)
    for x_V, decoded_V, beyond_V in zip(x_TV, decoded_TV, beyond_TV, strict=True):
        if beyond_V.any():
            assert len(set(decoded_V[beyond_V])) == 1
            assert np.exp(decoded_V[beyond_V]).sum() == pytest.approx(np.exp(x_V[beyond_V]).sum(), rel=1e-5)


def test_a_clip_wider_than_every_row_keeps_all_of_them_apart():
    logits_TV = synthetic_block(4, 60).logits_TV
    step = (logits_TV.max(axis=1) - logits_TV.min(axis=1)) / 254
    error_TV = np.abs(there_and_back(U8LZ4(clip=1e6), logits_TV) - logits_TV)
    assert (error_TV.max(axis=1) <= step / 2 + 1e-5).all()


@given(value=st.floats(-(2.0**126), 2.0**126, width=32), shape=st.tuples(st.integers(1, 4), st.integers(1, 9)))
@settings(max_examples=60, deadline=None)
def test_constant_rows_are_exact(value, shape):
    logits_TV = np.full(shape, value, np.float32)
    for scope in SCOPES:
        assert (there_and_back(U8LZ4(scope=scope, clip=1.0), logits_TV) == logits_TV).all()


def test_a_row_s_maximum_is_kept_however_far_the_others_are_below():
    logits_TV = np.array([[9e37, -9e37, 0.0], [5.0, -9e37, -9e37]], np.float32)
    decoded_TV = there_and_back(U8LZ4(clip=3.0), logits_TV)
    assert decoded_TV.argmax(axis=1).tolist() == [0, 0]
    assert decoded_TV[:, 0].tolist() == logits_TV[:, 0].tolist()


@pytest.mark.parametrize("kind", [U4LZ4, U8LZ4])
@pytest.mark.parametrize("clip", [None, 40.0])
def test_logits_too_far_from_0_for_a_grid_are_refused_and_not_made_one(kind, clip):
    """Float32's rounding of the zero point may be as much as lies between them; where it is not, they are kept."""
    draw, step, refused = np.random.default_rng(0), (clip or kind.deepest) / (2**kind.bits - 2), {}
    for base in (1e3, 1e6, 1e7, 1e8, -1e8, 1e9, 1e38):
        for _ in range(5):
            logits_TV = (base + 10 * draw.normal(size=(2, 40))).astype(np.float32)
            kept_TV = logits_TV >= logits_TV.max(axis=1, keepdims=True).astype(float) - (clip or kind.deepest)
            try:
                decoded_TV = there_and_back(kind(clip=clip), logits_TV)
            except UsageError:
                refused[base] = logits_TV
            else:
                assert np.abs(decoded_TV - logits_TV)[kept_TV].max() <= step
    assert refused.keys() <= {1e6, 1e7, 1e8, -1e8, 1e9}
    said = r"target token [01] of example 'row 7' span [\d.]+ around .* up to .* off, where a step of at most"
    with pytest.raises(UsageError, match=said):
        there_and_back(kind(clip=clip), refused.popitem()[1])


def test_the_layout_is_grids_then_tails_then_codes():
    logits_TV = np.array([[10.0, 0.0, 8.0, 1.0]], np.float32)
    content = lz4.frame.decompress(U8LZ4(clip=5.0).encode(block(logits_TV)))
    scale, zero_point, tail = struct.unpack("<3f", content[:12])
    assert list(content[12:]) == [255, 0, 1, 0]
    assert scale == pytest.approx(2 / 254)
    assert (0 - zero_point) * scale == pytest.approx(8.0)
    assert tail == pytest.approx(np.log((1 + np.e) / 2))


def test_a_grid_that_came_with_the_logits_is_not_used():
    logits_TV = np.arange(12, dtype=np.float32).reshape(3, 4)
    codec = U8LZ4(clip=2.0)
    assert codec.encode(block(logits_TV, Grid(scale=1.0, zero_point=0.0))) == codec.encode(block(logits_TV))


def test_clipped_logits_are_smaller():
    given_block = synthetic_block(10, 5000)
    assert len(U8LZ4(clip=10.0, level=9).encode(given_block)) < 0.1 * len(U8LZ4(level=9).encode(given_block))


def test_no_clip_takes_no_room_for_tails():
    given_block = synthetic_block(3, 50)
    plain = lz4.frame.decompress(U8LZ4().encode(given_block))
    clipped = lz4.frame.decompress(U8LZ4(clip=4.0).encode(given_block))
    assert (len(plain), len(clipped)) == (3 * 8 + 150, 3 * 12 + 150)


@pytest.mark.parametrize("tail", [float("nan"), float("inf")])
def test_a_tail_that_no_encoder_writes_is_damage(tail):
    content = struct.pack("<3f", 1.0, 0.0, tail) + bytes(5)
    with pytest.raises(DamagedData, match="clipped"):
        U8LZ4(clip=1.0).decode(lz4.frame.compress(content, store_size=True), tokens=1, vocab_size=5)


@pytest.mark.parametrize("clip", [0.0, -3.0])
def test_a_clip_that_is_not_positive_is_refused(clip):
    with pytest.raises(ValueError, match="clip"):
        U8LZ4(clip=clip)
