"""Folders that kdkit left before its rebuild still open: caches, a finished run, a finished sweep.

How they were made is in `fixtures/before_the_rebuild/make_old_folders.py`, and what kdkit of then said of them in
`expected.json` beside it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from kdkit.cli import group
from kdkit.errors import KdkitError, Mismatch, UsageError
from kdkit.logits.cache import LogitCache
from kdkit.pipeline.recapture import recapture
from kdkit.recipe import load_stored, read_stored
from kdkit.store import store_of
from kdkit.sweeps import read_sweep
from kdkit.system.progress import Silent

OLD = Path(__file__).parent / "fixtures" / "before_the_rebuild"
EXPECTED = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A copy that may be written in, as the working folder."""
    shutil.copytree(OLD, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


def said(*arguments):
    shown = CliRunner().invoke(group, arguments, catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return shown.stdout


@pytest.mark.parametrize("name", ["u8-lz4", "subspace"])
def test_an_old_cache_is_whole_and_decodes_to_the_same_tokens(name):
    folder = OLD / "caches" / name
    assert said("cache", "verify", str(folder)).strip() == EXPECTED["cache verify"][name][0]
    cache = LogitCache.open(folder)
    likeliest = {key.hex(): cache.decode(key).argmax(-1).tolist() for key in cache}
    assert likeliest == EXPECTED["likeliest tokens of the caches"][name]


def test_the_report_of_an_old_run_has_its_numbers(old):
    found, before = json.loads(said("report", "runs/tiny", "--json")), EXPECTED["report --json of the run"]
    for row, old_row in zip(found["rows"], before["rows"], strict=True):
        ratio = old_row.pop("ratio")  # of everything; retention is left out where it says nothing
        assert row.pop("retention") in {ratio, None}
    assert found["rows"] == before["rows"]
    assert found["costs"] == before["costs"]
    assert found["missing"] == []


def test_the_report_of_an_old_sweep_has_its_numbers(old):
    found, before = json.loads(said("report", "sweeps/tiny", "--json")), EXPECTED["report --json of the sweep"]
    assert found["trials"] == before["trials"] == {"done": 2}
    assert found["chosen_by"] == before["chosen_by"]
    for each in (*found["configurations"], *before["configurations"]):
        del each["label"]  # which is words: numbers were written without the zero before their point
    assert found["configurations"] == before["configurations"]


def test_the_student_of_an_old_run_writes_the_same_texts(old):
    lines = said("predict", "runs/tiny", "--input", "data/ask.jsonl").splitlines()
    assert [json.loads(line) for line in lines] == EXPECTED["predict"]


def test_an_old_run_is_compared_with_old_trials(old):
    said("report", "runs/tiny", "sweeps/tiny", "--output", "compared.html")
    assert (old / "compared.html").stat().st_size > 10_000


@pytest.fixture
def todays_recipe(old):
    """The recipe of the old folders as one writes it today."""
    recipe = old / "recipe.toml"
    text = recipe.read_text(encoding="utf-8").replace("[cache]", "[store]")
    recipe.write_text(text.replace("max_tokens = 8", "max_new_tokens = 7"), encoding="utf-8")


@pytest.mark.usefixtures("todays_recipe")
@pytest.mark.parametrize(
    ("verb", "recipe", "folder"),
    [("run", "recipe.toml", "runs/tiny"), ("plan", "recipe.toml", "runs/tiny"), ("run", "sweep.toml", "sweeps/tiny")],
)
def test_an_old_folder_is_not_continued_and_one_sentence_says_why(old, verb, recipe, folder):
    before = {path: path.read_bytes() for path in (old / folder).rglob("*") if path.is_file() and path.name != ".lock"}
    shown = CliRunner().invoke(group, [verb, recipe, "--run-dir", folder])
    assert shown.exit_code != 0
    assert isinstance(shown.exception, Mismatch)
    (line,) = str(shown.exception).splitlines()
    assert line.startswith(f"{folder} was made by an earlier kdkit, whose recipes have other names for some options")
    assert "; use another --run-dir, or --fresh to delete that" in line
    assert {path: path.read_bytes() for path in before} == before


def test_gaps_of_a_cache_are_not_filled_by_an_old_run_and_one_sentence_says_why(old):
    with pytest.raises(
        Mismatch, match=r"^runs/tiny was made by an earlier kdkit, .*; rename the options in its recipe.toml .*$"
    ):
        recapture(old / "caches" / "u8-lz4", Path("runs/tiny"), progress=Silent())


def test_an_old_recipe_is_read_under_todays_names():
    stored = read_stored((OLD / "runs" / "tiny" / "recipe.toml").read_text(encoding="utf-8"))
    assert stored.is_former
    assert stored.tables["store"] == {"dir": "store", "shard_mb": 1}
    assert stored.tables["generation"]["max_new_tokens"] == 7
    recipe = load_stored(OLD / "runs" / "tiny" / "recipe.toml")
    assert (recipe.store.dir, recipe.generation.max_new_tokens) == ("store", 7)
    assert not read_stored(recipe.to_toml()).is_former


def test_an_axis_of_an_old_sweep_has_todays_name(old):
    file = old / "sweeps" / "tiny" / "sweep.json"
    table = json.loads(file.read_text(encoding="utf-8"))
    table["axes"] = ["generation.max_tokens"]
    for trial, value in zip(table["trials"], (24, 80), strict=True):
        trial["values"] = {"generation.max_tokens": value}
    file.write_text(json.dumps(table), encoding="utf-8")
    sweep = read_sweep(file.parent)
    assert sweep.axes == ("generation.max_new_tokens",)
    assert [dict(trial.values) for trial in sweep.trials] == [{sweep.axes[0]: 23}, {sweep.axes[0]: 79}]


@pytest.mark.parametrize(
    ("was", "tables"),
    [
        ("[generation]", "generation = 3\n[other]"),
        ("max_tokens = 8", 'max_tokens = "x"'),
        ("max_tokens = 8", "max_tokens = true"),
    ],
)
def test_an_old_recipe_of_wrong_types_is_no_traceback(old, was, tables):
    file = old / "runs/tiny/recipe.toml"
    text = file.read_text(encoding="utf-8")
    assert was in text
    if was == "[generation]":  # a key of the top stands before the tables
        text = text[: text.index("\n[")] + "\ngeneration = 3\n" + text[text.index("\n[") :].replace(was, "[other]")
    else:
        text = text.replace(was, tables)
    file.write_text(text, encoding="utf-8")
    shown = CliRunner().invoke(group, ["report", "runs/tiny"])
    assert shown.exception is None or isinstance(shown.exception, KdkitError), shown.exception


def test_an_old_run_is_refused_before_a_cache_is_repaired(old):
    shard = next((old / "caches/u8-lz4").glob("shard-*"))
    damaged = bytearray(shard.read_bytes())
    damaged[-1] ^= 1
    shard.write_bytes(damaged)
    shown = CliRunner().invoke(group, ["cache", "repair", "caches/u8-lz4", "--run", "runs/tiny"])
    assert isinstance(shown.exception, KdkitError)
    assert shard.read_bytes() == bytes(damaged)


def test_the_former_environment_variable_is_not_ignored(monkeypatch, tmp_path):
    monkeypatch.delenv("KDKIT_STORE", raising=False)
    monkeypatch.setenv("KDKIT_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match="KDKIT_CACHE is now called KDKIT_STORE; rename it, or unset it"):
        store_of("", tmp_path / "runs" / "a")
