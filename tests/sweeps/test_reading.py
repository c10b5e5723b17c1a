"""`[sweep]`: which trials a recipe asks for, and everything that is wrong with one, each with its place."""

from __future__ import annotations

import itertools
import tomllib

import jsonschema
import pytest
from fake_plugin import SMALLEST, fake_plugins
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdkit.errors import RecipeError
from kdkit.recipe import json_schema, load_recipe
from kdkit.sweeps.reading import load_any, load_sweep
from kdkit.sweeps.swept_keys import value_text

GRIDS = st.fixed_dictionaries(
    {},
    optional={
        "loss.alpha": st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=3, unique=True),
        "loss.temperature": st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=1, max_size=3, unique=True),
        "training.epochs": st.lists(st.integers(1, 4), min_size=1, max_size=2, unique=True),
    },
).filter(bool)
UNVARIED = "is not a key that the sweep varies"
SEVERAL = """[sweep]
gird = 1
skip = [{ loss.alpha = 1 }, { loss.temperatur = 1 }]
[sweep.grid]
loss.alfa = [1]
loss.temperature = [-1.0, 1.0]"""
UNEQUAL = "its lists are varied together, so they must be equally long"
SEEDS = st.lists(st.integers(0, 9), max_size=3, unique=True)


@pytest.fixture
def plugins(monkeypatch):
    return fake_plugins(monkeypatch)


@pytest.fixture
def sweep(tmp_path, monkeypatch, plugins):
    """The sweep of a recipe with these lines."""
    monkeypatch.chdir(tmp_path)

    def sweep(text, *overrides):
        (tmp_path / "s.toml").write_text(SMALLEST + text, encoding="utf-8")
        return load_sweep("s.toml", overrides, plugins=plugins)

    return sweep


@pytest.fixture
def problems(sweep):
    def problems(text, *overrides):
        with pytest.raises(RecipeError) as caught:
            sweep(text, *overrides)
        return list(caught.value.problems)

    return problems


def values(sweep):
    return [tuple(trial.values.values()) for trial in sweep.trials]


def place(line: int, column: int) -> str:
    """A place counted from the first line after the recipe's own."""
    return f"s.toml:{SMALLEST.count(chr(10)) + line}:{column}"


@given(GRIDS, SEEDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None)
def test_a_grid_is_every_combination_with_every_seed_each_once(plugins, grid, seeds):
    table = tomllib.loads(SMALLEST) | {"sweep": {"grid": grid, **({"seeds": seeds} if seeds else {})}}
    made = load_sweep(table, plugins=plugins)
    assert made.axes == tuple(grid)
    assert made.seeds == tuple(seeds)
    expected = set(itertools.product(*grid.values(), seeds or [None]))
    found = [(*trial.values.values(), trial.seed) for trial in made.trials]
    assert len(found) == len(expected)
    assert set(found) == expected
    for trial in made.trials:
        again = load_recipe(tomllib.loads(trial.recipe.to_toml()), plugins=plugins)
        assert again.digest == trial.recipe.digest
        assert trial.id == trial.recipe.digest[:16]
        assert again.training.seed == trial.seed


def test_keys_may_be_nested_tables_dotted_or_quoted(sweep):
    spellings = (
        "[sweep.grid]\nloss.alpha = [0.1, 0.2]\n",
        '[sweep]\ngrid = { "loss.alpha" = [0.1, 0.2] }\n',
        "[sweep.grid.loss]\nalpha = [0.1, 0.2]\n",
    )
    ids = {tuple(trial.id for trial in sweep(text).trials) for text in spellings}
    assert len(ids) == 1


def test_a_trial_is_the_recipe_with_its_values_and_the_same_as_a_plain_run_of_it(sweep, plugins):
    trial = sweep("[sweep.grid]\nloss.alpha = [0.25]\n").trials[0]
    table = tomllib.loads(SMALLEST) | {"loss": {"alpha": 0.25}}
    assert trial.recipe.digest == load_recipe(table, plugins=plugins).digest


