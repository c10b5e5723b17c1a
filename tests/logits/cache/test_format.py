"""The bytes of a cache: readable by others, and hostile ones refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import tracemalloc
import zlib
from pathlib import Path

import attrs
import lz4.frame
import numpy as np
import pytest
from cache_forgery import TYPES, forge_index, relist, remanifest
from cache_kit import fill, join_shard, key, shards, split_shard
from make_fixtures import logits
from safetensors import numpy as safetensors_numpy
from safetensors import safe_open

from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.errors import DamagedData, UsageError
from kdkit.logits.cache import LogitCache, record_key, verify
from kdkit.logits.cache.format import read_shard
from kdkit.plugins.fields import identity_of

FIXTURES = Path(__file__).parents[2] / "fixtures"


def read_by_the_document(folder: Path) -> dict[bytes, np.ndarray]:
    """A reader written from docs/cache-format.md alone, for codec u8-lz4 with scope "row"."""
    raw = (folder / "manifest.json").read_bytes()
    body, tail = raw[:-24], raw[-24:]
    assert tail == b'  "crc32": "%08x"\n}\n' % zlib.crc32(body)
    manifest = json.loads(raw)
    assert manifest["format"] == "kdkit-logit-cache"
    assert manifest["version"] in {1, 2}
    identity = manifest["identity"]
    assert identity["codec"] == "u8-lz4"
    assert identity["codec_options"]["scope"] == "row"
    vocab_size = identity["vocab_size"]
    nameless = {name: value for name, value in identity.items() if name != "teacher_name"}
    canonical = json.dumps(nameless, sort_keys=True, separators=(",", ":")).encode()
    assert hashlib.sha256(canonical).hexdigest() == manifest["identity_sha256"]
    found = {}
    for entry in manifest["shards"]:
        shard = (folder / entry["file"]).read_bytes()
        assert len(shard) == entry["size"]
        start = 8 + struct.unpack("<Q", shard[:8])[0]
        header = json.loads(shard[8:start])
        metadata = header.pop("__metadata__")
        assert metadata["identity_sha256"] == manifest["identity_sha256"]
        parts = {
            name: shard[start + table["data_offsets"][0] : start + table["data_offsets"][1]]
            for name, table in header.items()
        }
        index = parts["offsets"] + parts["keys"] + parts["crc32"] + parts["tokens"]
        assert hashlib.sha256(index).hexdigest() == metadata["index_sha256"]
        begin, end = (start + offset for offset in header["payload"]["data_offsets"])
        assert hashlib.sha256(shard[:begin] + shard[end:]).hexdigest() == entry["sha256"]
        arrays = {
            name: np.frombuffer(parts[name], TYPES[table["dtype"]]).reshape(table["shape"])
            for name, table in header.items()
        }
        for i in range(entry["records"]):
            payload = parts["payload"][arrays["offsets"][i] : arrays["offsets"][i + 1]]
            assert zlib.crc32(payload) == arrays["crc32"][i]
            tokens = int(arrays["tokens"][i])
            content = lz4.frame.decompress(payload)
            assert len(content) == 8 * tokens + tokens * vocab_size
            scales = np.array(struct.unpack(f"<{tokens}f", content[: 4 * tokens]), np.float32)
            zero_points = np.array(struct.unpack(f"<{tokens}f", content[4 * tokens : 8 * tokens]), np.float32)
            q = np.frombuffer(content[8 * tokens :], np.uint8).reshape(tokens, vocab_size).astype(np.float32)
            found[arrays["keys"][i].tobytes()] = (q - zero_points[:, None]) * scales[:, None]
    return found


def test_a_reader_written_from_the_document_agrees(tmp_path):
    fill(tmp_path, range(25), codec=U8LZ4())
    cache = LogitCache.open(tmp_path)
    theirs = read_by_the_document(tmp_path)
    assert theirs.keys() == set(cache)
    assert all(theirs[k].tobytes() == cache.decode(k).tobytes() for k in cache)


@pytest.mark.parametrize("version", [1, 2])
def test_golden_caches_are_read_for_ever(version):
    golden = FIXTURES / f"cache-{version}"
    cache = LogitCache.open(golden)
    assert verify(golden) == []
    assert len(cache) == 6
    for tokens in range(6):
        golden_key = record_key("0" * 64, "1" * 64, (5, 6, tokens), tuple(range(tokens)))
        decoded_TV = cache.decode(golden_key)
        assert decoded_TV.shape == (tokens, 50)
        assert np.abs(decoded_TV - logits(tokens, 50)).max(initial=0) <= 16 / 255 / 2 + 1e-5
        assert decoded_TV.tobytes() == read_by_the_document(golden)[golden_key].tobytes()


def test_a_golden_cache_with_a_state_is_read_for_ever():
    golden = FIXTURES / "cache-2-subspace"
    assert verify(golden) == []
    decoded_TV = LogitCache.open(golden).decode(record_key("0" * 64, "1" * 64, (5, 6), (1, 2, 3, 4)))
    expected_TV = np.fromfile(FIXTURES / "subspace-head.f32", "<f4").reshape(4, 50)
    np.testing.assert_allclose(decoded_TV, expected_TV, rtol=1e-5, atol=1e-4)


def test_an_option_that_does_nothing_by_default_changes_no_identity():
    then = LogitCache.open(FIXTURES / "cache-1").identity
    assert attrs.evolve(then, codec_options=identity_of(U8LZ4())).digest == then.digest


def test_shards_are_plain_safetensors_files(tmp_path):
    fill(tmp_path, range(10), shard_bytes=10**6)
    tensors = safetensors_numpy.load_file(shards(tmp_path)[0])
    assert {name: array.dtype.str for name, array in tensors.items()} == {"payload": "|u1", "offsets": "<i8", "keys": "|u1", "crc32": "<u4", "tokens": "<i4"}  # fmt: skip
    assert tensors["keys"][3].tobytes() == key(3)
    with safe_open(shards(tmp_path)[0], "np") as file:
        assert file.metadata()["format"] == "kdkit-logit-cache"


def test_a_shard_in_another_order_of_tensors_is_read(tmp_path):
    fill(tmp_path, range(5), shard_bytes=10**6)
    path = shards(tmp_path)[0]
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    before = read_shard(path)
    safetensors_numpy.save_file(safetensors_numpy.load_file(path), path, metadata)
    after = read_shard(path)
    assert (after.keys_N16 == before.keys_N16).all()
    raw = path.read_bytes()
    assert all(
        zlib.crc32(raw[after.payload_start + one : after.payload_start + other]) == crc32
        for one, other, crc32 in zip(after.offsets_M[:-1], after.offsets_M[1:], after.crc32_N, strict=True)
    )


def _table(header, name, field, value):
    header[name][field] = value


FORGERIES = {
    "begin of 2**63": lambda h: _table(h, "keys", "data_offsets", [2**63, 2**63 + 32]),
    "end of 2**64": lambda h: _table(h, "payload", "data_offsets", [0, 2**64]),
    "end of 2**62": lambda h: _table(h, "payload", "data_offsets", [0, 2**62]),
    "negative begin": lambda h: _table(h, "keys", "data_offsets", [-16, 16]),
    "end before begin": lambda h: _table(h, "keys", "data_offsets", [100, 20]),
    "overlap": lambda h: _table(
        h, "keys", "data_offsets", [h["keys"]["data_offsets"][0] - 8, h["keys"]["data_offsets"][1]]
    ),
    "gap": lambda h: _table(h, "payload", "data_offsets", [0, h["payload"]["data_offsets"][1] - 1]),
    "three offsets": lambda h: _table(h, "keys", "data_offsets", [0, 1, 2]),
    "offsets as texts": lambda h: _table(h, "keys", "data_offsets", ["0", "16"]),
    "offsets as floats": lambda h: _table(h, "keys", "data_offsets", [0.0, 16.0]),
    "offsets as truths": lambda h: _table(h, "keys", "data_offsets", [False, True]),
    "shape of 2**63": lambda h: _table(h, "tokens", "shape", [2**63]),
    "shape of 2**62": lambda h: _table(h, "tokens", "shape", [2**62]),
    "shape that wraps round to right": lambda h: _table(h, "keys", "shape", [2**60 + h["keys"]["shape"][0], 16]),
    "no shape": lambda h: _table(h, "tokens", "shape", []),
    "negative shape": lambda h: _table(h, "tokens", "shape", [-1]),
    "shape of keys": lambda h: _table(h, "keys", "shape", [h["keys"]["shape"][0] * 2, 8]),
    "fewer records": lambda h: _table(h, "tokens", "shape", [h["tokens"]["shape"][0] - 1]),
    "another type": lambda h: _table(h, "tokens", "dtype", "F32"),
    "unknown type": lambda h: _table(h, "tokens", "dtype", "X9"),
    "type as a list": lambda h: _table(h, "tokens", "dtype", ["I32"]),
    "a tensor more": lambda h: h.update(extra={"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}),
    "a tensor less": lambda h: h.pop("crc32"),
    "a tensor that is a list": lambda h: h.update(crc32=[1, 2]),
    "no metadata": lambda h: h.pop("__metadata__"),
    "another format": lambda h: h["__metadata__"].update(format="pt"),
    "no version": lambda h: h["__metadata__"].pop("version"),
    "version zero": lambda h: h["__metadata__"].update(version="0"),
    "version in words": lambda h: h["__metadata__"].update(version="two"),
    "metadata more": lambda h: h["__metadata__"].update(extra="1"),
    "identity in words": lambda h: h["__metadata__"].update(identity="mine"),
    "identity with half a character": lambda h: h["__metadata__"].update(identity='{"teacher": "\\ud800"}'),
    "identity with infinity": lambda h: h["__metadata__"].update(
        identity=h["__metadata__"]["identity"].replace('"level":0', '"level":1e999')
    ),
    "another identity": lambda h: h["__metadata__"].update(
        identity=h["__metadata__"]["identity"].replace("aaaa", "aaab", 1)
    ),
    "another index": lambda h: h["__metadata__"].update(index_sha256="0" * 64),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_header_is_refused_in_little_memory(tmp_path, name):
    fill(tmp_path, range(8), shard_bytes=10**6)
    path = shards(tmp_path)[0]
    header, data = split_shard(path)
    FORGERIES[name](header)
    join_shard(path, header, data)
    _refused(path)
    with pytest.raises(DamagedData, match="shard-00000"):
        LogitCache.open(tmp_path)


RAW_HEADERS = {
    "empty": b"",
    "no JSON": b"{]",
    "not UTF-8": b'{"\xff": 1}',
    "a list": b"[]",
    "blanks first": b'   {"a": 1}',
    "a key twice": b'{"payload": {}, "payload": {}}',
    "NaN": b'{"payload": NaN}',
    "deep": b'{"a":' + b"[" * 50_000,
    "a number of many digits": b'{"a":' + b"9" * 10_000 + b"}",
    "larger than any header": b'{"a": "' + b"x" * 70_000 + b'"}',
}


@pytest.mark.parametrize("name", RAW_HEADERS)
def test_a_header_that_is_none_is_refused_in_little_memory(tmp_path, name):
    fill(tmp_path, range(3), shard_bytes=10**6)
    path = shards(tmp_path)[0]
    join_shard(path, RAW_HEADERS[name], split_shard(path)[1])
    _refused(path)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**40, 70_000])
def test_a_forged_header_length_is_refused_in_little_memory(tmp_path, length):
    fill(tmp_path, range(3), shard_bytes=10**6)
    path = shards(tmp_path)[0]
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    _refused(path)


INDEX_FORGERIES = {
    "first offset": lambda arrays: arrays["offsets"].__setitem__(0, 1),
    "last offset": lambda arrays: arrays["offsets"].__setitem__(-1, 2**62),
    "falling offsets": lambda arrays: arrays["offsets"].__setitem__(2, -5),
    "negative tokens": lambda arrays: arrays["tokens"].__setitem__(0, -1),
}


@pytest.mark.parametrize("name", INDEX_FORGERIES)
def test_a_forged_index_is_refused(tmp_path, name):
    fill(tmp_path, range(5), shard_bytes=10**6)
    forge_index(shards(tmp_path)[0], INDEX_FORGERIES[name])
    _refused(shards(tmp_path)[0])


def test_a_forged_number_of_tokens_is_refused_by_the_codec(tmp_path):
    fill(tmp_path, range(5), shard_bytes=10**6)
    path = shards(tmp_path)[0]
    forge_index(path, lambda arrays: arrays["tokens"].__setitem__(1, 2**31 - 1))
    relist(tmp_path)
    with pytest.raises(DamagedData, match=r"shard-00000\.safetensors: record 1 is damaged: an LZ4 frame of"):
        LogitCache.open(tmp_path).decode(key(1))


def test_a_record_that_stands_twice_is_refused(tmp_path):
    fill(tmp_path, range(5), shard_bytes=10**6)
    shutil.copy(shards(tmp_path)[0], tmp_path / "shard-00001.safetensors")
    relist(tmp_path)
    with pytest.raises(DamagedData, match="twice"):
        LogitCache.open(tmp_path)
    assert any(fault.what == f"its key {key(0).hex()} occurs twice in the cache" for fault in verify(tmp_path))


def test_a_newer_version_is_no_damage(tmp_path):
    fill(tmp_path, range(3), shard_bytes=10**6)
    path = tmp_path / "manifest.json"
    remanifest(path, lambda table: table.update(version=3))
    for attempt in (LogitCache.open, verify):
        with pytest.raises(UsageError, match="update kdkit"):
            attempt(tmp_path)
    header, data = split_shard(shards(tmp_path)[0])
    header["__metadata__"]["version"] = "3"
    join_shard(shards(tmp_path)[0], header, data)
    path.unlink()
    with pytest.raises(UsageError, match="update kdkit"):
        fill(tmp_path, range(3))


MANIFEST_FORGERIES = {
    "another format": lambda m: m.update(format="x"),
    "version in words": lambda m: m.update(version="1"),
    "a field more": lambda m: m.update(extra=1),
    "a field less": lambda m: m.pop("tokens"),
    "shards as a table": lambda m: m.update(shards={}),
    "shard as a number": lambda m: m.update(shards=[1]),
    "totals": lambda m: m.update(records=m["records"] + 1),
    "a way out of the folder": lambda m: m["shards"][0].update(file="../shard-00000.safetensors"),
    "an absolute path": lambda m: m["shards"][0].update(file="/etc/passwd"),
    "a line break in a name": lambda m: m["shards"][0].update(file="shard-00000.safetensors\n"),
    "a shard twice": lambda m: m.update(shards=[m["shards"][0], m["shards"][0]], records=2 * m["shards"][0]["records"], tokens=2 * m["shards"][0]["tokens"], size=2 * m["shards"][0]["size"]),
    "a negative size": lambda m: m["shards"][0].update(size=-1),
    "a vocabulary of none": lambda m: m["identity"].update(vocab_size=0),
    "a vocabulary of many": lambda m: m["identity"].update(vocab_size=2**40),
    "identity": lambda m: m["identity"].update(teacher="c" * 64),
    "identity without a name": lambda m: m["identity"].pop("teacher_name"),
}  # fmt: skip


@pytest.mark.parametrize("name", MANIFEST_FORGERIES)
def test_a_forged_manifest_is_refused(tmp_path, name):
    fill(tmp_path, range(8))
    remanifest(tmp_path / "manifest.json", MANIFEST_FORGERIES[name])
    with pytest.raises(DamagedData, match=r"manifest\.json is damaged"):
        LogitCache.open(tmp_path)
    assert [fault.file for fault in verify(tmp_path)] == ["manifest.json"]


def _refused(path):
    tracemalloc.start()
    try:
        with pytest.raises(DamagedData):
            read_shard(path)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()
