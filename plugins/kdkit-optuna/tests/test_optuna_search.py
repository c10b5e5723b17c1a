"""What is proposed depends on the outcomes and the seed alone, repeats nothing, and learns."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_kit import SPACE, outcome, searched

from kdkit.api import OpenSearch, Search
from kdkit.testing import check_search
from kdkit_optuna.search import Optuna


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def test_it_is_a_search(folder):
    search = Optuna(space=SPACE)
    assert isinstance(search, Search)
    assert list(search.axes) == list(SPACE)
    assert [(each.axis, each.value, each.at) for each in search.ends()][1:5] == [
        ("loss.alpha", 1.0, ("space", "loss.alpha", "high")),
        ("loss.temperature", 0.5, ("space", "loss.temperature", "low")),
        ("loss.temperature", 8.0, ("space", "loss.temperature", "high")),
        ("training.batch_size", 16, ("space", "training.batch_size", "choices", 0)),
    ]
    assert isinstance(search.open(folder, seed=0), OpenSearch)


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_the_same_seed_and_outcomes_give_the_same_proposals_and_another_seed_others(folder, sampler):
    options = {"sampler": sampler, "startup": 3}
    first = searched(folder, 4, **options)
    assert searched(folder, 4, apart=True, **options) == first
    assert searched(folder, 4, outcomes=first[:3], **options) == first
    assert searched(folder, 4, seed=2, outcomes=first[:3], **options) != first
    assert len({str(each.values) for each in first}) == 4


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from(["done", "failed", "running", "interrupted", "waiting"]), max_size=8), st.integers(0, 9)
)
def test_whatever_became_of_the_others_a_proposal_lies_in_the_space_and_is_new(statuses, seed):
    chance = random.Random(seed)
    opened = Optuna(space=SPACE, startup=2).open(Path(), seed=seed)
    outcomes = []
    for number, status in enumerate(statuses):
        opened.tell(outcomes)
        values = opened.ask()
        value = chance.choice([1.0, None, float("nan"), float("inf")])
        outcomes.append(outcome(values, number=number, status=status, value=value))
    opened.tell(outcomes)
    values = opened.ask()
    assert 0 <= values["loss.alpha"] <= 1
    assert 0.5 <= values["loss.temperature"] <= 8
    assert values["training.batch_size"] in {16, 32, 64}
    assert values["training.epochs"] in {1, 2, 3, 4}
    assert values not in [each.values for each in outcomes]


def test_who_asks_twice_before_telling_gets_two_trials(folder):
    opened = Optuna(space=SPACE).open(folder, seed=3)
    opened.tell([])
    asked = [opened.ask() for _ in range(5)]
    assert len({str(values) for values in asked}) == 5


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_space_that_can_be_counted_is_gone_through_without_a_repetition(folder, sampler):
    space = {"a": {"choices": ["x", "y", "z"]}, "b": {"low": 1, "high": 4}}
    opened = Optuna(space=space, trials=12, sampler=sampler).open(folder, seed=0)
    found = []
    for number in range(12):
        opened.tell(found)
        values = opened.ask()
        found.append(outcome(values, number=number, value=float(values["b"])))
    assert len({str(each.values) for each in found}) == 12
    opened.tell(found)
    assert opened.ask() in [each.values for each in found]  # there is nothing else, and that is fine


def test_outcomes_of_another_space_are_no_hindrance(folder):
    opened = Optuna(space=SPACE).open(folder, seed=0)
    opened.tell([outcome({**SPACE, "loss.alpha": 7.0}, value=1.0), outcome({}, value=2.0)])
    assert opened.ask()["loss.alpha"] <= 1


def test_what_runs_elsewhere_keeps_others_away(folder):
    """Constant liar: where the best trials so far crowd, one that runs there turns the next away."""

    def near(running: bool) -> int:
        crowd = [outcome({"x": 0.5 + n / 1000}, number=n, value=0.0, higher=False) for n in range(4)]
        crowd += [outcome({"x": n / 30}, number=20 + n, value=1.0, higher=False) for n in range(31)]
        crowd += [
            outcome({"x": 0.5 + n / 997}, number=60 + n, status="running", value=None) for n in range(1, 7) if running
        ]
        found = 0
        for seed in range(8):
            opened = Optuna(space={"x": {"low": 0.0, "high": 1.0}}).open(folder, seed=seed)
            opened.tell(crowd)
            found += abs(opened.ask()["x"] - 0.5) < 0.05
        return found

    assert near(running=True) < near(running=False)


def test_the_direction_is_that_of_the_outcomes(folder):
    def proposals(higher: bool) -> list[float]:
        outcomes = [outcome({"x": n / 20}, number=n, value=n / 20, higher=higher) for n in range(21)]
        found = []
        for seed in range(5):
            opened = Optuna(space={"x": {"low": 0.0, "high": 1.0}}).open(folder, seed=seed)
            opened.tell(outcomes)
            found.append(opened.ask()["x"])
        return found

    assert min(proposals(higher=True)) > 0.5 > max(proposals(higher=False))


def test_a_sampler_that_learns_beats_chance(folder):
    def best(name: str) -> float:
        return sum(max(each.value for each in searched(folder, 24, seed=seed, sampler=name)) for seed in range(3))

    assert best("tpe") > best("random")


def test_optuna_says_nothing_but_warnings_of_note(folder, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        searched(folder, 12, startup=2)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING


def test_a_recipe_with_the_search_needs_no_optuna_to_be_read():
    code = (
        "import sys; from kdkit_optuna.search import Optuna;"
        "Optuna(space={'a': {'low': 1, 'high': 40}}); assert not {'optuna', 'torch', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("storage", ["", "journal"])
def test_it_keeps_the_promises_of_searches(sampler, storage):
    check_search(Optuna(space=SPACE, sampler=sampler, storage=storage, startup=2, trials=6))