def test_zip_varies_its_lists_together_and_crosses_them_with_the_grid(sweep):
    found = sweep(
        "[sweep]\ngrid.loss.alpha = [0.0, 1.0]\nzip.loss.temperature = [1.0, 2.0]\nzip.training.epochs = [3, 4]\n"
    )
    assert found.axes == ("loss.alpha", "loss.temperature", "training.epochs")
    assert values(found) == [(0.0, 1.0, 3), (0.0, 2.0, 4), (1.0, 1.0, 3), (1.0, 2.0, 4)]


def test_points_stand_beside_the_grid_and_have_the_recipes_own_value_of_what_they_leave(sweep):
    found = sweep(
        "[loss]\ntemperature = 4.0\n[sweep]\nseeds = [1, 2]\n"
        "points = [{ loss.alpha = 0.0 }, { loss.alpha = 1.0, seeds = [7] }]\n"
        "[sweep.grid]\nloss.alpha = [0.5]\nloss.temperature = [2.0]\n"
    )
    assert [(*t.values.values(), t.seed) for t in found.trials] == [
        (0.5, 2.0, 1), (0.0, 4.0, 1), (1.0, 4.0, 7), (0.5, 2.0, 2), (0.0, 4.0, 2),
    ]  # fmt: skip


def test_points_alone_are_all_there_is(sweep):
    assert values(sweep("[sweep]\npoints = [{ loss.alpha = 0.0 }, { loss.alpha = 1.0 }]\n")) == [(0.0,), (1.0,)]


def test_equal_trials_run_once(sweep):
    text = "[loss]\nalpha = 0.5\n[sweep]\npoints = [{ loss.alpha = 0.5 }]\n[sweep.grid]\nloss.alpha = [0.5, 0.5, 1]\n"
    assert values(sweep(text)) == [(0.5,), (1,)]


def test_skip_leaves_out_what_agrees_with_all_keys_and_a_list_is_any_of_them(sweep):
    text = (
        "[sweep]\nskip = [{ loss.alpha = 0, loss.temperature = [1.0, 2.0] }, { training.seed = 2, loss.alpha = 1 }]\n"
        "seeds = [1, 2]\n[sweep.grid]\nloss.alpha = [0.0, 1.0]\nloss.temperature = [1.0, 2.0, 3.0]\n"
    )
    found = {(*t.values.values(), t.seed) for t in sweep(text).trials}
    assert found == {(0.0, 3.0, 1), (0.0, 3.0, 2), (1.0, 1.0, 1), (1.0, 2.0, 1), (1.0, 3.0, 1)}


def test_a_table_as_value_replaces_the_whole_section(sweep):
    found = sweep(
        '[codec]\nscope = "array"\n[sweep]\npoints = [{ codec = { name = "plain" } }]\n'
        '[sweep.grid]\ncodec = [{ name = "u8-lz4" }, { name = "u8-lz4", scope = "array" }]\n'
    )
    codecs = [trial.recipe.resolved["codec"] for trial in found.trials]
    assert [codec["name"] for codec in codecs] == ["u8-lz4", "u8-lz4", "plain"]
    assert [codecs[0]["scope"], codecs[1]["scope"]] == ["row", "array"]  # the first is not that of the section
    assert found.axes == ("codec",)


def test_another_component_drops_the_options_of_the_one_before(sweep):
    found = sweep('[loss]\nalpha = 0.5\n[sweep.grid]\nloss.name = ["kd", "other"]\n')
    assert [trial.recipe.names["loss"] for trial in found.trials] == ["kd", "other"]


def test_overrides_reach_into_the_sweep_however_its_keys_are_spelt(sweep):
    text = '[sweep]\nseeds = [1, 2]\n[sweep.grid]\n"loss.alpha" = [0.0, 0.5]\n'
    found = sweep(text, "sweep.seeds=[3]", "sweep.grid.loss.alpha=[1.0]", "loss.temperature=2.0")
    assert [(*t.values.values(), t.seed) for t in found.trials] == [(1.0, 3)]
    assert found.trials[0].recipe.loss.temperature == 2.0


