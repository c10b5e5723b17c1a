"""The space of a search: every value stays in it, keeps its type, and is the same for the recipe and for optuna."""

from __future__ import annotations

import json
import math
import tomllib

import optuna
import pytest
import tomli_w
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kdkit
from kdkit.errors import RecipeError
from kdkit.plugins.structure import WRONG, Structurer
from kdkit_optuna.axes import Choices, Fraction, Whole
from kdkit_optuna.search import Optuna
from kdkit_optuna.space import read_space

whole = st.integers(-50, 50)
fraction = st.floats(-100, 100, allow_nan=False).map(lambda number: float(f"{number:.4g}"))
toml_values = st.one_of(st.integers(-9, 9), st.booleans(), st.text(max_size=3), fraction, st.lists(whole, max_size=2))


@st.composite
def whole_axes(draw):
    low = draw(whole)
    high = low + draw(st.integers(1, 60))
    return {"low": low, "high": high, "step": draw(st.integers(1, high - low))}


@st.composite
def fraction_axes(draw):
    low = draw(fraction)
    width = draw(st.sampled_from([0.3, 1.0, 7.7]))
    spec = {"low": low, "high": low + width}
    kind = draw(st.sampled_from(["plain", "step", "log"]))
    if kind == "step":
        spec["step"] = draw(st.sampled_from([0.1, 0.05, 0.3]))
    if kind == "log":
        spec |= {"low": abs(low) + 0.01, "high": abs(low) + 0.01 + width, "log": True}
    return spec


choice_axes = st.lists(toml_values, min_size=1, max_size=5, unique_by=json.dumps).map(
    lambda values: {"choices": values}
)
axes = st.one_of(whole_axes(), fraction_axes(), choice_axes)


@settings(deadline=None)
@example({"low": 32.0, "high": 32.3, "step": 0.3}, 0)
@example({"low": 32.62, "high": 32.62 + 0.3, "step": 0.3}, 0)
@example({"low": 2.22e-16, "high": 0.3000000000000002, "step": 0.1}, 0)
@given(axes, st.integers(0, 2**32 - 1))
def test_what_optuna_draws_is_a_value_of_the_axis_that_toml_can_hold_and_optuna_knows_again(spec, seed):
    space = read_space({"a.b": spec})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    params = study.ask(space.distributions()).params
    values = space.values_of(params)
    assert tomllib.loads(tomli_w.dumps({"v": values["a.b"]}))["v"] == values["a.b"]
    if "choices" in spec:
        assert any(values["a.b"] is choice for choice in spec["choices"])
    else:
        assert spec["low"] <= values["a.b"] <= spec["high"]
        assert type(values["a.b"]) is (int if isinstance(spec["low"], int) else float)
        if "step" in spec:
            steps = (values["a.b"] - spec["low"]) / spec["step"]
            assert math.isclose(steps, round(steps), abs_tol=1e-6)
    again = space.params_of(values)
    assert again is not None
    assert space.values_of(again) == values
    assert space.distributions()["a.b"]._contains(space.distributions()["a.b"].to_internal_repr(again["a.b"]))
    assert space.key_of(values) == space.key_of(json.loads(json.dumps(values)))


@settings(deadline=None, max_examples=50)
@given(st.one_of(whole_axes(), choice_axes), st.one_of(whole_axes(), choice_axes))
def test_a_space_that_can_be_counted_has_as_many_trials_as_it_says_and_no_two_alike(one, other):
    space = read_space({"x": one, "y": other})
    found = [space.key_of(values) for values in space.all_values()]
    assert len(found) == len(set(found)) == space.size
    assert all(space.params_of(values) is not None for values in space.all_values())


def test_a_step_of_a_fraction_has_no_dust_and_ends_at_the_last_that_fits():
    axis = read_space({"a": {"low": 0.1, "high": 1.0, "step": 0.2}}).axes["a"]
    assert axis == Fraction(low=0.1, high=0.9, step=0.2)
    assert axis.values == (0.1, 0.3, 0.5, 0.7, 0.9)
    assert axis.value_of(axis.param_of(0.3)) == 0.3
    assert axis.param_of(0.4) is None


def test_true_and_one_are_two_choices():
    space = read_space({"a": {"choices": [1, True, 1.0, "1"]}})
    assert space.size == 4
    assert len({space.key_of(values) for values in space.all_values()}) == 4


def test_whole_numbers_stay_whole_and_one_fraction_makes_all_fractions():
    assert read_space({"a": {"low": 1, "high": 4}}).axes["a"] == Whole(low=1, high=4)
    assert read_space({"a": {"low": 1, "high": 9, "step": 3}}).axes["a"] == Whole(low=1, high=7, step=3)
    assert read_space({"a": {"low": 0, "high": 1.0}}).axes["a"] == Fraction(low=0.0, high=1.0)
    assert read_space({"a": {"choices": [16, 32]}}).axes["a"] == Choices((16, 32))


