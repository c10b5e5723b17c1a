"""Damage: every flipped bit, cut, and misplaced file is noticed, and named."""

from __future__ import annotations

import random
import shutil

import pytest
from cache_kit import fill, key, shards
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.errors import DamagedData, KdkitError, UsageError
from kdkit.logits.cache import LogitCache, verify

NUMBERS = range(9)


def read_all(folder):
    cache = LogitCache.open(folder, codec=U8LZ4())
    return {k: cache.decode(k).tobytes() for k in cache}


def is_noticed(folder):
    """By reading it, and by verifying it."""
    try:
        read_all(folder)
    except KdkitError:
        by_reading = True
    else:
        by_reading = False
    try:
        return by_reading, bool(verify(folder))
    except UsageError:
        return by_reading, True


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    fill(folder, NUMBERS)
    assert len(shards(folder)) > 1
    return folder


def parts(folder):
    return [*shards(folder), folder / "manifest.json"]


def test_a_whole_cache_has_no_faults(whole):
    assert verify(whole) == []
    assert len(read_all(whole)) == len(NUMBERS)


def test_every_flipped_bit_is_noticed(whole, tmp_path):
    """Bits anywhere in every file, and each fortieth of the first shard's header and of the manifest."""
    random_bits = random.Random(0)
    folder = tmp_path / "flipped"
    shutil.copytree(whole, folder)
    places = []
    for path in parts(folder):
        size = path.stat().st_size
        places += [(path, random_bits.randrange(8 * size)) for _ in range(100)]
        if path.name in ("manifest.json", "shard-00000.safetensors"):
            places += [(path, bit) for bit in range(random_bits.randrange(40), 8 * min(size, 1100), 40)]
    assert len(places) > 500
    missed = []
    for path, bit in places:
        original = path.read_bytes()
        flipped = bytearray(original)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        if is_noticed(folder) != (True, True):
            missed.append((path.name, bit // 8, bit % 8))
        path.write_bytes(original)
    assert missed == []
    assert verify(folder) == []


@given(data=st.data())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_cut_and_every_addition_is_noticed(whole, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cut")
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    path = data.draw(st.sampled_from(parts(folder)))
    raw = path.read_bytes()
    cut = data.draw(st.integers(0, len(raw)))
    path.write_bytes(raw[:cut] if cut < len(raw) else raw + data.draw(st.binary(min_size=1, max_size=9)))
    assert is_noticed(folder) == (True, True)


def test_swapped_shards_are_noticed(tmp_path):
    fill(tmp_path, NUMBERS)
    one, two = shards(tmp_path)[:2]
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)
    assert is_noticed(tmp_path) == (True, True)
    assert {fault.file for fault in verify(tmp_path)} >= {one.name, two.name}


def test_a_shard_of_a_like_cache_is_noticed(tmp_path):
    fill(tmp_path / "one", NUMBERS)
    fill(tmp_path / "two", range(9, 18))
    shutil.copy(shards(tmp_path / "two")[0], shards(tmp_path / "one")[0])
    assert is_noticed(tmp_path / "one") == (True, True)


def test_a_shard_of_another_teacher_is_named(tmp_path):
    fill(tmp_path / "one", NUMBERS)
    fill(tmp_path / "two", NUMBERS, teacher="f" * 64, teacher_name="other-teacher")
    shutil.copy(shards(tmp_path / "two")[0], shards(tmp_path / "one")[0])
    assert any("other-teacher" in str(fault) for fault in verify(tmp_path / "one"))


@pytest.mark.parametrize("change", ["renamed", "missing"])
def test_a_shard_that_is_gone_is_named(tmp_path, change):
    fill(tmp_path, NUMBERS)
    path = shards(tmp_path)[1]
    if change == "renamed":
        path.rename(tmp_path / "shard-00077.safetensors")
    else:
        path.unlink()
    assert is_noticed(tmp_path) == (True, True)
    assert [(fault.file, fault.what) for fault in verify(tmp_path)] == [(path.name, "the file is missing")]


def test_damage_of_a_record_names_shard_and_record_and_what_to_do(tmp_path):
    fill(tmp_path, NUMBERS, shard_bytes=10**6)
    path = shards(tmp_path)[0]
    raw = bytearray(path.read_bytes())
    payload = LogitCache.open(tmp_path).get(key(4))[0]
    raw[raw.index(payload) + 20] ^= 4
    path.write_bytes(raw)
    cache = LogitCache.open(tmp_path)
    with pytest.raises(
        KdkitError,
        match=r"shard-00000\.safetensors: record 4 is damaged: .*`kdkit cache repair .*`.*the recipe again",
    ):
        cache.decode(key(4))
    assert cache.decode(key(3)).shape == (3, 40)
    assert [(fault.file, fault.record) for fault in verify(tmp_path)] == [(path.name, 4)]


def test_verify_goes_on_after_a_fault(tmp_path):
    fill(tmp_path, NUMBERS)
    for path in shards(tmp_path)[:2]:
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
    assert {fault.file for fault in verify(tmp_path)} == {path.name for path in shards(tmp_path)[:2]}


def test_files_that_the_manifest_does_not_name_are_no_fault(tmp_path):
    """They are of a capture that is still going on, into the same cache."""
    fill(tmp_path, NUMBERS)
    fill(tmp_path, range(20, 30), finish=False)
    assert verify(tmp_path) == []
    assert len(read_all(tmp_path)) == len(NUMBERS)


def test_a_shard_that_is_a_device_is_named_once(tmp_path):
    """It was named twice, by what reads files and by what knows the shard."""
    fill(tmp_path / "c", range(2))
    shard = shards(tmp_path / "c")[0]
    shard.unlink()
    shard.symlink_to("/dev/zero")
    with pytest.raises(DamagedData, match=rf"^{shard} is a device, but kdkit reads only regular files; .*; run `kdkit"):
        read_all(tmp_path / "c")
    assert [str(fault) for fault in verify(tmp_path / "c")] == [
        f"{shard.name}: is a device, but kdkit reads only regular files; put a regular file in its place"
    ]
