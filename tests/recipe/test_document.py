"""`extends` and overrides: what is laid over what, and where each line then stands."""

from __future__ import annotations

import time

import pytest
from fake_plugin import SMALLEST, RecordedTeacher, fake_plugins

from kdkit.errors import RecipeError
from kdkit.recipe import load_recipe, shipped_recipes
from kdkit.sweeps.reading import load_any


@pytest.fixture
def plugins(monkeypatch):
    return fake_plugins(monkeypatch)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.toml").write_text(SMALLEST + "[loss]\nalpha = 0.25\n[data.extra]\na = 1\nb = [1, 2]\n")
    return tmp_path


@pytest.fixture
def load(folder, plugins):
    def load(text, *overrides, name="child.toml"):
        (folder / name).write_text(text)
        return load_recipe(name, overrides, plugins=plugins)

    return load


def problems(load, *arguments):
    with pytest.raises(RecipeError) as caught:
        load(*arguments)
    return list(caught.value.problems)


def test_tables_merge_and_everything_else_replaces(load):
    recipe = load('extends = "base.toml"\n[data.extra]\nb = [3]\nc = 4\n[loss]\ntemperature = 2\n')
    assert recipe.data.extra == {"a": 1, "b": [3], "c": 4}
    assert (recipe.loss.alpha, recipe.loss.temperature) == (0.25, 2.0)
    assert "extends" not in recipe.resolved


def test_a_chain_of_recipes_is_followed_relative_to_each_file(load, folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "middle.toml").write_text('extends = "../base.toml"\n[loss]\nalpha = 0.75\n')
    recipe = load('extends = "sub/middle.toml"\n[training]\nepochs = 1\n')
    assert (recipe.loss.alpha, recipe.training.epochs, recipe.data.path) == (0.75, 1, "rows.jsonl")


def test_another_component_drops_the_options_that_belonged_to_the_first(load):
    recipe = load('extends = "base.toml"\n[loss]\nname = "other"\n[teacher]\nname = "tape"\nlogit_scale = 2\n')
    assert recipe.loss.alpha == 0.5
    assert recipe.teacher == RecordedTeacher(logit_scale=2.0)


def test_the_same_component_named_again_keeps_them(load):
    assert load('extends = "base.toml"\n[loss]\nname = "kd"\n').loss.alpha == 0.25


def test_options_that_stand_without_a_name_wait_for_one(load):
    text = SMALLEST.replace('name = "rows"\n', "")
    assert load(text, "data.name=rows").data.path == "rows.jsonl"


def test_name_and_description_are_not_inherited(load, folder):
    text = (folder / "base.toml").read_text()
    (folder / "base.toml").write_text('name = "b"\ndescription = "d"\nseed = 7\n' + text)
    recipe = load('extends = "base.toml"')
    assert (recipe.name, recipe.description, recipe.seed) == ("child", "", 7)


def test_a_problem_is_placed_in_the_file_that_it_stands_in(load, folder):
    (folder / "base.toml").write_text(SMALLEST + "[loss]\nalpha = 2\ntemperature = 3\n")
    assert problems(load, 'extends = "base.toml"\n[loss]\ntemperature = 0\n') == [
        "base.toml:12:1: loss.alpha: must be at most 1, is 2",
        "child.toml:3:1: loss.temperature: must be greater than 0, is 0",
    ]
    assert problems(load, 'extends = "base.toml"\n[loss]\nalpha = -1\n') == [
        "child.toml:3:1: loss.alpha: must be at least 0, is -1"
    ]


def test_a_circle_is_refused(load, folder):
    (folder / "base.toml").write_text('extends = "child.toml"')
    assert problems(load, 'extends = "base.toml"') == [
        'base.toml:1:1: extends: "child.toml" extends this recipe too, which makes a circle; remove one `extends`'
    ]
    assert problems(load, 'extends = "child.toml"') == [
        'child.toml:1:1: extends: "child.toml" extends this recipe too, which makes a circle; remove one `extends`'
    ]


def test_a_base_that_is_missing_is_named_with_a_near_one(load):
    assert problems(load, '\nextends = "bsae.toml"') == [
        'child.toml:2:1: extends: there is no recipe "bsae.toml": it is neither a file nor the name of a shipped recipe; did you mean "base.toml"?'
    ]
    assert problems(load, "extends = 3") == [
        "child.toml:1:1: extends: must be text, the path or name of a recipe, is 3"
    ]


