"""Reading a cache: what was written comes back, from any thread, for the right owner only."""

from __future__ import annotations

import hashlib
import json
import random
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import attrs
import numpy as np
import pytest
from cache_kit import VOCAB, block, fill, identity, key, shards
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.errors import DamagedData, Mismatch, MissingInput, UsageError
from kdkit.logits.cache import CacheIdentity, LogitCache, Manifest, ShardEntry, record_key

CODECS = [U8LZ4(), U8LZ4(scope="array"), Float(), Float(dtype="fp16", compression="zstd")]


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@given(numbers=st.lists(st.integers(0, 30), max_size=20), shard_bytes=st.sampled_from([1, 300, 1000, 10**6]))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_comes_back(tmp_path_factory, codec, numbers, shard_bytes):
    folder = tmp_path_factory.mktemp("cache")
    fill(folder, numbers, codec=codec, shard_bytes=shard_bytes)
    cache = LogitCache.open(folder, identity(codec))
    assert len(cache) == len(set(numbers))
    assert set(cache) == {key(number) for number in numbers}
    for number in numbers:
        expected = codec.encode(block(number))
        assert cache.get(key(number)) == (expected, number % 5)
        assert cache.tokens(key(number)) == number % 5
        decoded_TV = cache.decode(key(number))
        assert (decoded_TV == codec.decode(expected, tokens=number % 5, vocab_size=VOCAB)).all()


def test_order_does_not_matter(tmp_path):
    numbers = list(range(20))
    fill(tmp_path / "one", numbers)
    random.Random(3).shuffle(numbers)
    fill(tmp_path / "two", numbers, shard_bytes=100)
    one, two = LogitCache.open(tmp_path / "one"), LogitCache.open(tmp_path / "two")
    assert {k: one.get(k) for k in one} == {k: two.get(k) for k in two}


def test_the_codec_is_made_from_the_manifest_alone(tmp_path):
    codec = Float(dtype="bf16", compression="zstd", level=5)
    fill(tmp_path, range(3), codec=codec)
    assert LogitCache.open(tmp_path).codec == codec


def test_options_that_the_installed_codec_does_not_know_are_a_mismatch(tmp_path):
    fill(tmp_path, range(3), codec_options={"scope": "row", "colour": "red"})
    cache = LogitCache.open(tmp_path)
    with pytest.raises(Mismatch, match="does not have the options"):
        cache.decode(key(1))


def test_info_tells_what_is_there(tmp_path):
    fill(tmp_path, range(10))
    cache = LogitCache.open(tmp_path)
    info = cache.info()
    assert (info["records"], info["tokens"], info["vocab_size"], info["codec"]) == (10, 20, VOCAB, "u8-lz4")
    assert info["bytes"] == sum(path.stat().st_size for path in shards(tmp_path))
    assert cache.keys.shape == (10, 16)
    assert key(3) in cache
    assert key(11) not in cache


@pytest.mark.parametrize(
    "changes", [{"teacher": "c" * 64}, {"tokenizer": "c" * 64}, {"codec": "float"}, {"codec_options": {"scope": "array", "level": 0}}, {"vocab_size": 41}],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_another_identity_is_refused_with_both_names(tmp_path, changes):
    fill(tmp_path, range(3))
    asked = attrs.evolve(identity(), teacher_name="small-teacher", **changes)
    with pytest.raises(Mismatch, match=r"big-teacher.*small-teacher"):
        LogitCache.open(tmp_path, asked)


@given(
    halves=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), unique=True, max_size=24),
    wanted=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=20),
)
def test_keys_that_share_their_first_half_are_told_apart(halves, wanted):
    """Digests do not; but somebody may make such a cache."""
    from kdkit.logits.cache.format import Shard
    from kdkit.logits.cache.index import Index

    keys = [struct.pack(">QQ", high << 61, low) for high, low in halves]
    count = len(keys)
    shard = Shard(
        file="shard-00000.safetensors",
        size=0,
        identity=identity(),
        state="",
        payload_start=0,
        offsets_M=np.arange(count + 1),
        keys_N16=np.frombuffer(b"".join(keys), np.uint8).reshape(count, 16),
        crc32_N=np.zeros(count, np.uint32),
        tokens_N=np.arange(count, dtype=np.int32),
        sha256="",
    )
    index = Index.of([shard])
    assert not index.repeated()
    for high, low in [*halves, *wanted]:
        place = halves.index((high, low)) if (high, low) in halves else None
        assert index.find(struct.pack(">QQ", high << 61, low)) == place
    if keys:
        assert Index.of([shard, attrs.evolve(shard, keys_N16=shard.keys_N16[::-1])]).repeated()


