"""Joining caches: all records once, bit for bit, whatever the parts share and wherever a merge is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from cache_kit import VOCAB, block, fill, flip, key, records, shards, temporaries
from cache_kit import identity as identity_of
from click.testing import CliRunner
from fitted_codec import MeanCodec
from hypothesis import given, settings
from hypothesis import strategies as st
from state_caches import IDENTITY
from state_caches import fill as fill_with_state

from kdkit.api.values import EncodedExample
from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.cli.cache import command
from kdkit.data.encoded_rows import EncodedRows
from kdkit.data.row_keys import RowKeys
from kdkit.errors import DamagedData, Mismatch, MissingInput, UsageError
from kdkit.logits.cache import CacheWriter, LogitCache, Part, first_rows, merge, take_parts, verify
from kdkit.logits.cache.mending import take_parts as parts_module
from kdkit.system.progress import Silent
from kdkit.testing import synthetic_block


def join(out, *parts):
    return merge(out, parts, progress=Silent())


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Three parts of twenty records; the last two share some."""
    folder = tmp_path_factory.mktemp("parts")
    fill(folder / "a", range(7))
    fill(folder / "b", range(7, 15))
    fill(folder / "c", range(10, 20))
    fill(folder / "whole", range(20))
    return folder


def test_the_joined_cache_holds_every_record_of_its_parts_once(parts, tmp_path):
    merged = join(tmp_path / "out", *(parts / name for name in "abc"))
    assert records(tmp_path / "out") == records(parts / "whole")
    assert verify(tmp_path / "out") == []
    assert merged.repeated == 5
    assert merged.shards >= 3
    assert merged.manifest.records == 20


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sets(st.integers(0, 11), max_size=6), min_size=1, max_size=3), st.sets(st.integers(0, 11)))
def test_merging_is_the_union_of_what_was_there_and_what_comes(tmp_path_factory, numbers, before):
    folder = tmp_path_factory.mktemp("m")
    names = []
    for number, members in enumerate(numbers):
        names.append(folder / f"p{number}")
        fill(names[-1], sorted(members), shard_bytes=300)
    if before:
        fill(folder / "out", sorted(before), shard_bytes=300)
    join(folder / "out", *names)
    expected = set(before).union(*numbers)
    assert set(records(folder / "out")) == {key(number) for number in expected}
    assert verify(folder / "out") == []
    for number in expected:
        assert LogitCache.open(folder / "out").tokens(key(number)) == number % 5
    join(folder / "out", *names)
    assert len(LogitCache.open(folder / "out")) == len(expected)


def test_the_parts_stay_as_they_are_and_their_shards_are_shared(parts, tmp_path):
    before = {path: path.read_bytes() for path in (parts / "a").iterdir()}
    join(tmp_path / "out", parts / "a")
    assert {path: path.read_bytes() for path in (parts / "a").iterdir()} == before
    assert [path.stat().st_ino for path in shards(tmp_path / "out")] == [
        path.stat().st_ino for path in shards(parts / "a")
    ]


def test_where_links_are_not_to_be_had_shards_are_copied(parts, tmp_path, monkeypatch):
    def no_links(*_args):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    join(tmp_path / "out", parts / "a", parts / "c")
    assert records(tmp_path / "out") == records(parts / "a") | records(parts / "c")
    assert shards(tmp_path / "out")[0].stat().st_ino != shards(parts / "a")[0].stat().st_ino


def test_states_travel_with_the_shards_that_need_them(tmp_path):
    fill_with_state(tmp_path / "a", range(6))
    fill_with_state(tmp_path / "b", range(4, 12), seed=40)
    join(tmp_path / "out", tmp_path / "a", tmp_path / "b")
    assert verify(tmp_path / "out") == []
    assert len(list((tmp_path / "out").glob("state-*"))) == 2
    cache = LogitCache.open(tmp_path / "out", IDENTITY, codec=MeanCodec())
    assert len(cache) == 12
    for number in range(12):
        assert abs(cache.decode(key(number)) - block(number).logits_TV).sum() < 1e-3
    fill_with_state(tmp_path / "out", range(14))
    assert len(LogitCache.open(tmp_path / "out")) == 14


