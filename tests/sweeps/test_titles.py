"""What trials are called beside each other."""

from __future__ import annotations

import pytest

from kdkit.sweeps.titles import cells_of, titles_of, told_apart

TUNED = {"name": "hf-causal", "model": "a-long-name", "fine_tune": {"layers": 10, "rows": 240, "best_by": "hard"}}
PLAIN = {"name": "hf-causal", "model": "a-long-name"}


def alone(*values):
    return titles_of([(each, None) for each in values])


def test_what_all_trials_share_is_left_out_and_of_tables_the_keys_that_differ_are_told():
    first, second = {"loss.alpha": 0.5, "teacher": TUNED}, {"loss.alpha": 0.5, "teacher": PLAIN}
    assert alone(first, second) == ["teacher.fine_tune yes", "teacher.fine_tune no"]
    fewer = {"loss.alpha": 0.5, "teacher": {**TUNED, "fine_tune": {**TUNED["fine_tune"], "rows": 24}}}
    assert alone(first, fewer) == ["teacher.fine_tune.rows 240", "teacher.fine_tune.rows 24"]
    assert alone(first, second, fewer) == [f"teacher.fine_tune.{each}" for each in (
        "layers 10, teacher.fine_tune.rows 240, teacher.fine_tune.best_by hard",
        "layers -, teacher.fine_tune.rows -, teacher.fine_tune.best_by -",
        "layers 10, teacher.fine_tune.rows 24, teacher.fine_tune.best_by hard",
    )]  # fmt: skip
    codecs = [{"codec": "float"}, {"codec": {"name": "topk", "k": 64}}]
    assert alone(*codecs) == ["codec float", "codec topk (k 64)"]
    assert told_apart(codecs) == codecs


@pytest.mark.parametrize("axes", [1, 4, 5])
def test_of_many_keys_only_those_with_an_unusual_value_are_told(axes):
    usual = {f"k.{number}": 1 for number in range(axes)}
    trials = [usual, *({**usual, key: 2} for key in usual), *([{**usual, "k.0": 3}] if axes < 3 else [])]
    found = titles_of([(values, 7) for values in trials])
    if axes > 4:
        assert cells_of(trials)[1] == {"trial": "0 2"}
        assert found == ["as most trials, seed 7", *(f"{number} 2, seed 7" for number in range(axes))]
    else:
        assert found[0] == ", ".join([*(f"{key} 1" for key in usual), "seed 7"])


def test_a_trial_alone_has_all_its_values_and_trials_that_differ_by_seed_their_seeds():
    assert alone({"loss.alpha": 0.5}) == ["loss.alpha 0.5"]
    assert titles_of([({}, 1), ({}, 2)]) == ["seed 1", "seed 2"]
    assert titles_of([({"a": 1}, 1), ({"a": 1}, 2)]) == ["seed 1", "seed 2"]
