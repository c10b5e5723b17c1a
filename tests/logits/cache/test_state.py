"""A codec's state in a cache: kept beside the shards, named by them, and never trusted unseen."""

from __future__ import annotations

import shutil

import attrs
import numpy as np
import pytest
from cache_kit import VOCAB, block, key, shards
from fitted_codec import MeanCodec
from state_caches import IDENTITY, fill, states

from kdkit.api.values import EncodedExample, FactoredTargets
from kdkit.builtin.codecs.subspace import Subspace
from kdkit.data.tokens import collate
from kdkit.errors import DamagedData, MissingInput, UsageError
from kdkit.logits.cache import CacheWriter, LogitCache, merge, repair, verify
from kdkit.logits.cache.state import read_state
from kdkit.logits.targets import CachedTargets
from kdkit.plugins.fields import identity_of
from kdkit.system.progress import Silent
from kdkit.testing import synthetic_head, synthetic_states


def open_cache(folder):
    return LogitCache.open(folder, IDENTITY, codec=MeanCodec())


def check(folder, numbers):
    cache = open_cache(folder)
    assert len(cache) == len(numbers)
    for number in numbers:
        np.testing.assert_allclose(cache.decode(key(number)), block(number).logits_TV, atol=1e-5)


def test_records_are_decoded_with_the_state_they_were_encoded_with(tmp_path):
    fill(tmp_path, range(12))
    assert len(states(tmp_path)) == 1
    assert verify(tmp_path) == []
    check(tmp_path, range(12))


def test_a_cache_that_is_extended_keeps_its_state(tmp_path):
    fill(tmp_path, range(6))
    before = states(tmp_path)[0].read_bytes()
    fill(tmp_path, range(12), seed=40)
    assert [path.read_bytes() for path in states(tmp_path)] == [before]
    check(tmp_path, range(12))


def test_the_digest_of_records_is_that_of_what_they_decode_to(tmp_path):
    for name, seed in (("a", 0), ("same", 0), ("other state", 40)):
        fill(tmp_path / name, range(6), seed=seed)
    digests = [open_cache(tmp_path / name).digest_of_records(map(key, (1, 2))) for name in ("a", "same", "other state")]
    assert digests[0] == digests[1] != digests[2], "what the codec learnt is not in the identity"
    cache = open_cache(tmp_path / "a")
    assert len({cache.digest_of_records(map(key, some)) for some in ((1, 2), (2, 1), (1, 3), (1,))}) == 4
    with pytest.raises(MissingInput):
        cache.digest_of_records([key(7)])


def test_one_cache_may_hold_several_states(tmp_path):
    fill(tmp_path / "a", range(6))
    fill(tmp_path / "b", range(6, 12), seed=40)
    for number, path in enumerate(shards(tmp_path / "b")):
        shutil.copy(path, tmp_path / "a" / f"shard-{900 + number:05}.safetensors")
    shutil.copy(states(tmp_path / "b")[0], tmp_path / "a")
    fill(tmp_path / "a", range(12))
    assert len(states(tmp_path / "a")) == 2
    check(tmp_path / "a", range(12))
    cache = open_cache(tmp_path / "a")
    one, same, other = cache.coders([key(0), key(1), key(11)])
    assert one is same
    assert one is not other


@pytest.mark.parametrize("damage", ["flip", "cut", "lost"])
def test_a_damaged_state_is_noticed_and_what_needs_it_captured_again(tmp_path, damage):
    fill(tmp_path, range(12))
    path = states(tmp_path)[0]
    raw = bytearray(path.read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 4
    path.write_bytes(raw if damage == "flip" else raw[:-1])
    if damage == "lost":
        path.unlink()
    assert [fault.file for fault in verify(tmp_path)] == [path.name]
    with pytest.raises(DamagedData, match=path.name):
        open_cache(tmp_path).decode(key(3))
    notes = []
    fill(tmp_path, range(12), note=notes.append)
    assert all("state that is damaged" in note for note in notes)
    assert verify(tmp_path) == []
    check(tmp_path, range(12))


def test_a_state_that_no_shard_needs_goes(tmp_path):
    with CacheWriter(tmp_path, IDENTITY, MeanCodec(), 600) as writer:
        writer.learn(MeanCodec().fit([block(41)]))
    assert len(states(tmp_path)) == 1
    fill(tmp_path, range(3))
    assert len(states(tmp_path)) == 1
    check(tmp_path, range(3))


def test_a_file_with_the_right_name_and_other_bytes_is_no_state(tmp_path):
    fill(tmp_path, range(3))
    sha256 = open_cache(tmp_path).manifest.states[0]
    states(tmp_path)[0].write_bytes(b"{}")
    with pytest.raises(DamagedData, match="its content does not match its name"):
        read_state(tmp_path, sha256)


def test_a_batch_of_several_states_is_what_its_records_are(tmp_path):
    """With a codec whose targets are factored: over a basis that holds those of all states."""
    head = synthetic_head(VOCAB, 6)
    codec = Subspace()
    own = attrs.evolve(IDENTITY, codec="subspace", codec_options=identity_of(codec))
    for name, seed, numbers in (("a", 0, range(1, 5)), ("b", 7, range(5, 9))):
        with CacheWriter(tmp_path / name, own, codec, 600) as writer:
            writer.learn(codec.fit_head(head, [synthetic_states(50, 6, seed=seed)]))
            for number in numbers:
                writer.add_states(key(number), synthetic_states(number % 4, 6, seed=number))
            writer.finish()
    merge(tmp_path / "a", [tmp_path / "b"], progress=Silent())
    cache = LogitCache.open(tmp_path / "a", own)
    assert len(cache.manifest.states) == 2
    rows = [EncodedExample(id=str(n), source_ids=(1,), target_ids=(2,) * (n % 4)) for n in (7, 2, 1, 6, 3, 8)]
    targets = CachedTargets(cache=cache, keys={row.id: key(int(row.id)) for row in rows}, device="cpu")
    found = targets(collate(rows, pad_id=0))
    assert isinstance(found, FactoredTargets)
    assert found.lengths_B.tolist() == [len(row.target_ids) for row in rows]
    logits_BTV = found.coordinates_BTR @ found.basis_RV + found.offset_V
    for row, logits_TV in zip(rows, logits_BTV, strict=True):
        expected_TV = cache.decode(key(int(row.id)))
        np.testing.assert_allclose(logits_TV[: len(expected_TV)].numpy(), expected_TV, atol=1e-4)


def test_a_link_in_place_of_damaged_moves_nothing_out_of_the_cache(tmp_path):
    folder, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    fill(folder, range(6))
    states(folder)[0].unlink()
    elsewhere.mkdir()
    (folder / "damaged").symlink_to(elsewhere)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(UsageError, match=r"damaged is a link to .*elsewhere, outside .*delete the link"):
        repair(folder, progress=Silent())
    assert list(elsewhere.iterdir()) == []
    assert sorted(path.name for path in folder.iterdir()) == before
