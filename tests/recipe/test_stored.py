"""A recipe that kdkit wrote is read again, whatever its options were called; a person's has today's names."""

from __future__ import annotations

import tomllib

import pytest
import tiny

from kdkit.errors import RecipeError
from kdkit.recipe import load_recipe, load_stored, read_stored
from kdkit.recipe.former_names import HINTS, todays, todays_axis
from kdkit.recipe.stored import FORMAT, KEY


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


@pytest.mark.parametrize("number", ["3", "1", "true", "'2'"])
def test_a_recipe_of_another_format_is_refused(tmp_path, number):
    with pytest.raises(
        ValueError, match=f"^{KEY} is .*, but this kdkit reads recipes of format {FORMAT}; use the kdkit"
    ):
        read_stored(f"{KEY} = {number}\n")
    (tmp_path / "r.toml").write_text(f"{KEY} = {number}\n", encoding="utf-8")
    for load in (load_recipe, load_stored):
        with pytest.raises(RecipeError, match=rf"r\.toml:1:1: {KEY} is "):
            load(tmp_path / "r.toml")
    with pytest.raises(RecipeError, match=f"^<dict>: {KEY} is 3"):
        load_recipe({KEY: 3})


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
