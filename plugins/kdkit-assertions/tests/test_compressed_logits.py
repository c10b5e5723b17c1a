"""The decoder of the thesis's compressed logits."""

from __future__ import annotations

import copy
import math

import lz4.frame
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kdkit.errors import DamagedData
from kdkit_assertions import decode_compressed_logits
from kdkit_assertions.compressed_logits import CompressedLogits
from kdkit_assertions.testing import encode_logits

shapes = st.tuples(st.just(1), st.integers(1, 6), st.integers(1, 40))
fractions = st.integers(-300 * 64, 300 * 64).map(lambda number: number / 64)
arrays = shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=fractions))
encodings = st.sampled_from(["lz4", "none"])


def random_logits(shape=(1, 7, 33), seed=0):
    return np.random.default_rng(seed).normal(0, 5, shape).astype(np.float32)


@settings(deadline=None)
@given(arrays, st.sampled_from([4, 8]), encodings)
def test_quantised_logits_come_back_within_half_a_step(logits, bits, encoding):
    obj = encode_logits(logits, bits, encoding)
    back = decode_compressed_logits(obj)
    assert (back.dtype, back.shape) == (np.float32, logits.shape)
    rounding = 4e-6 * (1 + abs(obj["zero_point"])) * obj["scale"]
    assert np.abs(back - logits).max() <= obj["scale"] / 2 + rounding


@settings(deadline=None)
@given(arrays, encodings)
def test_floats_come_back_exactly(logits, encoding):
    assert np.array_equal(decode_compressed_logits(encode_logits(logits, 32, encoding)), logits)
    half = logits.astype(np.float16)
    assert np.array_equal(decode_compressed_logits(encode_logits(logits, 16, encoding)), half.astype(np.float32))


@settings(deadline=None)
@given(arrays, st.sampled_from([4, 8, 16, 32]), st.integers(0, 8))
def test_the_first_rows_alone_are_those_of_the_whole(logits, bits, rows):
    obj = encode_logits(logits, bits)
    read, grid = CompressedLogits.parse(obj).read(rows)
    assert np.array_equal(read, decode_compressed_logits(obj)[0, :rows])
    assert (grid is None) == (bits > 8)


@settings(deadline=None)
@given(arrays.filter(lambda logits: np.ptp(logits) >= 1), st.sampled_from([4, 8]))
def test_logits_lie_on_the_grid_that_is_told(logits, bits):
    read, grid = CompressedLogits.parse(encode_logits(logits, bits)).read(99)
    steps = np.rint(read / np.float32(grid.scale) + np.float32(grid.zero_point))
    assert steps.min() >= 0
    assert steps.max() <= 2**bits - 1
    assert np.array_equal((steps - np.float32(grid.zero_point)) * np.float32(grid.scale), read)


def test_the_even_index_is_the_low_half_of_a_byte():
    obj = {
        "format": "lz4", "bits": 4, "packed": True, "shape": [1, 1, 3], "scale": 0.5, "zero_point": 2.0,
        "data_encoded": {"encoding": "none", "data": "f103", "original_size": 2, "compressed_size": 2},
    }  # fmt: skip
    # 0xf1 is 1, then 15; 0x03 is 3, then the zero that was appended
    assert decode_compressed_logits(obj).tolist() == [[[-0.5, 6.5, 0.5]]]


def test_dequantising_is_float32_arithmetic():
    scale, zero_point = 0.1, 100.3
    obj = {
        "bits": 8, "shape": [1, 1, 256], "scale": scale, "zero_point": zero_point,
        "data_encoded": {"encoding": "none", "data": bytes(range(256)).hex()},
    }  # fmt: skip
    # as NumPy computes a float32 array minus a Python float times a Python float
    expected = (np.arange(256, dtype=np.uint8).astype(np.float32) - zero_point) * scale
    assert expected.dtype == np.float32
    assert np.array_equal(decode_compressed_logits(obj)[0, 0], expected)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_hex_gives_logits_of_the_shape_or_damaged_data(data):
    logits = random_logits(seed=data.draw(st.integers(0, 9)))
    obj = encode_logits(logits, data.draw(st.sampled_from([4, 8, 16, 32])), data.draw(encodings))
    digits = list(obj["data_encoded"]["data"])
    for _ in range(data.draw(st.integers(0, 3))):
        digits[data.draw(st.integers(0, len(digits) - 1))] = data.draw(st.sampled_from("0123456789abcdef xé"))
    del digits[data.draw(st.integers(0, len(digits))) :]
    digits += data.draw(st.sampled_from(["", "0", "00", "04224d18"]))
    obj["data_encoded"]["data"] = "".join(digits)
    try:
        back = decode_compressed_logits(obj)
    except DamagedData:
        return
    assert back.shape == logits.shape
    assert np.isfinite(back).all()


