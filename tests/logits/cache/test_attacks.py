"""Attacks on a cache: flipped bits, cuts, files in the wrong place.

`test_cache_bombs.py` has the forgeries whose checksums are right.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from cache_forgery import KINDS, forge_shard, parts, relist, states
from cache_kit import key, shards
from click.testing import CliRunner

from kdkit.cli.cache import command
from kdkit.errors import DamagedData, Mismatch, UsageError
from kdkit.logits.cache import CacheWriter, LogitCache, verify
from kdkit.logits.cache.format import read_shard
from kdkit.logits.cache.state import write_state

NUMBERS = range(9)
FLIPS = 400
CUTS = 50


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture(scope="module")
def whole(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    kind.fill(folder, NUMBERS)
    assert len(shards(folder)) > 1
    assert verify(folder) == []
    return folder


@pytest.fixture
def victim(whole, tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "victim"))


def reading_fails(kind, folder):
    """The message of the one error that reading everything ends with; "" if it goes well."""
    try:
        kind.read_all(folder)
    except DamagedData as error:
        return str(error)
    return ""


def where(path, place):
    """The record that a byte of a file belongs to; None outside payloads."""
    if not path.name.startswith("shard-"):
        return None
    shard = read_shard(path)
    ends = shard.offsets_M + shard.payload_start
    return next((i for i in range(shard.records) if ends[i] <= place < ends[i + 1]), None)


def wrongs(kind, folder, path, record):
    """What is not as it should be about how damage at one place is noticed."""
    message, faults = reading_fails(kind, folder), verify(folder)
    if path.name not in message:
        yield f"reading says {message!r}"
    if record is not None and not re.search(rf"\brecord {record} is damaged", message):
        yield f"reading does not name record {record}: {message!r}"
    if [(fault.file, fault.record) for fault in faults] != [(path.name, record)]:
        yield f"verify says {[str(fault) for fault in faults]}"


def test_every_random_flip_is_noticed_and_named(kind, victim):
    chosen = random.Random(400)
    sizes = {path: path.stat().st_size for path in parts(victim)}
    missed, hit = [], set()
    for _ in range(FLIPS):
        path = chosen.choices(list(sizes), list(sizes.values()))[0]
        bit = chosen.randrange(8 * sizes[path])
        record = where(path, bit // 8)
        original = path.read_bytes()
        flipped = bytearray(original)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        missed += [(path.name, bit, wrong) for wrong in wrongs(kind, victim, path, record)]
        path.write_bytes(original)
        hit |= {path.name.split("-")[0], record}
    assert missed == []
    assert {"shard", "manifest.json", None, 0, 1} <= hit
    assert ("state" in hit) == bool(states(victim))
    assert verify(victim) == []


def test_the_command_ends_with_4_and_names_the_place(kind, victim):
    path = shards(victim)[0]
    raw = bytearray(path.read_bytes())
    place = read_shard(path).payload_start + 5
    raw[place] ^= 1
    record = where(path, place)
    path.write_bytes(raw)
    result = CliRunner().invoke(command, ["verify", "--json", str(victim)])
    assert result.exception.exit_code == 4
    assert [(fault["file"], fault["record"]) for fault in json.loads(result.output)["faults"]] == [(path.name, record)]


@pytest.mark.parametrize("bit", range(8))
def test_a_flip_in_the_digit_of_a_version_is_damage_and_not_a_newer_version(kind, victim, bit):
    """ "2" and "3" are one bit apart: the manifest knows better."""
    path = shards(victim)[0]
    raw = bytearray(path.read_bytes())
    raw[raw.index(b'"version":"') + 11] ^= 1 << bit
    path.write_bytes(raw)
    assert list(wrongs(kind, victim, path, None)) == []


def test_every_cut_is_noticed_and_named(kind, victim):
    chosen = random.Random(50)
    missed = []
    for path in parts(victim):
        original = path.read_bytes()
        places = {0, 1, 7, 8, 9, len(original) - 1, *(chosen.randrange(len(original)) for _ in range(CUTS))}
        for place in places:
            path.write_bytes(original[:place])
            missed += [(path.name, place, wrong) for wrong in wrongs(kind, victim, path, None)]
        path.write_bytes(original)
    assert missed == []


@pytest.mark.parametrize("addition", [b"\0", b"\n", b"{}", bytes(5000)])
def test_trailing_bytes_are_noticed_and_named(kind, victim, addition):
    for path in parts(victim):
        original = path.read_bytes()
        path.write_bytes(original + addition)
        assert list(wrongs(kind, victim, path, None)) == []
        path.write_bytes(original)


def test_any_two_files_that_change_places_are_named(kind, victim):
    files = parts(victim)
    for one, other in [(files[0], files[1]), (files[0], files[-1]), (files[-2], files[-1])]:
        kept = one.read_bytes(), other.read_bytes()
        one.write_bytes(kept[1])
        other.write_bytes(kept[0])
        assert reading_fails(kind, victim)
        assert {fault.file for fault in verify(victim)} & {one.name, other.name}
        one.write_bytes(kept[0])
        other.write_bytes(kept[1])
    assert verify(victim) == []


def test_every_file_that_is_missing_is_named(kind, victim):
    for path in parts(victim)[:-1]:
        kept = path.read_bytes()
        path.unlink()
        assert list(wrongs(kind, victim, path, None)) == []
        path.write_bytes(kept)


@pytest.mark.parametrize(
    "changes",
    [{"teacher": "f" * 64}, {"tokenizer": "f" * 64}, {"codec_options": {"other": 1}}, {"vocab_size": 39}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_shard_of_another_teacher_tokenizer_or_codec_is_damage_and_named(kind, victim, tmp_path, changes):
    path = shards(victim)[0]
    shard = read_shard(path)
    forge_shard(path, [(key(0), b"anything", 1)], kind.identity(**changes), shard.state)
    assert list(wrongs(kind, victim, path, None)) == []
    assert "it belongs to another cache" in str(verify(victim)[0])


@pytest.mark.parametrize("changes", [{"teacher": "f" * 64}, {"tokenizer": "f" * 64}, {"codec_options": {"other": 1}}])
def test_a_cache_of_another_teacher_tokenizer_or_codec_is_a_mismatch(kind, tmp_path, changes):
    kind.fill(tmp_path, range(2), **changes)
    with pytest.raises(Mismatch, match=r"big-teacher.*big-teacher"):
        LogitCache.open(tmp_path, kind.identity(), codec=kind.codec)


def test_states_that_change_places_are_named(tmp_path):
    kind = KINDS["fitted"]
    kind.fill(tmp_path, range(3))
    kind.fill(tmp_path / "other", range(3, 6), seed=40)
    for number, path in enumerate(shards(tmp_path / "other")):
        shutil.copy(path, tmp_path / f"shard-{900 + number:05}.safetensors")
    shutil.copy(states(tmp_path / "other")[0], tmp_path)
    relist(tmp_path)
    assert verify(tmp_path) == []
    assert len(kind.read_all(tmp_path)) == 6
    one, other = states(tmp_path)
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    assert {fault.file for fault in verify(tmp_path)} == {one.name, other.name}
    assert re.search(f"{one.name}|{other.name}", reading_fails(kind, tmp_path))


def test_a_shard_that_names_a_state_of_another_is_decoded_with_nothing_else(tmp_path):
    """The records' bytes are right and the state is whole, but they do not belong together: the shard's digest says so."""
    kind = KINDS["fitted"]
    kind.fill(tmp_path, range(3))
    kind.fill(tmp_path / "other", range(3, 6), seed=40)
    shutil.copy(states(tmp_path / "other")[0], tmp_path)
    path = shards(tmp_path)[0]
    raw = path.read_bytes()
    mine, theirs = read_shard(path).state, read_shard(shards(tmp_path / "other")[0]).state
    path.write_bytes(raw.replace(mine.encode(), theirs.encode()))
    assert list(wrongs(kind, tmp_path, path, None)) == []


def test_a_shard_without_the_state_that_its_codec_needs_is_captured_again(tmp_path):
    kind = KINDS["fitted"]
    forge_shard(tmp_path / "shard-00000.safetensors", [(key(0), bytes(160), 1)], kind.identity())
    relist(tmp_path)
    assert "state-" in reading_fails(kind, tmp_path)
    kind.fill(tmp_path, range(3))
    assert len(kind.read_all(tmp_path)) == 3


def test_a_state_that_its_codec_does_not_know_is_captured_again(tmp_path):
    kind = KINDS["fitted"]
    sha256 = write_state(tmp_path, {"other": np.zeros(3, np.float32)})
    forge_shard(tmp_path / "shard-00000.safetensors", [(key(0), bytes(160), 1)], kind.identity(), sha256)
    relist(tmp_path)
    assert "has no mean" in reading_fails(kind, tmp_path)
    kind.fill(tmp_path, range(3))
    assert verify(tmp_path) == []
    assert len(kind.read_all(tmp_path)) == 3


def test_whole_shards_that_changed_places_are_kept(kind, victim):
    """The manifest is wrong about them, but their records are what they were."""
    before = kind.payloads(victim)
    one, two = shards(victim)[:2]
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)
    notes = []
    with CacheWriter(victim, kind.identity(), kind.codec, 600, note=notes.append) as writer:
        assert writer.done_keys == set(before)
        writer.finish()
    assert len(notes) == 2
    assert all("intact and of the same teacher, so its records are kept" in note for note in notes)
    assert verify(victim) == []
    assert kind.payloads(victim) == before


def test_a_writer_takes_a_flipped_version_for_damage_where_a_manifest_says_so(kind, victim):
    path = shards(victim)[0]
    path.write_bytes(path.read_bytes().replace(b'"version":"2"', b'"version":"3"'))
    notes = []
    with CacheWriter(victim, kind.identity(), kind.codec, 600, note=notes.append) as writer:
        assert len(writer.done_keys) < len(NUMBERS)
    assert "its format version is newer than that of the manifest" in notes[0]


def test_the_files_of_others_are_left_alone(kind, victim):
    (victim / "state-dict.safetensors").write_bytes(b"mine")
    (victim / "shard-one.safetensors").write_bytes(b"mine too")
    kind.fill(victim, NUMBERS)
    assert (victim / "state-dict.safetensors").read_bytes() == b"mine"
    assert (victim / "shard-one.safetensors").read_bytes() == b"mine too"


def test_a_number_too_many_is_refused_before_anything_is_written(kind, victim):
    """A shard of ten digits would be found by nobody."""
    before = kind.payloads(victim)
    shards(victim)[0].rename(victim / "shard-999999999.safetensors")
    (victim / "manifest.json").unlink()
    with pytest.raises(UsageError, match="after which no other can follow"):
        kind.fill(victim, range(20))
    shards(victim)[-1].rename(victim / "shard-00000.safetensors")
    kind.fill(victim, NUMBERS)
    assert kind.payloads(victim) == before
