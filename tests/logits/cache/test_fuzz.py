"""Whatever stands in a cache's files, their checksums right or wrong: reading ends in a documented error or in logits."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import shutil
import struct

import numpy as np
import pytest
from cache_forgery import INDEX, KINDS, forge_shard, manifest_bytes, relist, split_index
from cache_kit import join_shard, shards
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdkit.errors import DamagedData, Mismatch, MissingInput, UsageError
from kdkit.logits.cache import LogitCache, Manifest, verify
from kdkit.logits.cache.format import read_shard
from kdkit.logits.cache.state import pack_state, read_state, state_name
from kdkit.system.digests import canonical_json

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXTS = ["", "1", "3", "U8", "I64", "F64", "BF16", "F8_E4M3", "F4", "C64", "\ud800", "\0", "mean", "../x"]
NUMBERS = st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 16, 40, 2**31 - 1, 2**31, 2**32, 2**60, 2**63 - 1, 2**63, 2**64])
VALUES = st.recursive(
    NUMBERS | st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
SHARD_ERRORS = (DamagedData, UsageError)
CACHE_ERRORS = (DamagedData, UsageError, Mismatch, MissingInput)


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in items:
        yield from places(child, (*path, name))


def mutate(draw, table):
    """A copy with some values replaced, removed, moved or added."""
    table = copy.deepcopy(table)
    for _ in range(draw(st.integers(1, 3))):
        every = [path for path in places(table) if path]
        if not every:
            break
        *path, last = draw(st.sampled_from(every))
        parent = table
        for name in path:
            parent = parent[name]
        match draw(st.sampled_from(["replace", "number", "remove", "swap", "add"])):
            case "replace":
                parent[last] = draw(VALUES)
            case "number":
                parent[last] = draw(NUMBERS)
            case "remove":
                del parent[last]
            case "swap":
                other = draw(st.sampled_from(list(parent) if isinstance(parent, dict) else range(len(parent))))
                parent[last], parent[other] = parent[other], parent[last]
            case "add" if isinstance(parent, dict):
                parent[draw(st.text(max_size=4))] = parent[last]
            case "add":
                parent.append(parent[last])
    return table


def mutate_arrays(draw, arrays):
    arrays = {name: array.copy() for name, array in arrays.items()}
    for _ in range(draw(st.integers(0, 3))):
        array = arrays[draw(st.sampled_from(sorted(arrays)))]
        if array.size:
            place = draw(st.integers(0, array.size - 1))
            array[place] = np.int64(np.uint64(draw(NUMBERS) % 2**64).view(np.int64)).astype(array.dtype)
    return arrays


@pytest.fixture(autouse=True)
def no_syncs(monkeypatch):
    """They take most of the time, and no power is cut here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture(scope="module")
def whole(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    kind.fill(folder, range(5), shard_bytes=10**6)
    return folder


@pytest.fixture
def victim(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "victim", dirs_exist_ok=True)


def read_everything(kind, folder):
    """Open, decode, verify: each of them may only fail as documented."""
    with contextlib.suppress(*CACHE_ERRORS):
        verify(folder)
    with contextlib.suppress(*CACHE_ERRORS):
        cache = LogitCache.open(folder, codec=kind.codec)
        assert len(cache) == len(list(cache))
        for k in cache:
            with contextlib.suppress(DamagedData):
                logits_TV = cache.decode(k)
                assert logits_TV.shape == (cache.tokens(k), cache.vocab_size)
    with contextlib.suppress(*CACHE_ERRORS):
        LogitCache.open(folder, kind.identity(), codec=kind.codec)


@FUZZ
@given(data=st.data())
def test_no_forged_shard_does_other_than_documented(kind, whole, victim, data):
    path = shards(victim)[0]
    header, arrays = split_index(whole / path.name)
    arrays = mutate_arrays(data.draw, arrays)
    if data.draw(st.booleans()):
        header = mutate(data.draw, header)
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if isinstance(metadata, dict):
        if data.draw(st.booleans()):
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
                owner = mutate(data.draw, json.loads(metadata["identity"]))
                nameless = {name: value for name, value in owner.items() if name != "teacher_name"}
                metadata["identity"] = canonical_json(owner)
                metadata["identity_sha256"] = hashlib.sha256(canonical_json(nameless).encode()).hexdigest()
        if data.draw(st.integers(0, 9)):
            index = b"".join(arrays[name].tobytes() for name in INDEX)
            metadata["index_sha256"] = hashlib.sha256(index).hexdigest()
    content = b"".join(arrays[name].tobytes() for name in ("payload", *INDEX))
    join_shard(path, header, content + data.draw(st.sampled_from([b"", b"", b"", b"\0"])))
    try:
        read_shard(path)
    except SHARD_ERRORS:
        pass
    else:
        relist(victim)
    read_everything(kind, victim)


@FUZZ
@given(data=st.data())
def test_no_forged_manifest_does_other_than_documented(kind, whole, victim, data):
    table = mutate(data.draw, json.loads((whole / "manifest.json").read_bytes()))
    raw = manifest_bytes(table)
    with contextlib.suppress(*SHARD_ERRORS):
        Manifest.from_bytes(raw)
    (victim / "manifest.json").write_bytes(raw)
    read_everything(kind, victim)


@FUZZ
@given(data=st.data())
def test_no_forged_state_does_other_than_documented(tmp_path, data):
    """Its SHA-256 is the one that is asked for."""
    original = pack_state({"mean": np.arange(40, dtype=np.float32), "step": np.ones((), np.float64)})
    length = struct.unpack("<Q", original[:8])[0]
    header = mutate(data.draw, json.loads(original[8 : 8 + length]))
    raw = json.dumps(header).encode()
    claimed = data.draw(st.sampled_from([len(raw), len(raw), len(raw), len(raw) - 1, 2**63, 2**64 - 1, 0]))
    raw = struct.pack("<Q", claimed) + raw + original[8 + length :] + data.draw(st.binary(max_size=3))
    sha256 = hashlib.sha256(raw).hexdigest()
    (tmp_path / state_name(sha256)).write_bytes(raw)
    with contextlib.suppress(DamagedData):
        arrays = read_state(tmp_path, sha256)
        assert all(isinstance(array, np.ndarray) for array in arrays.values())
    (tmp_path / state_name(sha256)).unlink()


@FUZZ
@given(raw=st.binary(max_size=200))
def test_no_bytes_do_other_than_documented(tmp_path, raw):
    with pytest.raises(SHARD_ERRORS):
        Manifest.from_bytes(raw)
    path = tmp_path / "shard-00000.safetensors"
    for content in (raw, struct.pack("<Q", len(raw)) + raw, struct.pack("<Q", len(raw) // 2) + raw):
        path.write_bytes(content)
        with pytest.raises(SHARD_ERRORS):
            read_shard(path)


@FUZZ
@given(data=st.data())
def test_no_forged_payload_does_other_than_documented(kind, whole, victim, data):
    """Any bytes with the right CRC, and any number of tokens."""
    cache = kind.open(whole)
    records = []
    for k in cache:
        payload, tokens = cache.get(k)
        raw = bytearray(payload)
        for _ in range(data.draw(st.integers(0, 2))):
            place = data.draw(st.integers(0, len(raw)))
            raw[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        records.append((k, bytes(raw), data.draw(st.sampled_from([tokens, tokens, 0, 1, 2**31 - 1]))))
    forge_shard(shards(victim)[0], records, cache.identity, cache.manifest.shards[0].state)
    relist(victim)
    assert verify(victim) == []
    read_everything(kind, victim)