def test_a_shipped_recipe_is_known_by_its_name(load, folder, monkeypatch, plugins):
    from kdkit.recipe import shipped

    (folder / "shipped").mkdir()
    (folder / "shipped" / "quick.toml").write_text(SMALLEST)
    monkeypatch.setattr(shipped, "folder", lambda: folder / "shipped")
    assert load_recipe("quick", plugins=plugins).name == "quick"
    assert load('extends = "quick"\nseed = 1').data.path == "rows.jsonl"
    with pytest.raises(ValueError, match='did you mean "quick"'):
        load_recipe("quikc", plugins=plugins)


def test_an_override_is_read_as_toml_or_else_taken_as_text(load):
    recipe = load(
        'extends = "base.toml"',
        "loss.alpha=0.75",
        "data.path=/x y.zip",
        'evaluation.suites=["loose", "text"]',
        "teacher.fine_tune.epochs=1",
        "data.extra={b = {c = 1}}",
        "student.model=2020-01-01",
    )
    assert recipe.loss.alpha == 0.75
    assert recipe.data.path == "/x y.zip"
    assert [suite.name for suite in recipe.evaluation.suites] == ["loose", "text"]
    assert recipe.teacher.fine_tune.epochs == 1
    assert recipe.data.extra == {"a": 1, "b": {"c": 1}}
    assert recipe.student.model == "2020-01-01"


def test_of_two_overrides_of_one_key_the_later_counts(load):
    assert load('extends = "base.toml"', "loss.alpha=0.1", "loss.alpha=0.2").loss.alpha == 0.2


@pytest.mark.parametrize("order", [1, -1])
def test_overriding_a_components_name_drops_the_files_options_but_no_override(load, order):
    overrides = ["teacher.name=tape", "teacher.logit_scale=3"][::order]
    recipe = load('extends = "base.toml"\n[teacher]\nmodel = "gone"\n', *overrides)
    assert recipe.teacher == RecordedTeacher(logit_scale=3.0)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("loss.alpha=2", "-o loss.alpha=2: loss.alpha: must be at most 1, is 2"),
        ("loss.alhpa=1", '-o loss.alhpa=1: loss.alhpa: is not an option of loss "kd"; did you mean "alpha"?'),
        ("alpha=0.3", '-o alpha=0.3: alpha: is not a key or section of a recipe; did you mean "loss.alpha"?'),
        (
            "training.lr=1e-3",
            '-o training.lr=1e-3: training.lr: is not an option of [training]; did you mean "learning_rate"?',
        ),
        ("loss={alpha = 2}", "-o loss={alpha = 2}: loss.alpha: must be at most 1, is 2"),
        ("data.extra.z=[nan]", "-o data.extra.z=[nan]: data.extra.z[0]: must be a finite number, is nan"),
        ("loss", "-o loss: must have the form section.key=value"),
        ("loss..alpha=1", "-o loss..alpha=1: must have the form section.key=value"),
        ("=1", "-o =1: must have the form section.key=value"),
        ("a\nb=1", "-o a\nb=1: must have the form section.key=value"),
        ("extends=x", "-o extends=x: extends: cannot be overridden; write a recipe that extends the other recipe"),
        ("seed.x=1", "-o seed.x=1: seed: must be a whole number, is a table"),
        ("data.name=rows2", '-o data.name=rows2: data.name: unknown data set "rows2"; did you mean "rows"?'),
    ],
)
def test_a_wrong_override_is_its_own_place(load, override, problem):
    assert problems(load, 'extends = "base.toml"', override) == [problem]


def test_an_override_does_not_take_the_place_of_the_section_it_reaches_into(load):
    assert problems(load, SMALLEST.replace('path = "rows.jsonl"\n', ""), "data.limit=3") == [
        "child.toml:1:2: data.path: is missing: The file."
    ]


def test_overrides_that_contradict_each_other_are_refused(load):
    assert problems(load, 'extends = "base.toml"', "data.extra=1", "data.extra.x=2")[-1] == (
        "-o data.extra.x=2: data.extra: is also overridden with a plain value, which cannot have keys; drop one of the two overrides"
    )


def test_every_shipped_recipe_is_valid():
    from kdkit import plugins as plugin_loading

    plugins = plugin_loading.load()
    assert shipped_recipes()
    for name in shipped_recipes():
        assert load_any(name, plugins=plugins).name == name


def test_very_many_keys_are_laid_over_each_other_in_no_time(folder, load):
    keys = "".join(f"k{number} = {number}\n" for number in range(20_000))
    (folder / "many.toml").write_text(SMALLEST + "[data.extra]\n" + keys)
    begun = time.process_time()
    made = load('extends = "many.toml"\n[data.extra]\n' + keys + "own = 'new'\n")
    assert time.process_time() - begun < 10
    assert made.data.extra["own"] == "new"
