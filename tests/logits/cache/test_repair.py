"""Mending a cache: what is whole stays, what is lost is counted, and only that is captured again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cache_kit import fill, flip, join_shard, key, keys_in, records, shards, split_shard, spoil_record, temporaries
from click.testing import CliRunner
from fitted_codec import MeanCodec
from hypothesis import given, settings
from hypothesis import strategies as st
from state_caches import IDENTITY, states
from state_caches import fill as fill_with_state

from kdkit.cli.cache import command
from kdkit.errors import DamagedData, MissingInput
from kdkit.logits.cache import CacheWriter, LogitCache, caches_below, repair, verify
from kdkit.logits.cache.format import read_shard
from kdkit.system.progress import Silent

COUNT = 20
NUMBERS = range(COUNT)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache") / "whole"
    fill(folder, NUMBERS)
    assert len(shards(folder)) >= 4
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "cache")


def mend(folder):
    return repair(folder, progress=Silent())


def refilled(folder: Path, whole: Path, lost: set[bytes]) -> None:
    """A capture that goes on asks for just what is lost, and the cache is as it was."""
    assert {key(number) for number in fill(folder, NUMBERS)} == lost
    assert records(folder) == records(whole)
    assert verify(folder) == []


def test_a_whole_cache_is_left_as_it_is(folder, whole):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    repaired = mend(folder)
    assert (repaired.faults, repaired.kept, repaired.missing, repaired.finished) == ((), COUNT, 0, True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_good_records_of_a_shard_with_a_bad_one_are_kept(folder, whole):
    path = shards(folder)[1]
    lost = spoil_record(path)
    repaired = mend(folder)
    assert [(fault.file, "checksum" in fault.what) for fault in repaired.faults] == [(path.name, True)]
    assert (repaired.kept, repaired.missing, repaired.unknown, repaired.finished) == (COUNT - 1, 1, (), False)
    assert not path.exists()
    assert not (folder / "manifest.json").exists(), "it claims to be complete"
    refilled(folder, whole, {lost})


def test_a_cache_that_lost_records_is_unfinished_until_they_are_captured_again(folder):
    spoil_record(shards(folder)[0])
    mend(folder)
    with pytest.raises(MissingInput, match=rf"has not finished.*`kdkit cache repair {folder} --run RUN_DIR`"):
        LogitCache.open(folder)
    again = mend(folder)
    assert (again.faults, again.finished) == ((), False)


@pytest.mark.parametrize("damage", ["index", "header", "cut", "gone", "empty", "longer"])
def test_a_shard_whose_index_is_damaged_goes_as_a_whole(folder, whole, damage):
    path = shards(folder)[2]
    lost, raw = keys_in(path), path.read_bytes()
    path.unlink()
    if damage != "gone":
        changed = {"index": raw[:-1] + b"\xff", "header": raw[:20] + b"~" + raw[21:], "cut": raw[:-9], "empty": b""}
        path.write_bytes(changed.get(damage, raw + b"more"))
    repaired = mend(folder)
    assert [fault.file for fault in repaired.faults] == [path.name]
    assert (repaired.kept, repaired.missing, repaired.finished) == (COUNT - len(lost), len(lost), False)
    refilled(folder, whole, lost)


def test_a_damaged_manifest_is_made_anew_where_all_shards_are_there(folder, whole):
    path = folder / "manifest.json"
    before = path.read_bytes()
    path.write_bytes(before[:-40])
    repaired = mend(folder)
    assert (repaired.kept, repaired.missing, repaired.finished) == (COUNT, 0, True)
    assert path.read_bytes() == before
    assert records(folder) == records(whole)


def test_a_shard_that_only_the_damaged_manifest_remembers_is_missed(folder, whole):
    flip(folder / "manifest.json", 100)
    lost = keys_in(shards(folder)[-1])
    gone = shards(folder)[-1].name
    (folder / gone).unlink()
    repaired = mend(folder)
    assert (repaired.unknown, repaired.finished) == ((gone,), False)
    assert gone in repaired.lost
    refilled(folder, whole, lost)


def test_an_unfinished_cache_is_mended_and_stays_unfinished(folder, whole):
    (folder / "manifest.json").unlink()
    assert mend(folder).finished is False
    lost = spoil_record(shards(folder)[0])
    repaired = mend(folder)
    assert (repaired.kept, repaired.missing, repaired.finished) == (COUNT - 1, 1, False)
    refilled(folder, whole, {lost})


def test_shards_that_changed_names_are_listed_anew_and_nothing_is_lost(folder, whole):
    one, other = shards(folder)[:2]
    raw = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(raw)
    shards(folder)[2].rename(folder / "shard-00077.safetensors")
    assert verify(folder)
    repaired = mend(folder)
    assert (repaired.kept, repaired.missing, repaired.finished) == (COUNT, 0, True)
    assert len(repaired.faults) == 3
    refilled(folder, whole, set())


def test_a_copy_in_the_place_of_a_shard_replaces_nothing(folder, whole):
    lost = keys_in(shards(folder)[1])
    shards(folder)[1].write_bytes(shards(folder)[0].read_bytes())
    repaired = mend(folder)
    assert (repaired.kept, repaired.missing, repaired.finished) == (COUNT - len(lost), len(lost), False)
    refilled(folder, whole, lost)


def test_of_two_copies_of_a_shard_with_different_damage_all_is_kept(folder, whole):
    """What is damaged in one is whole in the other."""
    path = max(shards(folder), key=lambda path: read_shard(path).records)
    shutil.copy(path, folder / "shard-00050.safetensors")
    spoil_record(path)
    spoil_record(folder / "shard-00050.safetensors", 1)
    repaired = mend(folder)
    assert (repaired.kept, repaired.missing, repaired.finished) == (COUNT, 0, True)
    refilled(folder, whole, set())


def test_the_shard_of_another_teacher_goes(folder, whole, tmp_path):
    fill(tmp_path / "other", range(3), teacher="9" * 64, teacher_name="new-teacher")
    lost = keys_in(shards(folder)[0])
    shutil.copy(shards(tmp_path / "other")[0], shards(folder)[0])
    repaired = mend(folder)
    assert "new-teacher" in repaired.faults[0].what
    refilled(folder, whole, lost)


def test_a_shard_with_another_header_and_whole_records_is_written_again(folder, whole):
    path = shards(folder)[0]
    header, data = split_shard(path)
    join_shard(path, json.dumps(header).encode() + b"   ", data)
    repaired = mend(folder)
    assert (repaired.kept, repaired.missing, repaired.finished) == (COUNT, 0, True)
    assert not path.exists()
    refilled(folder, whole, set())


def test_shards_whose_state_is_damaged_go(tmp_path):
    fill_with_state(tmp_path / "a", range(6))
    fill_with_state(tmp_path / "b", range(6, 12), seed=40)
    for number, path in enumerate(shards(tmp_path / "b")):
        shutil.copy(path, tmp_path / "a" / f"shard-{900 + number:05}.safetensors")
    bad = states(tmp_path / "b")[0]
    shutil.copy(bad, tmp_path / "a")
    fill_with_state(tmp_path / "a", range(12))
    flip(tmp_path / "a" / bad.name, -1)
    repaired = mend(tmp_path / "a")
    assert (repaired.kept, repaired.missing, repaired.finished) == (6, 6, False)
    assert all(bad.name in fault.what for fault in repaired.faults)
    assert len(states(tmp_path / "a")) == 1
    fill_with_state(tmp_path / "a", range(12))
    assert len(LogitCache.open(tmp_path / "a", IDENTITY, codec=MeanCodec())) == 12


@pytest.mark.parametrize("damage", ["gone", "flipped"])
@pytest.mark.parametrize("by", ["repair", "capture"])
def test_whole_shards_without_their_state_are_set_aside_and_can_come_back(tmp_path, damage, by):
    folder, aside = tmp_path / "a", tmp_path / "a" / "damaged"
    fill_with_state(folder, range(6))
    before, names = records(folder), {path.name for path in shards(folder)}
    (state,) = states(folder)
    raw = state.read_bytes()
    if damage == "gone":
        state.unlink()
    else:
        flip(state, -1)
    if by == "repair":
        repaired = mend(folder)
        assert (repaired.kept, repaired.missing, repaired.finished) == (0, 6, False)
        assert all("moved into" in fault.what and "put it back" in fault.what for fault in repaired.faults)
        again = mend(folder)
        assert (again.kept, again.finished) == (0, False)
    else:
        notes: list[str] = []
        with CacheWriter(folder, IDENTITY, MeanCodec(), note=notes.append):
            pass
        assert all("moved into" in note for note in notes)
        assert len(notes) == len(names)
    assert {path.name for path in shards(aside)} == names
    assert (aside / state.name).exists() == (damage == "flipped")
    assert not shards(folder)
    assert caches_below(tmp_path) == [folder]
    (aside / state.name).unlink(missing_ok=True)
    state.write_bytes(raw)
    for path in aside.iterdir():
        path.rename(folder / path.name)
    assert mend(folder).finished
    assert records(folder) == before
    assert verify(folder) == []


def test_without_manifest_and_state_the_cache_does_not_count_as_finished(tmp_path):
    fill_with_state(tmp_path / "a", range(6))
    states(tmp_path / "a")[0].unlink()
    flip(tmp_path / "a" / "manifest.json", 100)
    names = {path.name for path in shards(tmp_path / "a")}
    repaired = mend(tmp_path / "a")
    assert (repaired.kept, set(repaired.unknown), repaired.finished) == (0, names, False)
    assert not (tmp_path / "a" / "manifest.json").exists()


def test_a_shard_that_was_set_aside_keeps_its_number_to_itself(tmp_path):
    fill_with_state(tmp_path / "a", range(6))
    states(tmp_path / "a")[0].unlink()
    mend(tmp_path / "a")
    fill_with_state(tmp_path / "a", range(6))
    names = {path.name for path in shards(tmp_path / "a")}
    assert names.isdisjoint(path.name for path in shards(tmp_path / "a" / "damaged"))


def test_an_unfinished_cache_is_never_said_to_be_whole(folder):
    (folder / "manifest.json").unlink()
    repaired = mend(folder)
    assert (repaired.finished, repaired.missing) == (False, 0)
    assert repaired.lost
    result = run(folder)
    assert isinstance(result.exception, DamagedData)
    assert "--run RUN_DIR" in str(result.exception)


def test_what_nobody_can_read_is_said_to_be_so(tmp_path):
    fill(tmp_path / "a", range(3))
    for path in (tmp_path / "a").iterdir():
        path.write_bytes(b"{}")
    with pytest.raises(DamagedData, match=r"nothing in .* can be saved"):
        mend(tmp_path / "a")
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(MissingInput, match="no logit cache"):
            mend(place)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_after_any_flip_or_cut_a_repair_and_a_capture_give_the_cache_that_was(data, whole, tmp_path_factory):
    folder = shutil.copytree(whole, tmp_path_factory.mktemp("m") / "cache")
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([*shards(folder), folder / "manifest.json"]))
        raw = path.read_bytes()
        place = data.draw(st.integers(0, max(0, len(raw) - 1)))
        if data.draw(st.booleans()):
            path.write_bytes(raw[:place])
        elif raw:
            path.write_bytes(raw[:place] + bytes([raw[place] ^ (1 << data.draw(st.integers(0, 7)))]) + raw[place + 1 :])
    was_whole = verify(folder) == []
    before = {}
    for path in shards(folder):
        try:
            before |= dict.fromkeys(keys_in(path))
        except DamagedData:
            continue
    repaired = mend(folder)
    assert repaired.kept <= len(before)
    assert repaired.finished or repaired.missing or repaired.unknown
    if repaired.finished:
        assert verify(folder) == []
        assert records(folder) == records(whole)
    assert was_whole <= (not repaired.faults)
    lost = {key(number) for number in fill(folder, NUMBERS)}
    assert len(lost) == COUNT - repaired.kept
    assert records(folder) == records(whole)
    assert verify(folder) == []


class Dead(BaseException):
    pass


@pytest.mark.parametrize("step", ["replace", "unlink"])
def test_a_repair_that_dies_anywhere_can_be_done_again(whole, tmp_path, monkeypatch, step):
    real = getattr(Path, step)
    for at in range(1, 40):
        folder = shutil.copytree(whole, tmp_path / f"c{at}")
        lost = {spoil_record(path) for path in shards(folder)[:2]} | keys_in(shards(folder)[3])
        flip(shards(folder)[3], -1)
        calls = []

        def dying(*args, calls=calls, at=at, **options):
            calls.append(args)
            if len(calls) == at:
                raise Dead
            return real(*args, **options)

        with monkeypatch.context() as patched:
            patched.setattr(Path, step, dying)
            try:
                mend(folder)
            except Dead:
                pass
            else:
                assert at > 2
                return
        assert not (folder / "manifest.json").exists() or verify(folder)
        assert mend(folder).kept == COUNT - len(lost)
        assert not temporaries(folder)
        refilled(folder, whole, lost)
    raise AssertionError("it never ends")


# --- the command


def run(*arguments):
    return CliRunner().invoke(command, ["repair", *map(str, arguments)])


def test_the_command_says_what_is_lost_and_ends_with_4(folder):
    spoil_record(shards(folder)[0])
    result = run(folder)
    assert result.stdout == f"repaired: {COUNT - 1} records\n"
    assert f"{shards(folder)[0].name}" not in result.stdout
    assert "record 0: its bytes do not match" in result.stderr or "record 1: its bytes do not match" in result.stderr
    assert isinstance(result.exception, DamagedData)
    assert f"{folder} has lost 1 record; to capture it again, run `kdkit cache repair {folder} --run RUN_DIR`" in str(
        result.exception
    )
    assert "big-teacher" in str(result.exception)
    assert "not finished: 19 records" in run(folder).stdout


def test_the_command_says_that_all_is_well(folder):
    result = run(folder)
    assert (result.exit_code, result.stdout) == (0, f"ok: {COUNT} records; nothing to repair\n")
    table = json.loads(run(folder, "--json").stdout)
    assert (table["finished"], table["records"], table["missing"], table["faults"]) == (True, COUNT, 0, [])


def test_messages_about_damage_name_the_command(folder, tmp_path):
    flip(shards(folder)[0], -1)
    with pytest.raises(
        DamagedData, match=f"`kdkit cache repair {folder}`.*`kdkit cache repair {folder} --run RUN_DIR`"
    ):
        LogitCache.open(folder)
    result = CliRunner().invoke(command, ["verify", str(folder)])
    assert f"`kdkit cache repair` on {folder}" in str(result.exception)
    (folder / "manifest.json").write_bytes(b"{}")
    with pytest.raises(DamagedData, match=f"`kdkit cache repair {folder}`"):
        LogitCache.open(folder)