@pytest.mark.parametrize("encoding", ["lz4", "none"])
@pytest.mark.parametrize("bits", [4, 8, 16, 32])
def test_every_cut_is_noticed(bits, encoding):
    obj = encode_logits(random_logits(), bits, encoding)
    digits = obj["data_encoded"]["data"]
    for cut in range(0, len(digits), 7):
        obj["data_encoded"]["data"] = digits[:cut]
        with pytest.raises(DamagedData):
            decode_compressed_logits(obj)


WRONG = {
    "no object": lambda obj: 3,
    "bits 5": lambda obj: obj | {"bits": 5},
    "bits as text": lambda obj: obj | {"bits": "8"},
    "bits true": lambda obj: obj | {"bits": True},
    "no bits": lambda obj: {k: v for k, v in obj.items() if k != "bits"},
    "no shape": lambda obj: obj | {"shape": None},
    "empty shape": lambda obj: obj | {"shape": []},
    "zero in shape": lambda obj: obj | {"shape": [1, 0, 33]},
    "float in shape": lambda obj: obj | {"shape": [1, 7.0, 33]},
    "larger shape": lambda obj: obj | {"shape": [1, 8, 33]},
    "smaller shape": lambda obj: obj | {"shape": [1, 6, 33]},
    "enormous shape": lambda obj: obj | {"shape": [1, 10**9, 10**9]},
    "no scale": lambda obj: {k: v for k, v in obj.items() if k != "scale"},
    "scale 0": lambda obj: obj | {"scale": 0},
    "scale nan": lambda obj: obj | {"scale": math.nan},
    "scale past float32": lambda obj: obj | {"scale": 1e300},
    "scale past float64": lambda obj: obj | {"scale": 10**400},
    "zero point as text": lambda obj: obj | {"zero_point": "0"},
    "zero point infinite": lambda obj: obj | {"zero_point": math.inf},
    "no data": lambda obj: obj | {"data_encoded": None},
    "data no text": lambda obj: obj | {"data_encoded": {"encoding": "lz4", "data": [1]}},
    "zlib": lambda obj: obj | {"data_encoded": obj["data_encoded"] | {"encoding": "zlib"}},
    "blanks in hex": lambda obj: obj | {"data_encoded": obj["data_encoded"] | {"data": "04 22"}},
    "lz4 said, raw stored": lambda obj: obj | {"data_encoded": {"encoding": "lz4", "data": "00" * 231}},
    "two frames": lambda obj: obj | {"data_encoded": obj["data_encoded"] | {"data": obj["data_encoded"]["data"] * 2}},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_sentence(name):
    obj = WRONG[name](copy.deepcopy(encode_logits(random_logits(), 8)))
    with pytest.raises(DamagedData) as caught:
        decode_compressed_logits(obj)
    message = str(caught.value)
    assert "compressed_logits" in message
    assert len(message) < 250
    assert "\n" not in message


def test_4_bit_values_are_packed_with_a_zero_after_an_odd_count():
    obj = encode_logits(random_logits((1, 1, 3)), 4, "none")
    with pytest.raises(DamagedData, match="always packed"):
        decode_compressed_logits(obj | {"packed": False})
    digits = obj["data_encoded"]["data"]
    with pytest.raises(DamagedData, match="no zero after the last"):
        decode_compressed_logits(obj | {"data_encoded": {"encoding": "none", "data": digits[:2] + "1" + digits[3]}})


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bits, value):
    logits = random_logits()
    logits[0, -1, -1] = value
    with pytest.raises(DamagedData, match="not finite"):
        decode_compressed_logits(encode_logits(logits, bits))


def test_a_frame_that_expands_beyond_its_shape_is_never_expanded(monkeypatch):
    import tracemalloc

    bomb = lz4.frame.compress(bytes(200_000_000)).hex()
    obj = encode_logits(random_logits(), 8) | {"data_encoded": {"encoding": "lz4", "data": bomb}}
    tracemalloc.start()
    with pytest.raises(DamagedData, match="larger than the 231 bytes expected"):
        decode_compressed_logits(obj)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * len(bomb)


def test_rows_need_the_shape_of_one_example():
    for shape in [(2, 3, 5), (5,)]:
        logits = CompressedLogits.parse(encode_logits(random_logits(shape)))
        with pytest.raises(DamagedData, match=r"not \[1, tokens, vocabulary\]"):
            logits.read(1)
    assert CompressedLogits.parse(encode_logits(random_logits((3, 5)))).read(2)[0].shape == (2, 5)


def test_the_checksum_tells_logits_apart():
    logits = random_logits()
    changed = logits.copy()
    changed[0, 0, 0] = changed.max()
    sums = {CompressedLogits.parse(encode_logits(array, bits)).crc32 for array in (logits, changed) for bits in (8, 32)}
    assert len(sums) == 4
    scaled = encode_logits(logits, 8)
    assert CompressedLogits.parse(scaled | {"scale": scaled["scale"] * 2}).crc32 not in sums