@given(
    teacher_name=st.text(max_size=12),
    options=st.dictionaries(st.text(max_size=4), st.text(max_size=4) | st.integers(), max_size=3),
    sizes=st.tuples(st.integers(0, 2**40), st.integers(0, 2**20)),
    state=st.sampled_from(["", "c" * 64]),
    change=st.none()
    | st.tuples(st.integers(0, 10**4), st.sampled_from([b"", b"0", b" ", b'"', b"\\", b"\xe9", b"[", b","])),
)
def test_a_header_is_read_alike_in_both_ways(teacher_name, options, sizes, state, change):
    """The quick way is for headers that kdkit wrote; of one that was changed it says the same, or nothing."""
    from kdkit.logits.cache.header import _any_header, _own_header, header_bytes

    payload, records = sizes
    try:
        owner = identity(teacher_name=teacher_name, codec_options=options)
        header = header_bytes(owner, state, payload, records, "d" * 64)[8:]
    except UnicodeEncodeError:
        return
    room = payload + 8 * (records + 1) + (16 + 4 + 4) * records
    if change is None:
        assert _own_header(header, room) == _any_header(header, room)
        assert _own_header(header, room).identity == owner
        assert _own_header(header, room + 1) is None
        return
    place, new = change[0] % len(header), change[1]
    changed = header[:place] + new + header[place + 1 :]
    try:
        quick = _own_header(changed, room)
    except DamagedData:
        with pytest.raises(DamagedData):
            _any_header(changed, room)
    else:
        assert quick is None or quick == _any_header(changed, room)


def test_another_human_name_is_the_same_identity(tmp_path):
    fill(tmp_path, range(3))
    renamed = identity(teacher_name="./models/big-teacher")
    assert renamed == identity()
    assert renamed.digest == identity().digest
    assert len(LogitCache.open(tmp_path, renamed)) == 3


def test_a_record_that_is_not_there_is_named(tmp_path):
    fill(tmp_path, range(3))
    with pytest.raises(MissingInput, match=key(9).hex()):
        LogitCache.open(tmp_path).get(key(9))


def test_an_unfinished_or_absent_cache_is_missing(tmp_path):
    with pytest.raises(MissingInput, match="no logit cache"):
        LogitCache.open(tmp_path / "nowhere")
    fill(tmp_path, range(3), finish=False)
    with pytest.raises(MissingInput, match="has not finished"):
        LogitCache.open(tmp_path)


def test_threads_read_at_once(tmp_path):
    fill(tmp_path, range(60), shard_bytes=1000)
    cache = LogitCache.open(tmp_path)
    wanted = [number for number in range(60) for _ in range(5)]
    random.Random(0).shuffle(wanted)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: cache.decode(key(number)), wanted))
    alone = {number: cache.decode(key(number)) for number in range(60)}
    assert all((decoded_TV == alone[number]).all() for number, decoded_TV in zip(wanted, found, strict=True))


def test_a_shard_that_goes_away_after_opening_is_damage(tmp_path):
    fill(tmp_path, range(10))
    cache = LogitCache.open(tmp_path)
    shards(tmp_path)[0].unlink()
    with pytest.raises(DamagedData, match=r"shard-00000\.safetensors: record 0 is damaged: the file was deleted"):
        cache.get(key(0))