def test_a_sweep_may_extend_a_plain_recipe_and_is_kept_as_it_was_written(tmp_path, monkeypatch, plugins):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.toml").write_text(SMALLEST)
    (tmp_path / "s.toml").write_text('extends = "base.toml"\nname = "mine"\n[sweep.grid]\nloss.alpha = [0.0, 1.0]\n')
    found = load_sweep("s.toml", plugins=plugins)
    (tmp_path / "kept.toml").write_text(found.to_toml())
    again = load_sweep("kept.toml", plugins=plugins)
    assert (again.name, [t.id for t in again.trials]) == ("mine", [t.id for t in found.trials])


def test_what_is_told_apart_by_is_no_part_of_the_digest(sweep):
    text = "[sweep.grid]\nloss.alpha = [0.0]\n"
    assert sweep(text).trials[0].id == sweep(text, "name=other", "description=x").trials[0].id


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("[sweep]\ngird = {}", [(2, 1, 'sweep.gird: is not a key of [sweep]; did you mean "grid"?')]),
        ("[sweep.grid]\nloss.alpha = []", [(2, 6, "sweep.grid.loss.alpha: is an empty list; give at least one value")]),
        ("[sweep.grid]\nloss.alpha = 1", [(2, 6, "sweep.grid.loss.alpha: must be a list of values, is 1")]),
        (
            "[sweep.grid]\nloss.alpha = [0.5, 2]\n[training]\nepochs = 0",
            [(2, 20, "loss.alpha: must be at most 1, is 2"), (4, 1, "training.epochs: must be at least 1, is 0")],
        ),
        (
            "[sweep.grid]\nloss.alhpa = [0.5, 2]",
            [(2, 15, 'loss.alhpa: is not an option of loss "kd"; did you mean "alpha"?')],
        ),
        (
            "[sweep]\npoints = [{ los.alpha = 1 }]",
            [(2, 17, 'los: is not a key or section of a recipe; did you mean "loss"?')],
        ),
        (
            "[sweep.zip]\nloss.alpha = [0, 1]\nloss.temperature = [1]",
            [
                (1, 8, f"sweep.zip: {UNEQUAL}: loss.alpha has 2, loss.temperature has 1"),
            ],
        ),
        (
            "[sweep]\nseeds = [1]\n[sweep.grid]\ntraining.seed = [1]",
            [(2, 1, "sweep.seeds: training.seed is varied by grid, zip or points as well; vary it in one place")],
        ),
        ("[sweep]\nseeds = [-1]", [(2, 10, "training.seed: must be at least 0, is -1")]),
        ("[sweep]\nseeds = 3", [(2, 1, "sweep.seeds: must be a list of whole numbers, is 3")]),
        ("[sweep]", [(1, 2, "sweep: has no trial: it needs grid, zip, points, seeds or [sweep.search]")]),
        (
            "[sweep]\nskip = [{ loss.alpha = 1 }]\n[sweep.grid]\nloss.alpha = [1]",
            [(1, 2, "sweep: has no trial: skip leaves out all of them")],
        ),
        (
            "[sweep]\nskip = [{ loss.alpa = 1 }]\n[sweep.grid]\nloss.alpha = [1, 0]",
            [(2, 16, 'sweep.skip[0].loss.alpa: loss.alpa is not a key that the sweep varies; did you mean "loss.alpha"?')],
        ),
        (
            "[sweep]\ngrid.loss.alpha = [1]\nzip.loss.alpha = [1]",
            [(3, 1, "sweep.zip: loss.alpha is in grid as well; vary it in only one of them")],
        ),
        (
            "[sweep.grid]\ndescription = ['x']",
            [(2, 1, "sweep.grid.description: description cannot be varied: it does not change any number of a run")],
        ),
        (  # a fault of [sweep] itself hides none of a trial; what is misspelt is not suggested
            SEVERAL,
            [
                (2, 1, 'sweep.gird: is not a key of [sweep]; did you mean "grid"?'),
                (3, 36, f'sweep.skip[1].loss.temperatur: loss.temperatur {UNVARIED}; did you mean "loss.temperature"?'),
                (5, 14, 'loss.alfa: is not an option of loss "kd"; did you mean "alpha"?'),
                (6, 21, "loss.temperature: must be greater than 0, is -1"),
            ],
        ),
        (  # what cannot be varied together is not tried together
            "[sweep.grid]\nloss = [{ name = 'kd' }]\n'loss.alpha' = [7]",
            [(1, 2, "sweep: loss and loss.alpha, a key in it, cannot both be varied")],
        ),
        ("[sweep.search]\nname = 'x'", [(2, 1, 'sweep.search.name: unknown search "x"; available: none')]),
        ("[sweep.grid]\ncodec = [{ name = 'plain' }]\ncodec.x = [1]", None),
    ],
)  # fmt: skip
def test_everything_wrong_is_said_with_its_place(problems, lines, expected):
    if expected is None:  # TOML itself does not take it
        assert len(problems(lines)) == 1
        return
    assert problems(lines) == [f"{place(line, column)}: {sentence}" for line, column, sentence in expected]


