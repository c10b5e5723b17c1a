"""Many processes capture one teacher's logits without talking, and what they leave is what one process leaves."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import attrs
import pytest
import tiny
from cache_kit import flip, keys_in, records, spoil_record
from click.testing import CliRunner
from fitted_codec import MeanCodec

from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.cli.cache import command
from kdkit.errors import DamagedData, Mismatch, MissingInput, UsageError
from kdkit.logits.cache import CacheWriter, LogitCache, Part, verify
from kdkit.logits.cache.format import read_shard
from kdkit.pipeline.capture_part import capture_part
from kdkit.pipeline.recapture import recapture
from kdkit.pipeline.run import do_all, open_here
from kdkit.pipeline.stages import STAGES
from kdkit.recipe import load_recipe
from kdkit.runs.resume import restore
from kdkit.runs.stage_facts import Captured, PartCaptured

CODECS = {"float": Float(), "u8-lz4": U8LZ4(), "mean": MeanCodec()}
NAMES = [stage.name for stage in STAGES]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "m"
    tiny.model(tiny.T5).save(folder, texts={})
    return folder


def recipe_of(place: Path, model: Path, codec: str = "u8-lz4", **changes):
    """A recipe whose teacher is used as it is. Many of its rows are alike, so that several have one key."""
    table = tiny.recipe_table(
        place,
        teacher={"name": "hf-seq2seq", "model": str(model), "capture_batch_size": 4},
        training__epochs=1,
        training__best_by="loss",
        **changes,
    )
    recipe = load_recipe(table)
    return attrs.evolve(recipe, codec=CODECS[codec], names={**recipe.names, "codec": codec})


def run_to_capture(recipe, folder: Path, progress=None) -> Captured:
    """What `kdkit run` does up to its capture; gives what that tells."""
    with open_here(recipe, folder, fresh=False, progress=progress or tiny.Notes()) as opened:
        do_all(opened, STAGES[:4])
        return opened.told(Captured)


def part(recipe, runs: Path, text: str, progress=None) -> PartCaptured:
    chosen = Part.parse(text)
    return capture_part(recipe, chosen, runs / f"capture-{chosen.suffix}", progress=progress)


def never(*_args, **_options):
    raise AssertionError("the teacher is asked")


@pytest.fixture(autouse=True)
def no_garbage_collection(monkeypatch):
    """It takes most of a tiny capture's time, for all that a test process has loaded."""
    monkeypatch.setattr("gc.collect", lambda: 0)


def captured_alone(place: Path, model: Path, codec: str):
    """A recipe, its runs, and the records and states that one process captures."""
    recipe, runs = recipe_of(place, model, codec), place / "runs"
    cache = Path(run_to_capture(recipe, runs / "r").cache)
    found = records(cache)
    assert len(found) < 50, "no two rows are alike"
    return recipe, runs, found, {path.name for path in cache.glob("state-*")}


def capture_again(recipe, runs: Path) -> Path:
    """What `kdkit run` does where its logits are gone and parts lie in the store; gives the cache."""
    with open_here(recipe, runs / "r", fresh=False, progress=tiny.Notes()) as opened:
        assert restore(opened, STAGES[3])
        return Path(opened.told(Captured).cache)


@pytest.fixture(scope="module", params=CODECS)
def alone(request, model, tmp_path_factory):
    return captured_alone(tmp_path_factory.mktemp("alone"), model, request.param)


@pytest.fixture(scope="module")
def alone_with_state(model, tmp_path_factory):
    return captured_alone(tmp_path_factory.mktemp("alone"), model, "mean")


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_any_number_of_parts_gives_the_same_records_bit_for_bit(alone, count, monkeypatch):
    recipe, runs, expected, states = alone
    shutil.rmtree(runs / "cache")
    shares = []
    for index in reversed(range(count)):
        # One folder for all of them, so that the data are read once; each could have its own.
        told = capture_part(recipe, Part(index=index, count=count), runs / "parts")
        assert Path(told.cache).name.endswith(f".part-{index}-of-{count}")
        shares.append(records(Path(told.cache)))
        assert told.records == len(shares[-1])
    assert sum(map(len, shares)) == len(expected), "a record was captured twice"
    assert all(shares)
    for name in ("add_block", "add_states"):
        monkeypatch.setattr(CacheWriter, name, never)
    cache = capture_again(recipe, runs)
    assert records(cache) == expected
    assert verify(cache) == []
    assert {path.name for path in cache.glob("state-*")} == states
    assert not list(cache.parent.glob("*.part-*"))