@given(
    rows=st.lists(
        st.tuples(st.text(max_size=3), st.text(max_size=3), st.lists(st.integers(0, 5), max_size=3), st.lists(st.integers(0, 5), max_size=3)),
        max_size=12,
    )
)  # fmt: skip
def test_keys_are_equal_only_for_equal_content(rows):
    keyed = {(teacher, tokenizer, tuple(source), tuple(target)) for teacher, tokenizer, source, target in rows}
    assert len({record_key(*row) for row in keyed}) == len(keyed)
    assert all(len(record_key(*row)) == 16 for row in keyed)


def test_the_key_of_a_record_never_changes():
    assert record_key("teacher", "tokenizer", (1, 2, 3), (4, -1)).hex() == "a45adebaaa4cc0fc118b3833f7cdd981"


def test_an_identity_survives_its_table():
    one = identity(Float(compression="zstd", level=4))
    assert CacheIdentity.from_table(one.to_table()) == one


def test_a_teacher_name_that_no_header_takes_is_refused(tmp_path):
    with pytest.raises(UsageError, match="64 KiB"):
        fill(tmp_path, range(2), teacher_name="x" * 70_000)


OPEN_MANY = """
import json, random, statistics, sys, time
from pathlib import Path
from kdkit.logits.cache import LogitCache

def reading(cache):
    keys = [cache.keys[number].tobytes() for number in random.Random(0).choices(range(len(cache)), k=2000)]
    seconds = []
    for key in keys:
        started = time.perf_counter()
        payload, tokens = cache.get(key)
        seconds.append(time.perf_counter() - started)
        assert (payload, tokens) == (key[:4], 3)
    return statistics.median(seconds)

few = reading(LogitCache.open(Path(sys.argv[1])))
started = time.perf_counter()
cache = LogitCache.open(Path(sys.argv[2]))
opened = time.perf_counter() - started
# Not ru_maxrss: that begins with the peak of the process that started this one.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"records": len(cache), "opened": opened, "peak": int(peak.split()[1]) / 1024, "slower": reading(cache) / few}))
"""


def make_large(folder, number_of_shards, records):
    """A cache made at one go: a writer takes its time for each record."""
    from kdkit.logits.cache.format import shard_name
    from kdkit.logits.cache.header import header_bytes, header_room

    folder.mkdir()
    random_bytes = np.random.default_rng(0)
    entries = []
    for number in range(number_of_shards):
        keys = random_bytes.bytes(16 * records)
        payloads = [keys[start : start + 4] for start in range(0, 16 * records, 16)]
        offsets = np.arange(0, 4 * records + 4, 4, dtype="<i8")
        crc32 = np.array([zlib.crc32(payload) for payload in payloads], "<u4")
        index = offsets.tobytes() + keys + crc32.tobytes() + np.full(records, 3, "<i4").tobytes()
        digest = hashlib.sha256(index).hexdigest()
        header = header_bytes(identity(), "", 4 * records, records, digest, room=header_room(identity()))
        (folder / shard_name(number)).write_bytes(raw := header + b"".join(payloads) + index)
        sha256 = hashlib.sha256(header + index).hexdigest()
        entry = {"file": shard_name(number), "size": len(raw), "records": records, "tokens": 3 * records}
        entries.append(ShardEntry(**entry, sha256=sha256))
    Manifest(identity=identity(), shards=tuple(entries)).write(folder)


@pytest.mark.slow
def test_a_million_records_in_thousands_of_shards_open_quickly_in_little_memory_and_are_read_as_quickly_as_few(
    tmp_path,
):
    """The time bounds have room for a busy machine: opening takes less than a second on an idle one."""
    make_large(tmp_path / "few", 4, 250)
    make_large(tmp_path / "many", 4000, 250)
    command = [sys.executable, "-c", OPEN_MANY, str(tmp_path / "few"), str(tmp_path / "many")]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found["records"] == 10**6
    assert found["opened"] < 10
    assert found["peak"] < 300
    assert found["slower"] < 10