def test_caches_of_two_teachers_are_refused_with_both_names(parts, tmp_path):
    fill(tmp_path / "other", range(3), teacher="9" * 64, teacher_name="new-teacher")
    with pytest.raises(Mismatch, match=r"big-teacher.*new-teacher"):
        join(tmp_path / "out", parts / "a", tmp_path / "other")
    assert not (tmp_path / "out").exists()
    with pytest.raises(Mismatch, match=r"new-teacher.*big-teacher"):
        join(tmp_path / "other", parts / "a")
    fill(tmp_path / "codec", range(3), codec=Float())
    with pytest.raises(Mismatch, match=r"u8-lz4.*float"):
        join(tmp_path / "out", parts / "a", tmp_path / "codec")


def test_a_damaged_part_is_refused_naming_file_and_record_before_anything_is_written(parts, tmp_path):
    shutil.copytree(parts / "c", tmp_path / "c")
    path = shards(tmp_path / "c")[1]
    from kdkit.logits.cache.format import read_shard

    shard = read_shard(path)
    number = next(n for n in range(shard.records) if shard.offsets_M[n] < shard.offsets_M[n + 1])
    flip(path, shard.payload_start + int(shard.offsets_M[number]))
    with pytest.raises(DamagedData, match=rf"{path.name} record {number}: .*cache repair"):
        join(tmp_path / "out", parts / "a", tmp_path / "c")
    assert not (tmp_path / "out").exists()


def test_an_unfinished_part_and_the_cache_itself_are_refused(parts, tmp_path):
    fill(tmp_path / "some", range(3), finish=False)
    with pytest.raises(MissingInput, match="has not finished"):
        join(tmp_path / "out", tmp_path / "some")
    with pytest.raises(UsageError, match="give it once"):
        join(parts / "a", parts / "b", parts / "c" / ".." / "a")


def test_a_damaged_cache_is_not_merged_into(parts, tmp_path):
    """A writer would throw the damaged shard away, and nobody would capture its records again."""
    shutil.copytree(parts / "a", tmp_path / "out")
    flip(shards(tmp_path / "out")[0], -1)
    with pytest.raises(DamagedData, match="cache repair"):
        join(tmp_path / "out", parts / "b")
    assert len(shards(tmp_path / "out")) == len(shards(parts / "a"))


class Dead(BaseException):
    pass


@pytest.mark.parametrize("step", ["fsync", "replace", "link"])
def test_a_merge_that_dies_anywhere_leaves_what_was_there_and_goes_on(parts, tmp_path, monkeypatch, step):
    fill(tmp_path / "start", range(2))
    owner = Path if step == "replace" else os
    real = getattr(owner, step)
    for at in range(1, 40):
        out = shutil.copytree(tmp_path / "start", tmp_path / f"out{at}")
        calls = []

        def dying(*args, calls=calls, at=at):
            calls.append(args)
            if len(calls) == at:
                raise Dead
            return real(*args)

        with monkeypatch.context() as patched:
            patched.setattr(owner, step, dying)
            try:
                join(out, parts / "a", parts / "c")
            except Dead:
                pass
            else:
                assert at > 2
                return
        assert set(records(out)) >= {key(0), key(1)}
        assert verify(out) == []
        join(out, parts / "a", parts / "c")
        assert set(records(out)) == {key(number) for number in [*range(7), *range(10, 20)]}
        assert not temporaries(out)
    raise AssertionError("it never ends")


KILLED = """
import os, signal, sys
from pathlib import Path
from kdkit.logits.cache import merge
from kdkit.system.progress import Silent

calls, real = [], os.fsync

def killing(descriptor):
    calls.append(descriptor)
    if len(calls) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(descriptor)

os.fsync = killing
merge(Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]], progress=Silent())
"""