def test_a_trial_outside_the_space_is_no_trial_of_it():
    space = read_space({"x": {"low": 1, "high": 4}, "y": {"choices": ["a"]}})
    assert space.params_of({"x": 2, "y": "a"}) == {"x": 2, "y": '"a"'}
    for outside in ({"x": 5, "y": "a"}, {"x": 2, "y": "b"}, {"x": 2}, {"x": True, "y": "a"}, {"x": 1.5, "y": "a"}):
        assert space.params_of(outside) is None
        assert space.key_of(outside) != space.key_of({"x": 2, "y": "a"})


def test_keys_without_quotes_are_the_same_space():
    quoted = '"loss.alpha" = { low = 0.0, high = 1.0 }\n"tokens.max_source" = { choices = [1] }'
    bare = "loss.alpha = { low = 0.0, high = 1.0 }\ntokens.max_source = { choices = [1] }"
    assert read_space(tomllib.loads(quoted)) == read_space(tomllib.loads(bare))


WRONG_SPACES = [
    ({"a": {"low": 2.0, "high": 1.0}}, "a has low = 2.0 and high = 1.0; low must be less than high"),
    ({"a": {"low": 1, "high": 1}}, "low must be less than high"),
    ({"a": {"low": 0.0, "high": 1.0, "log": True}}, "on a logarithmic scale low must be greater than 0"),
    ({"a": {"low": 1, "high": 9, "log": True, "step": 2}}, "log = true and a step; give one of them"),
    ({"a": {"low": 1, "high": 9, "step": 0}}, "step = 0; it must be greater than 0 and at most 8"),
    ({"a": {"low": 1, "high": 9, "step": 9}}, "step = 9; it must be greater than 0 and at most 8"),
    ({"a": {"low": 1, "high": 9, "log": "yes"}}, 'log = "yes"; it must be true or false'),
    ({"a": {"low": 1, "high": True}}, "high = true; it must be a finite number"),
    ({"a": {"low": 1, "high": math.inf}}, "high = Infinity; it must be a finite number"),
    ({"a": {"low": "1", "high": 2}}, 'low = "1"; it must be a finite number'),
    ({"a": {"low": 1}}, "a needs low and high, or choices"),
    ({"a": {}}, "a needs low and high, or choices"),
    ({"a": 3}, "a must be a table of low and high, or of choices, is 3"),
    ({"a": {"choices": []}}, "choices = []; it must be a list of at least one value"),
    ({"a": {"choices": "ab"}}, 'choices = "ab"; it must be a list of at least one value'),
    ({"a": {"choices": [1, 2, 1]}}, "lists 1 more than once in choices"),
    ({"a": {"choices": [1], "low": 2}}, "choices and a range; give one of them"),
    ({"a": {"lo": 1, "high": 2}}, 'has "lo", which is not an option of an axis; did you mean "low"?'),
    ({"a": {"mean": 1}}, "available: low, high, step, log, choices"),
    ({}, 'has no axis; give one, such as { "loss.alpha" = '),
    ({"a": {"low": 1, "high": 2**60}}, "floats cannot tell such numbers apart"),
    ({"a": {"low": 0.0, "high": 1.0, "step": 1e-300}}, "floats cannot tell such numbers apart"),
]


@pytest.mark.parametrize(("space", "said"), WRONG_SPACES)
def test_what_is_wrong_with_a_space_is_said_when_it_is_made(space, said):
    with pytest.raises(ValueError) as caught:
        Optuna(space=space, trials=1)
    assert said in str(caught.value)


def test_all_axes_that_are_wrong_are_named():
    with pytest.raises(ValueError) as caught:
        Optuna(space={"a": {"low": 2, "high": 1}, "b": {"choices": []}})
    assert "a has" in str(caught.value)
    assert "b has" in str(caught.value)


def test_a_recipe_says_what_is_wrong_with_a_search_where_it_stands():
    structurer = Structurer(kdkit.load_plugins())
    table = {"name": "optuna", "space": {"a": {"low": 2, "high": 1}}, "sampler": "magic", "trials": 0}
    _, made = structurer.component("searches", table, ("sweep", "search"))
    assert made is WRONG
    assert {path for path, _ in structurer.problems} == {
        ("sweep", "search", key) for key in ("space", "sampler", "trials")
    }
    assert RecipeError([sentence for _, sentence in structurer.problems]).problems


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sampler": "magic"}, "sampler"),
        ({"trials": 0}, "trials"),
        ({"storage": "jurnal"}, 'must be "" (nothing is kept), "journal", or the URL of a database'),
        ({"storage": "user:hunter2@host"}, "URL of a database"),
        ({"space": {"a": {"choices": [1, 2]}}, "trials": 3}, "asks for 3 trials, but the space has only 2"),
    ],
)
def test_what_is_wrong_with_an_option_is_said_when_it_is_made(options, said):
    with pytest.raises(ValueError) as caught:
        Optuna(**{"space": {"a": {"low": 0.0, "high": 1.0}}, **options})
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_axis_of_very_many_values_is_not_counted_out():
    for spec in ({"low": 1, "high": 10**12, "step": 3}, {"low": 0.0, "high": 1.0, "step": 1e-9}):
        search = Optuna(space={"a": spec, "b": {"choices": list(range(3000))}}, trials=4000)
        assert read_space(search.space).size is None
    assert read_space({"a": {"low": 1, "high": 10_000}}).size == 10_000
