"""A recipe that kdkit wrote is read again, whatever its options were called; a person's has today's names."""

from __future__ import annotations

import tomllib

import pytest
import tiny

from kdkit.errors import RecipeError
from kdkit.recipe import load_recipe, load_stored, read_stored
from kdkit.recipe.former_names import HINTS, todays, todays_axis
from kdkit.recipe.stored import FORMAT, KEY
from kdkit.sweeps.reading import load_sweep


@pytest.fixture
def recipe(tmp_path):
    return load_recipe(tiny.recipe_table(tmp_path))


def test_a_stored_recipe_says_its_format_and_is_the_recipe(tmp_path, recipe):
    text = recipe.to_toml()
    assert tomllib.loads(text)[KEY] == FORMAT
    (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
    assert load_stored(tmp_path / "recipe.toml") == recipe == load_recipe(tmp_path / "recipe.toml")
    assert read_stored(text).tables == recipe.resolved


def test_what_has_no_format_has_former_names():
    stored = read_stored("cache = { dir = 'x' }\ngeneration = { beams = 1, max_tokens = 512 }\nloss = { alpha = 1 }\n")
    assert stored.is_former
    assert stored.tables == {
        "store": {"dir": "x"},
        "generation": {"beams": 1, "max_new_tokens": 511},
        "loss": {"alpha": 1},
    }


def test_former_names_may_be_missing():
    assert todays({"loss": {"alpha": 1}}) == {"loss": {"alpha": 1}}
    assert todays({"generation": {"beams": 2}}) == {"generation": {"beams": 2}}


@pytest.mark.parametrize("number", ["4", "1", "true", "'2'"])
def test_a_recipe_of_another_format_is_refused(tmp_path, number):
    with pytest.raises(
        ValueError, match=f"^{KEY} is .*, but this kdkit reads recipes of the formats 2 and {FORMAT}; use the kdkit"
    ):
        read_stored(f"{KEY} = {number}\n")
    (tmp_path / "r.toml").write_text(f"{KEY} = {number}\n", encoding="utf-8")
    for load in (load_recipe, load_stored):
        with pytest.raises(RecipeError, match=rf"r\.toml:1:1: {KEY} is "):
            load(tmp_path / "r.toml")
    with pytest.raises(RecipeError, match=f"^<dict>: {KEY} is 4"):
        load_recipe({KEY: 4})


@pytest.mark.parametrize(
    ("axis", "value", "expected"),
    [
        (("generation", "max_tokens"), 24, (("generation", "max_new_tokens"), 23)),
        (("generation", "max_tokens"), None, (("generation", "max_new_tokens"), None)),
        (("cache", "shard_mb"), 8, (("store", "shard_mb"), 8)),
        (("generation",), {"max_tokens": 8, "beams": 1}, (("generation",), {"max_new_tokens": 7, "beams": 1})),
        (("loss", "alpha"), 0.5, (("loss", "alpha"), 0.5)),
    ],
)
def test_an_axis_of_a_former_sweep_has_todays_name(axis, value, expected):
    assert todays_axis(axis, value) == expected


def test_a_former_name_in_a_persons_recipe_is_unknown_and_the_message_gives_todays(tmp_path):
    table = tiny.recipe_table(tmp_path)
    table["cache"] = table.pop("store", {})
    table["generation"] = {"max_tokens": 8}
    with pytest.raises(RecipeError) as refused:
        load_recipe(table)
    said = [f"{'.'.join(map(str, path))}: {hint}" for path, hint in HINTS.items()]
    assert sorted(refused.value.problems) == sorted(f"<dict>: {each}" for each in said)


OF_BEFORE = {"batch_size": 2, "learning_rate": 5e-5, "group_by_length": False, "drop_last": True, "log_every": 50}
"""What format 2 took for options of trainings that were left out."""


def bare(**sections):
    """A recipe that leaves out all that has a default."""
    return {
        "data": {"name": "jsonl", "train": "r.jsonl", "source": "a", "target": "b"},
        "teacher": {"name": "hf-seq2seq", "config": dict(tiny.T5), "fine_tune": {}, "write_targets": {}},
        "student": {"name": "hf-seq2seq", "from_teacher": {"keep": 1}},
        **sections,
    }


def test_a_recipe_of_format_2_has_the_defaults_of_format_2():
    found = load_recipe({KEY: 2, **bare()})
    for training in (found.training, found.teacher.fine_tune):
        assert {name: getattr(training, name) for name in OF_BEFORE} == OF_BEFORE
        assert training.best_by == "text.f1"
    for texts in (found.generation, found.writing):
        assert (texts.beams, texts.batch_size, texts.max_new_tokens) == (4, 4, 511)
    limited = load_recipe({KEY: 2, **bare(tokens={"max_target": 9}, evaluation={"suites": []})})
    assert (limited.generation.max_new_tokens, limited.training.best_by) == (9, "hard")
    said = {"batch_size": 3, "best_by": "loss", "drop_last": False}
    own = load_recipe({KEY: 2, **bare(training=said, generation={"beams": 2})})
    assert (own.training.batch_size, own.training.best_by, own.training.drop_last) == (3, "loss", False)
    assert (own.generation.beams, own.generation.batch_size) == (2, 4)


def test_it_keeps_them_when_it_is_stored_extended_and_overridden(tmp_path):
    import tomli_w

    (tmp_path / "base.toml").write_text(tomli_w.dumps({KEY: 2, **bare()}))
    (tmp_path / "over.toml").write_text('extends = "base.toml"\n[loss]\nalpha = 0.25\n')
    (tmp_path / "today.toml").write_text(f'{KEY} = 3\nextends = "base.toml"\n')
    base, over = load_recipe(tmp_path / "base.toml"), load_recipe(tmp_path / "over.toml", ["generation.beams=3"])
    assert over.training == base.training == load_recipe(tmp_path / "base.toml", ["seed=1"]).training
    assert (over.generation.beams, over.generation.batch_size) == (3, 4)
    assert load_recipe(tmp_path / "today.toml").training.batch_size == 8
    (tmp_path / "stored.toml").write_text(base.to_toml())
    for load in (load_stored, load_recipe):
        assert load(tmp_path / "stored.toml").digest == base.digest
    # Written by kdkit of then, to the letter: format 1 has the same defaults, and no number.
    for first in (f"{KEY} = 2\n", ""):
        (tmp_path / "then.toml").write_text(first + tomli_w.dumps(bare()))
        assert load_stored(tmp_path / "then.toml").digest == base.digest


def test_a_run_folders_recipe_given_again_has_the_defaults_of_its_own_format(tmp_path):
    """The first format had no number: it is known by the folder that it lies in."""
    import tomli_w

    first = {**bare(student={"name": "hf-seq2seq", "from_teacher": {"keep": 1}}), "generation": {"max_tokens": 9}}
    file = tmp_path / "recipe.toml"
    file.write_text(tomli_w.dumps(first))
    with pytest.raises(RecipeError, match="max_tokens"):
        load_recipe(file)  # a person's
    (tmp_path / "run.json").write_text("{}")
    found = load_recipe(file, ["loss.alpha=0.25"])
    assert {name: getattr(found.training, name) for name in OF_BEFORE} == OF_BEFORE
    assert (found.generation.max_new_tokens, found.generation.beams, found.loss.alpha) == (8, 4, 0.25)
    assert found.student.from_teacher.by == "loss"
    assert load_recipe(file).digest == load_stored(file).digest
    # Of today's format too, an option that came later has the value at which nothing changed.
    file.write_text(tomli_w.dumps({KEY: 3, **bare(student={"name": "hf-seq2seq", "from_teacher": {"keep": 1}})}))
    assert load_recipe(file).student.from_teacher.by == load_stored(file).student.from_teacher.by == "loss"
    (tmp_path / "run.json").rename(tmp_path / "sweep.json")
    swept = {**bare(), "sweep": {"seeds": [1, 2]}}
    (tmp_path / "sweep.toml").write_text(tomli_w.dumps(swept))
    sweep = load_sweep(tmp_path / "sweep.toml")
    assert {name: getattr(sweep.base.training, name) for name in OF_BEFORE} == OF_BEFORE
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "sweep.toml").write_text(sweep.to_toml())
    assert load_sweep(tmp_path / "again" / "sweep.toml").trials == sweep.trials
    assert load_recipe(file).student.from_teacher.by == "greedy", "nothing says that kdkit wrote it"