@pytest.mark.parametrize("at", [2, 5])
def test_a_merge_that_is_killed_goes_on(parts, tmp_path, at):
    names = [str(parts / "b"), str(parts / "c")]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(at), str(tmp_path / "out"), *names], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out" / "manifest.json").exists()
    join(tmp_path / "out", parts / "b", parts / "c")
    assert records(tmp_path / "out") == records(parts / "b") | records(parts / "c")
    assert verify(tmp_path / "out") == []
    assert not temporaries(tmp_path / "out")


# --- parts beside a cache


def test_a_part_is_named_by_its_index_and_their_number():
    part = Part.parse("2/12")
    assert (part.index, part.count, part.suffix) == (2, 12, "2-of-12")
    assert part.folder(Path("logits") / "d") == Path("logits") / "d.part-2-of-12"


@pytest.mark.parametrize("text", ["", "3", "3/3", "1/0", "-1/2", "1/2/3", "a/b", "1 /2", "01/2", "\u0663/\u0665"])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(UsageError, match="is not a part of a capture"):
        Part.parse(text)


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), max_size=12), st.integers(1, 7))
def test_parts_share_all_keys_out_and_none_has_anothers(groups, count):
    rows = [
        [EncodedExample(id=f"{g}.{n}", source_ids=(number,), target_ids=()) for n, number in enumerate(group)]
        for g, group in enumerate(groups)
    ]
    flat = [row for group in rows for row in group]
    keys = RowKeys.of(flat, {row.id: bytes(row.source_ids) for row in flat})
    owned = [Part(index=index, count=count).owned(rows, keys) for index in range(count)]
    different = {number for group in groups for number in group}
    assert {row.source_ids[0] for part in owned for row, is_own in zip(flat, part, strict=True) if is_own} == different
    assert sum(map(sum, owned)) == len(different) == keys.different == sum(first_rows(rows, keys))


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(1, 3), st.integers(1, 4), st.randoms())
def test_batches_in_columns_are_shared_out_as_lists_are(numbers, size, count, random):
    rows = EncodedRows.of([EncodedExample(id=str(n), source_ids=(5,) * n, target_ids=()) for n in numbers_of(numbers)])
    keys = RowKeys.of_bytes(rows, (bytes([random.randrange(5)]) for _ in range(len(rows))))
    groups = rows.by_length(size)
    for index in range(count):
        part = Part(index=index, count=count)
        assert part.owned(groups, keys).tolist() == part.owned([list(group) for group in groups], keys).tolist()


def numbers_of(numbers):
    """Different numbers, for ids."""
    return dict.fromkeys(numbers)


def test_finished_parts_are_taken_and_deleted_and_others_stay(parts, tmp_path):
    cache = tmp_path / "d"
    for index, name in enumerate("ab"):
        shutil.copytree(parts / name, Part(index=index, count=3).folder(cache))
    unfinished = Part(index=2, count=3).folder(cache)
    fill(unfinished, range(15, 18), finish=False)
    (tmp_path / ".d.part-0-of-2.taken").mkdir()
    (tmp_path / "e.part-0-of-1").mkdir()
    identity = LogitCache.open(parts / "a").identity
    assert take_parts(cache, identity, Silent()).manifest.records == 15
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "d", unfinished.name, "e.part-0-of-1"]
    assert records(cache) == records(parts / "a") | records(parts / "b")
    assert take_parts(cache, identity, Silent()) is None


def test_a_part_of_something_else_is_refused(parts, tmp_path):
    shutil.copytree(parts / "a", tmp_path / "d.part-0-of-1")
    fill(tmp_path / "other", range(1), teacher="9" * 64, teacher_name="new-teacher")
    with pytest.raises(Mismatch, match=r"big-teacher.*new-teacher"):
        take_parts(tmp_path / "d", LogitCache.open(tmp_path / "other").identity, Silent())
    assert (tmp_path / "d.part-0-of-1").exists()