def test_a_run_captures_only_what_no_part_brought(alone_with_state, monkeypatch):
    recipe, runs, expected, _ = alone_with_state
    shutil.rmtree(runs / "cache")
    brought = set()
    for index in (0, 2):
        brought |= set(records(Path(capture_part(recipe, Part(index=index, count=3), runs / "parts").cache)))
    assert brought < set(expected)
    asked, inner = set(), CacheWriter.add_states

    def noting(self, key, block):
        asked.add(key)
        return inner(self, key, block)

    monkeypatch.setattr(CacheWriter, "add_states", noting)
    assert records(capture_again(recipe, runs)) == expected
    assert asked == set(expected) - brought


class Stopped(BaseException):
    pass


def test_a_part_that_is_stopped_goes_on(alone_with_state, monkeypatch):
    recipe, runs, expected, _ = alone_with_state
    shutil.rmtree(runs / "cache")
    calls, inner = [], CacheWriter.add_states

    def stopping(self, key, block):
        calls.append(key)
        if len(calls) == 4:
            raise Stopped
        return inner(self, key, block)

    with monkeypatch.context() as patched:
        patched.setattr(CacheWriter, "add_states", stopping)
        with pytest.raises(Stopped):
            part(recipe, runs, "0/2")
    (folder,) = (runs / "cache" / "logits").iterdir()
    assert len(list(folder.glob("shard-*"))) == 1
    assert not (folder / "manifest.json").exists()
    for index in range(2):
        part(recipe, runs, f"{index}/2")
    assert records(capture_again(recipe, runs)) == expected


def test_a_part_adds_only_what_the_cache_lacks(model, tmp_path):
    few = recipe_of(tmp_path, model, "mean", training__validation_rows=3, evaluation__rows=3)
    told = run_to_capture(few, tmp_path / "runs" / "few")
    held = records(Path(told.cache))
    whole = recipe_of(tmp_path, model, "mean")
    shares = [part(whole, tmp_path / "runs", f"{index}/2") for index in range(2)]
    found = [set(records(Path(each.cache))) for each in shares]
    assert all(keys.isdisjoint(held) for keys in found)
    told = run_to_capture(whole, tmp_path / "runs" / "whole")
    assert sum(each.records for each in shares) == len(records(Path(told.cache))) == told.records
    assert set(records(Path(told.cache))) == set(held).union(*found)
    # Whoever adds to a cache goes on with what its codec has learnt.
    assert len(list(Path(told.cache).glob("state-*"))) == 1


def test_a_finished_part_is_not_captured_again_wherever_its_records_are(model, tmp_path, monkeypatch):
    recipe, runs, notes = recipe_of(tmp_path, model), tmp_path / "runs", tiny.Notes()
    one, two = (Path(part(recipe, runs, f"{index}/2").cache) for index in range(2))
    before = records(one)
    with monkeypatch.context() as patched:
        patched.setattr("kdkit.pipeline.stages.capture.open_teacher", never)
        assert part(recipe, runs, "0/2", notes).cache == str(one)
        assert notes.notes[-1] == "capture-0-of-2: done before"
    cache = Path(run_to_capture(recipe, runs / "r").cache)
    with monkeypatch.context() as patched:
        patched.setattr("kdkit.pipeline.stages.capture.open_teacher", never)
        assert part(recipe, runs, "0/2").cache == str(cache)
    assert not one.exists()
    assert not two.exists()
    shutil.rmtree(cache)
    assert part(recipe, runs, "0/2").cache == str(one)
    assert records(one) == before


def test_a_damaged_part_is_refused_and_repaired(model, tmp_path):
    recipe, runs = recipe_of(tmp_path, model), tmp_path / "runs"
    folder = Path(part(recipe, runs, "0/2").cache)
    spoil_record(next(folder.glob("shard-*")))
    with pytest.raises(DamagedData, match=rf"{folder.name}: shard-00000.safetensors record 0.*cache repair"):
        run_to_capture(recipe, runs / "r")
    assert folder.exists()
    said = CliRunner().invoke(command, ["repair", str(folder), "--run", str(runs / "capture-0-of-2"), "--json"])
    assert said.exit_code == 0, said.output
    table = json.loads(said.stdout)
    assert (table["finished"], table["recaptured"], table["missing"]) == (True, 1, 0)
    assert run_to_capture(recipe, runs / "r").reused is False