@pytest.mark.parametrize(
    ("sections", "student", "teacher"),
    [
        ({}, 1e-3, 1e-3),
        ({"student": {"name": "hf-seq2seq", "config": dict(tiny.T5)}}, 1e-3, 1e-3),
        ({"student": {"name": "hf-seq2seq", "model": "x"}}, 5e-5, 1e-3),
        ({"student": {"name": "hf-seq2seq", "model": "x", "lora": {}}}, 2e-4, 1e-3),
        ({"teacher": {"name": "hf-seq2seq", "model": "x", "fine_tune": {}}}, 2e-4, 5e-5),
        ({"teacher": {"name": "hf-seq2seq", "model": "x", "fine_tune": {"lora": {}}}}, 2e-4, 2e-4),
        ({"training": {"learning_rate": 3e-4}}, 3e-4, 1e-3),
    ],
)
def test_a_rate_that_is_left_out_is_one_for_what_the_model_begins_as(sections, student, teacher):
    found = load_recipe(bare(**sections))
    assert (found.training.learning_rate, found.teacher.fine_tune.learning_rate) == (student, teacher)


def test_todays_defaults_are_those_of_the_options(tmp_path):
    from kdkit.api.options import Generation, Training

    found = load_recipe(bare())
    assert found.training == Training(learning_rate=1e-3)
    assert found.generation == Generation()
    assert load_recipe(bare(tokens={"max_target": 9})).generation.max_new_tokens == 9