def test_nobody_writes_a_part_between_its_merge_and_its_end(parts, tmp_path, monkeypatch):
    """What was added then would be deleted unmerged."""
    cache, part = tmp_path / "d", tmp_path / "d.part-0-of-1"
    shutil.copytree(parts / "a", part)
    identity = LogitCache.open(part).identity
    inner = parts_module.merge

    def interrupted(*args, **options):
        with (
            pytest.raises(UsageError, match="another process is writing"),
            CacheWriter(part, identity, U8LZ4(), lock_seconds=0.0, note=Silent().note),
        ):
            pass
        return inner(*args, **options)

    monkeypatch.setattr(parts_module, "merge", interrupted)
    assert take_parts(cache, identity, Silent()).manifest.records == 7
    assert not part.exists()


def test_a_part_that_is_being_written_stays_and_is_not_merged(parts, tmp_path):
    cache, part = tmp_path / "d", tmp_path / "d.part-0-of-1"
    shutil.copytree(parts / "a", part)
    identity, notes = LogitCache.open(part).identity, tiny.Notes()
    with CacheWriter(part, identity, U8LZ4()):
        assert take_parts(cache, identity, notes) is None
    assert "is being written by another process, so it is left alone" in notes.notes[0]
    assert len(LogitCache.open(part)) == 7


# --- records that differ


def fill_with(folder, numbers, *, tokens=None, seed=0, shard_bytes=600):
    with CacheWriter(folder, identity_of(), U8LZ4(), shard_bytes) as writer:
        for number in numbers:
            count = tokens if tokens is not None else number % 5
            writer.add_block(key(number), synthetic_block(count, VOCAB, seed=seed + number))
        writer.finish()


def test_two_numbers_of_tokens_for_one_key_are_refused_with_both_names(tmp_path):
    fill_with(tmp_path / "a", [1, 2, 3])
    fill_with(tmp_path / "b", [3, 4], tokens=9)
    with pytest.raises(Mismatch, match=rf"{key(3).hex()}.*3 tokens in {tmp_path}/a and 9 in {tmp_path}/b"):
        join(tmp_path / "out", tmp_path / "a", tmp_path / "b")
    before = records(tmp_path / "a")
    with pytest.raises(Mismatch, match=key(3).hex()) as refused:
        join(tmp_path / "a", tmp_path / "b")
    assert str(tmp_path / "a") in str(refused.value)
    assert str(tmp_path / "b") in str(refused.value)
    assert records(tmp_path / "a") == before


def test_of_records_with_other_bytes_the_first_are_kept_and_the_others_counted(tmp_path):
    fill_with(tmp_path / "a", [1, 2, 3])
    fill_with(tmp_path / "b", [3, 4, 6])
    fill_with(tmp_path / "c", [6, 7, 3], seed=500)
    fill_with(tmp_path / "d", [4], seed=500)
    merged = join(tmp_path / "out", *(tmp_path / name for name in "abcd"))
    assert (merged.repeated, merged.different) == (4, 3)
    assert "4 records were there already, 3 of them with other bytes: the first are kept" in merged.describe()
    first = records(tmp_path / "c") | records(tmp_path / "b") | records(tmp_path / "a")
    assert records(tmp_path / "out") == first
    again = join(tmp_path / "out", tmp_path / "d")
    assert "1 record was there already, with other bytes: the first is kept" in again.describe()
    assert "1 single record are" not in again.describe()


# --- the command


def run(*arguments):
    return CliRunner().invoke(command, ["merge", *map(str, arguments)])


def test_the_command_says_what_came_of_it(parts, tmp_path):
    said = run(tmp_path / "out", parts / "b", parts / "c")
    assert said.exit_code == 0, said.output
    assert said.stdout.startswith(f"{tmp_path / 'out'}: 13 records, ")
    assert "5 records were there already" in said.stdout
    table = json.loads(run(tmp_path / "out", parts / "a", "--json").stdout)
    assert (table["records"], table["new_records"], table["repeated"]) == (20, 0, 0)
    assert table["new_shards"] == len(shards(parts / "a"))
    assert run(tmp_path / "out").exit_code == 2