def test_a_value_of_the_command_line_is_wrong_there(problems):
    found = problems("[sweep.grid]\nloss.alpha = [0.5]\n", "sweep.grid.loss.alpha=[0.5, 7]")
    assert found == ["-o sweep.grid.loss.alpha=[0.5, 7]: loss.alpha: must be at most 1, is 7"]


def test_a_sweep_is_no_single_run_and_a_plain_recipe_no_sweep(sweep, plugins, tmp_path):
    found = sweep("[sweep.grid]\nloss.alpha = [0.0]\n")
    with pytest.raises(RecipeError, match=r"^s.toml:\d+:2: sweep: this recipe is a sweep of many trials, .*load_sweep"):
        load_recipe("s.toml", plugins=plugins)
    (tmp_path / "p.toml").write_text(SMALLEST)
    with pytest.raises(RecipeError, match=r"has no \[sweep\], so it is a single run; use kdkit\.load_recipe"):
        load_sweep("p.toml", plugins=plugins)
    assert load_any("p.toml", plugins=plugins).digest == found.base.digest


@pytest.mark.parametrize(
    ("lines", "valid"),
    [
        ('[sweep]\nseeds = [1]\npoints = [{ loss.alpha = 0 }]\n[sweep.grid]\nloss.alpha = [1]\n"loss.temperature" = [1]', True),
        ("[sweep]\nseeds = []", False),
        ("[sweep]\nseed = [1]", False),
        ("[sweep.grid]\nloss.alpha = 1", False),
        ("[sweep.grid]\nloss.alpha = []", False),
        ("[sweep]\nskip = [1]", False),
    ],
)  # fmt: skip
def test_the_schema_knows_the_sweep(plugins, lines, valid):
    validator = jsonschema.Draft202012Validator(json_schema(plugins))
    assert validator.is_valid(tomllib.loads(SMALLEST + lines)) == valid


def test_values_are_shown_in_a_few_words():
    assert [value_text(each) for each in (0.5, True, "linear", None, {"name": "topk", "k": 64}, {"name": "float"})] == [
        "0.5", "true", "linear", "-", "topk (k 64)", "float",
    ]  # fmt: skip


def test_a_grid_of_more_trials_than_anyone_runs_is_refused_before_they_are_made(plugins):
    axes = {f"training.{key}": list(range(1, 41)) for key in ("epochs", "batch_size", "accumulation")}
    table = {**tomllib.loads(SMALLEST), "sweep": {"grid": axes}}
    with pytest.raises(RecipeError, match=r"sweep.grid: asks for 64,000 trials, but a sweep has at most 10,000"):
        load_sweep(table, plugins=plugins)
    table["sweep"] = {"grid": {"training.epochs": list(range(1, 201))}, "seeds": list(range(100))}
    with pytest.raises(RecipeError, match=r"sweep: asks for 20,000 trials, but a sweep has at most 10,000"):
        load_sweep(table, plugins=plugins)