def test_machines_that_share_a_url_alone_capture_together(model, tmp_path, monkeypatch):
    recipe = recipe_of(tmp_path, model, store__dir=f"file://{tmp_path / 'bucket'}")
    for index in range(2):
        monkeypatch.setenv("KDKIT_MIRROR", str(tmp_path / f"mirrors{index}"))
        told = part(recipe, tmp_path / f"machine{index}", f"{index}/2")
        assert told.url.startswith("file://")
        assert not list((tmp_path / f"mirrors{index}").glob("*.part-*"))
    for name in ("add_block", "add_states"):
        monkeypatch.setattr(CacheWriter, name, never)
    monkeypatch.setenv("KDKIT_MIRROR", str(tmp_path / "mirrors2"))
    cache = Path(run_to_capture(recipe, tmp_path / "machine2" / "r").cache)
    straight = recipe_of(tmp_path, model)
    monkeypatch.undo()
    assert records(cache) == records(Path(run_to_capture(straight, tmp_path / "straight" / "r").cache))


def test_captures_for_several_codecs_stand_side_by_side_and_fresh_starts_anew(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for codec in ({"name": "u8-lz4"}, {"name": "u8-lz4", "clip": 12.0}, {"name": "float"}):
        table = tiny.recipe_table(tmp_path, teacher={"name": "hf-seq2seq", "model": str(model)}, codec=codec)
        capture_part(load_recipe(table), Part.parse("0/1"))
    folders = sorted(path.name for path in (tmp_path / "runs").glob("*-capture-0-of-1-*"))
    assert len(folders) == 3
    assert [name.rpartition("-")[0].partition("0-of-1-")[2] for name in folders] == ["float", "u8-lz4", "u8-lz4"]
    table = tiny.recipe_table(tmp_path, teacher={"name": "hf-seq2seq", "model": str(model)}, loss__alpha=0.25)
    with pytest.raises(Mismatch, match="--fresh"):
        capture_part(load_recipe(table), Part.parse("0/1"))
    capture_part(load_recipe(table), Part.parse("0/1"), fresh=True)


def test_a_recipe_whose_loss_needs_no_teacher_captures_nothing(model, tmp_path):
    with pytest.raises(UsageError, match="no logits to capture"):
        part(recipe_of(tmp_path, model, loss__alpha=0.0), tmp_path / "runs", "0/1")


# --- repair with the teacher of a run


@pytest.fixture
def captured(model, tmp_path):
    recipe = recipe_of(tmp_path, model, store__shard_mb=1)
    run = tmp_path / "runs" / "r"
    cache = Path(run_to_capture(recipe, run).cache)
    assert json.loads((run / "run.json").read_text())["status"] == "done"
    return cache, run


def test_repair_captures_exactly_what_is_lost(captured, monkeypatch):
    cache, run = captured
    before = records(cache)
    lost = {spoil_record(next(cache.glob("shard-*")), 3), spoil_record(next(cache.glob("shard-*")), 7)}
    record = (run / "run.json").read_bytes()
    asked, inner = [], CacheWriter.add_block

    def noting(self, key, block):
        asked.append(key)
        return inner(self, key, block)

    monkeypatch.setattr(CacheWriter, "add_block", noting)
    said = CliRunner().invoke(command, ["repair", str(cache), "--run", str(run)])
    assert said.exit_code == 0, said.output
    assert said.stdout == f"repaired: {len(before)} records, 2 of them captured again\n"
    assert set(asked) == lost
    assert len(asked) == 2
    assert records(cache) == before
    assert verify(cache) == []
    assert json.loads((run / "run.json").read_bytes())["status"] == json.loads(record)["status"]


def test_what_another_recipe_had_captured_is_said_to_be_missing(captured, tmp_path, model):
    cache, run = captured
    (tmp_path / "more").mkdir()
    tiny.write_rows(tmp_path / "more" / "train.jsonl", 30, seed=77)
    other = recipe_of(tmp_path / "more", model, store__dir=str(cache.parent.parent))
    run_to_capture(other, tmp_path / "runs" / "other")
    theirs = keys_in(max(cache.glob("shard-*")))
    flip(max(cache.glob("shard-*")), -1)
    said = CliRunner().invoke(command, ["repair", str(cache), "--run", str(run), "--json"])
    assert said.exit_code == 0, said.output
    table = json.loads(said.stdout)
    assert (table["finished"], table["recaptured"], table["missing"]) == (True, 0, len(theirs))
    assert run_to_capture(other, tmp_path / "runs" / "another").reused is False
    assert verify(cache) == []


def test_a_run_that_did_not_capture_the_cache_is_refused(captured, tmp_path):
    cache, run = captured
    shutil.copytree(cache, tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="has not captured"):
        recapture(tmp_path / "elsewhere", run, progress=tiny.Notes())
    with pytest.raises(MissingInput, match="there is no run in"):
        recapture(cache, tmp_path / "nowhere", progress=tiny.Notes())


def test_a_run_of_one_part_is_refused_for_the_whole_cache(model, tmp_path, monkeypatch):
    recipe, runs = recipe_of(tmp_path, model), tmp_path / "runs"
    run = runs / "capture-0-of-2"
    folder = Path(part(recipe, runs, "0/2").cache)
    cache = Path(run_to_capture(recipe, runs / "r").cache)
    spoil_record(next(cache.glob("shard-*")))
    CliRunner().invoke(command, ["repair", str(cache)])
    for name in ("add_block", "add_states"):
        monkeypatch.setattr(CacheWriter, name, never)
    with pytest.raises(UsageError, match=r"captured only the part 0/2 of .*; give the folder of a whole run"):
        recapture(cache, run, progress=tiny.Notes())
    assert not folder.exists()


def test_a_part_is_filled_by_its_own_run(model, tmp_path):
    recipe, runs = recipe_of(tmp_path, model), tmp_path / "runs"
    folder = Path(part(recipe, runs, "0/2").cache)
    before = records(folder)
    spoil_record(next(folder.glob("shard-*")))
    said = CliRunner().invoke(command, ["repair", str(folder), "--run", str(runs / "capture-0-of-2")])
    assert said.exit_code == 0, said.output
    assert records(folder) == before


def test_another_teacher_fills_no_gap(captured, model):
    cache, run = captured
    spoil_record(next(cache.glob("shard-*")))
    other = tiny.model(tiny.T5, seed=9)
    kept = model.with_name("kept")
    shutil.copytree(model, kept)
    try:
        other.save(model, texts={})
        said = CliRunner().invoke(command, ["repair", str(cache), "--run", str(run)])
    finally:
        shutil.rmtree(model)
        kept.rename(model)
    assert isinstance(said.exception, Mismatch), said.output
    assert not (cache / "manifest.json").exists()


# --- the command, and a whole run


@pytest.mark.slow
def test_parts_captured_by_processes_of_their_own_give_the_same_student(tmp_path):
    """The teacher is trained by the first, and taken from the store by the others; the second is killed once."""
    path = tiny.write_recipe(tmp_path, training__epochs=1, **tiny.NO_TEXTS)
    runs = tmp_path / "runs"

    def capture(text, **options):
        folder = runs / f"part-{text[0]}"
        return tiny.kdkit("capture", path, "--part", text, "--run-dir", folder, log=tmp_path / "log", **options)

    code, said = capture("0/3")
    assert code == 0, said
    assert said.splitlines()[-1].startswith("part 0/3: ")
    code, said = capture("1/3", at=("kdkit.logits.cache:CacheWriter.add_block", 5))
    assert code == -signal.SIGKILL, said
    code, said = capture("1/3")
    assert code == 0, said
    assert "teacher: done before" in said
    code, said = capture("3/3")
    assert code == 2
    assert "the last is 2/3" in said
    for name, place in (("together", runs), ("alone", tmp_path / "alone")):
        code, said = tiny.kdkit("run", path, "--run-dir", place / name, log=tmp_path / "log")
        assert code == 0, said
        assert ("merged the parts beside" in said) == (name == "together")
    one, other = (
        tiny.weights(place / "student" / "best") for place in (runs / "together", tmp_path / "alone" / "alone")
    )
    assert one == other
    caches = [
        next(path for path in (place / "cache" / "logits").iterdir() if path.is_dir())
        for place in (runs, tmp_path / "alone")
    ]
    assert records(caches[0]) == records(caches[1])
    assert read_shard(next(caches[0].glob("shard-*"))).records > 0
    assert len(LogitCache.open(caches[0])) == len(LogitCache.open(caches[1]))
