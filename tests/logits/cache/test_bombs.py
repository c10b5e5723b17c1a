"""Records and shards that claim more than they hold: refused as damage, at once, and in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from bombs import zstd_head, zstd_zeros
from cache_forgery import KINDS, forge_index, forge_shard, relist, remanifest
from cache_kit import VOCAB, key, shards

from kdkit.builtin.codecs.parts.frames import zstd_decompress
from kdkit.errors import DamagedData
from kdkit.logits.cache import LogitCache, Manifest, verify
from kdkit.logits.cache.format import read_shard

HELPERS = Path(__file__).parents[2] / "helpers"
LEAST = 200


@pytest.fixture(scope="module")
def exploded():
    """What came of each bomb, in a process that may take 256 MB more than it starts with."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HELPERS), str(HELPERS.parents[1])]),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, str(HELPERS / "bombs.py")], check=True, capture_output=True, text=True, env=environment
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX can limit a process's memory")
def test_every_bomb_is_damage(exploded):
    assert len(exploded) > LEAST
    assert {name: came for name, came in exploded.items() if came["ended"] != "DamagedData"} == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX can limit a process's memory")
def test_every_bomb_is_refused_within_a_second(exploded):
    assert {name: came for name, came in exploded.items() if came["seconds"] > 1} == {}


def test_the_most_that_zstd_can_expand_is_not_taken_for_a_bomb():
    """Blocks of one repeated byte: the bound on the expansion is exact, and no frame that can exist is refused."""
    assert zstd_decompress(zstd_zeros(3, zstd_head(3 * 2**17)), 3 * 2**17) == bytes(3 * 2**17)


@pytest.mark.parametrize("claims", [(2**31 - 1, VOCAB), (3, 2**31 - 1), (2**31 - 1, 2**31 - 1)])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_record_that_claims_gigabytes_is_named(tmp_path, kind, claims):
    """The forger has put every checksum right."""
    tokens, vocab_size = claims
    kind.fill(tmp_path, range(3), shard_bytes=10**6)
    cache = kind.open(tmp_path)
    records = [(k, cache.get(k)[0], tokens) for k in cache]
    forge_shard(shards(tmp_path)[0], records, kind.identity(vocab_size=vocab_size), cache.manifest.shards[0].state)
    relist(tmp_path)
    assert verify(tmp_path) == []
    with pytest.raises(DamagedData, match=r"shard-00000\.safetensors: record 1 is damaged"):
        kind.open(tmp_path).decode(key(1))


def test_records_that_overlap_in_a_forged_index_are_refused(tmp_path):
    KINDS["u8-lz4"].fill(tmp_path, range(5), shard_bytes=10**6)
    path = shards(tmp_path)[0]
    forge_index(path, lambda arrays: arrays["offsets"].__setitem__(3, int(arrays["offsets"][2]) - 1))
    with pytest.raises(DamagedData, match="are not in sequence"):
        read_shard(path)


def test_a_record_that_a_forged_index_moves_is_named(tmp_path):
    """Offsets that rise and end where they must, but not between the records."""
    kind = KINDS["u8-lz4"]
    kind.fill(tmp_path, range(5), shard_bytes=10**6)
    forge_index(shards(tmp_path)[0], lambda arrays: arrays["offsets"].__setitem__(3, int(arrays["offsets"][3]) - 1))
    relist(tmp_path)
    assert [fault.record for fault in verify(tmp_path)] == [2, 3]
    for number in (2, 3):
        with pytest.raises(DamagedData, match=f"record {number} is damaged"):
            kind.open(tmp_path).decode(key(number))


NUMBERS = [2**31, 2**63 - 1, 2**63, 2**64, 2**200, 10**4000, -1, -(2**63), True, None, 1.0, 1e300, "1", [1]]


@pytest.mark.parametrize("field", ["size", "records", "tokens"])
@pytest.mark.parametrize("number", NUMBERS, ids=[str(number)[:12] for number in NUMBERS])
def test_a_forged_number_in_the_manifest_is_damage(tmp_path, field, number):
    """The totals are put right too where the forger can add."""
    KINDS["u8-lz4"].fill(tmp_path, range(2), shard_bytes=10**6)

    def change(table):
        table["shards"][0][field] = table[field] = number

    remanifest(tmp_path / "manifest.json", change)
    assert verify(tmp_path)
    with pytest.raises(DamagedData, match=r"manifest\.json|shard-00000"):
        LogitCache.open(tmp_path)


@pytest.mark.parametrize("depth", [65, 300, 480, 520, 900, 5000, 200_000])
def test_deep_tables_are_damage_and_do_not_exhaust_the_stack(tmp_path, depth):
    KINDS["u8-lz4"].fill(tmp_path, range(2), shard_bytes=10**6)
    path = tmp_path / "manifest.json"
    mark = "#deep#"
    remanifest(path, lambda table: table["identity"].update(codec_options={"level": mark}))
    raw = path.read_bytes().replace(f'"{mark}"'.encode(), b'{"a":' * depth + b"1" + b"}" * depth)
    body = raw[:-24]
    with pytest.raises(DamagedData, match="JSON"):
        Manifest.from_bytes(body + b'  "crc32": "%08x"\n}\n' % zlib.crc32(body))
