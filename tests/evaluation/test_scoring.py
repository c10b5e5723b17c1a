"""Scores and their intervals."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api.suites import NamedSuite
from kdkit.api.values import Direction, Example, Score
from kdkit.builtin.metrics.text import Text
from kdkit.errors import KdkitError
from kdkit.evaluation import intervals
from kdkit.evaluation.intervals import bootstrap_intervals, weighted_mean
from kdkit.evaluation.scoring import Column, columns_of, differences_of, scores_of


class Fixed:
    """A suite that says what it was told."""

    def __init__(self, **metrics):
        self.metrics = metrics

    def score(self, generated, references, examples):
        return self.metrics


def scores(*suites, rows, resamples=200, seed=0):
    texts = [""] * rows
    examples = [Example(id=str(row), source="", target="") for row in range(rows)]
    columns = columns_of([NamedSuite(*named) for named in suites], texts, texts, examples)
    return scores_of("student", "truth", columns, resamples=resamples, seed=seed)


values_or_none = st.lists(st.none() | st.floats(-10, 10), min_size=1, max_size=30)


@settings(deadline=None)
@given(values_or_none, st.integers(1, 60), st.integers(0, 9))
def test_a_value_is_the_mean_of_the_rows_that_count_and_lies_in_its_interval(values, resamples, seed):
    counted = [value for value in values if value is not None]
    found = scores(("s", Fixed(m=values)), rows=len(values), resamples=resamples, seed=seed)
    if not counted:
        assert found == []
        return
    (score,) = found
    assert score.count == len(counted)
    assert score.value == pytest.approx(np.mean(counted), abs=1e-12)
    assert min(counted) <= score.low <= score.value <= score.high <= max(counted)


@settings(deadline=None)
@given(st.floats(-1, 1), st.integers(1, 40))
def test_rows_that_agree_leave_no_doubt(value, rows):
    (score,) = scores(("s", Fixed(m=[value] * rows)), rows=rows)
    assert score.low == score.value == score.high == value


def test_a_single_row_that_counts_is_its_own_interval():
    (score,) = scores(("s", Fixed(m=[None, 0.3, None, None])), rows=4)
    assert (score.low, score.value, score.high, score.count) == (0.3, 0.3, 0.3, 1)


def test_the_seed_determines_the_intervals():
    suite = ("s", Fixed(m=list(np.random.default_rng(1).random(50))))
    assert scores(suite, rows=50, seed=3) == scores(suite, rows=50, seed=3)
    assert scores(suite, rows=50, seed=3) != scores(suite, rows=50, seed=4)


def test_drawing_in_small_pieces_changes_nothing(monkeypatch):
    values_RM = np.random.default_rng(0).random((37, 3))
    whole = bootstrap_intervals(values_RM, resamples=100, seed=5)
    monkeypatch.setattr(intervals, "_CHUNK_CELLS", 100)
    np.testing.assert_allclose(bootstrap_intervals(values_RM, resamples=100, seed=5), whole, rtol=1e-12)


def test_the_intervals_are_those_of_a_bootstrap_written_out():
    generator = np.random.default_rng(0)
    values_RM = generator.random((20, 2))
    values_RM[generator.random((20, 2)) < 0.3] = np.nan
    found_2M = bootstrap_intervals(values_RM, resamples=300, seed=8)
    picks = np.random.default_rng(8)
    means = [np.nanmean(values_RM[picks.integers(0, 20, size=20)], axis=0) for _ in range(300)]
    np.testing.assert_allclose(found_2M, np.percentile(means, [2.5, 97.5], axis=0))


def test_a_metric_has_the_same_interval_whatever_stands_beside_it():
    generator = np.random.default_rng(0)
    first, second = list(generator.random(25)), list(generator.random(25))
    alone = scores(("s", Fixed(a=first)), rows=25)[0]
    beside = scores(("t", Fixed(b=second)), ("s", Fixed(a=first)), rows=25)[1]
    assert beside.low == pytest.approx(alone.low)
    assert beside.high == pytest.approx(alone.high)


def test_the_intervals_hold_the_true_mean_about_95_times_in_100():
    generator = np.random.default_rng(0)
    true_mean, experiments = 0.3, 300
    # Each column is an experiment of its own: 80 rows that are right with probability 0.3.
    values_RM = (generator.random((80, experiments)) < true_mean).astype(float)
    low_M, high_M = bootstrap_intervals(values_RM, resamples=1000, seed=1)
    covered = np.mean((low_M <= true_mean) & (true_mean <= high_M))
    assert 0.90 <= covered <= 0.99


def test_four_times_the_rows_halve_the_interval():
    generator = np.random.default_rng(0)
    low_M, high_M = bootstrap_intervals(generator.random((100, 40)), resamples=400, seed=0)
    low4_M, high4_M = bootstrap_intervals(generator.random((400, 40)), resamples=400, seed=0)
    assert np.mean(high4_M - low4_M) == pytest.approx(np.mean(high_M - low_M) / 2, rel=0.1)


def test_scores_name_what_they_are_of():
    texts, references = ["a", "b"], ["a", "c"]
    examples = [Example(id=str(row), source="", target=text) for row, text in enumerate(references)]
    columns = columns_of([NamedSuite("text", Text())], texts, references, examples)
    found = scores_of("teacher", "truth", columns, resamples=100, seed=0)
    assert [score.metric for score in found] == ["exact_match", "f1", "similarity"]
    assert found[0] == Score(
        model="teacher", against="truth", suite="text", metric="exact_match", value=0.5, low=0.0, high=1.0, count=2
    )


def test_without_rows_there_are_no_scores():
    assert scores(("text", Text()), rows=0) == []


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"m": [1.0]}, 'metric suite "bad" returned 1 values of "m" for 2 rows'),
        ({"m": [1.0, float("nan")]}, 'metric suite "bad" returned nan as "m" of row 1'),
        ({"m": [float("inf"), 1.0]}, 'metric suite "bad" returned inf as "m" of row 0'),
        ({"m": ["high", 1.0]}, 'metric suite "bad" returned \'high\' as "m" of row 0'),
    ],
)
def test_a_suite_that_breaks_its_word_is_named(metrics, message):
    with pytest.raises(KdkitError, match=message):
        scores(("bad", Fixed(**metrics)), rows=2)


class Directed(Fixed):
    directions: ClassVar = {"errors": "lower", "length": "neither"}


def test_a_score_has_the_direction_that_its_suite_states_and_a_part_that_of_its_whole():
    suite = Directed(errors=[1.0], length=[1.0], holds=[1.0], **{"errors/equals": [1.0]})
    assert [(each.metric, each.direction) for each in scores(("s", suite), rows=1)] == [
        ("errors", "lower"),
        ("length", "neither"),
        ("holds", "higher"),
        ("errors/equals", "lower"),
    ]


def test_a_direction_that_is_none_is_named():
    suite = Fixed(m=[1.0])
    suite.directions = {"m": "less"}
    with pytest.raises(
        KdkitError, match=r"""metric suite "bad" states 'less' as the direction of "m"; it must state"""
    ):
        scores(("bad", suite), rows=1)


def test_a_difference_has_the_direction_of_its_metric():
    ours, theirs = (
        Column(suite="s", metric="m", values_R=np.array([v]), direction=Direction.LOWER) for v in (1.0, 0.5)
    )
    (found,) = differences_of([ours], [theirs], resamples=9, seed=0)
    assert (found.direction, found.verdict) == ("lower", "worse")


def column(values, metric="m"):
    return Column(suite="s", metric=metric, values_R=np.array(values, dtype=float))


def test_a_difference_pairs_the_rows():
    generator = np.random.default_rng(0)
    teacher = generator.random(200)
    student = teacher - 0.01  # far less than rows differ among each other, yet the same in every row
    found = differences_of([column(student)], [column(teacher)], resamples=200, seed=0)
    assert found[0].value == pytest.approx(-0.01)
    assert found[0].high < 0
    assert found[0].high - found[0].low < 1e-9


def test_a_difference_is_over_the_rows_that_count_for_both():
    student, teacher = [1.0, float("nan"), 0.0], [0.5, 1.0, float("nan")]
    found = differences_of([column(student), column([1.0] * 3, "other")], [column(teacher)], resamples=50, seed=0)
    assert [(each.metric, each.value, each.count) for each in found] == [("m", 0.5, 1)]


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 9)), min_size=1, max_size=20))
def test_a_weighted_mean_is_that_of_the_repeated_values(pairs):
    values, weights = np.array(pairs, dtype=float).T
    found = weighted_mean(values, weights, count=len(pairs), resamples=50, seed=0)
    repeated = [value for value, weight in pairs for _ in range(weight)]
    assert found.value == pytest.approx(np.mean(repeated), abs=1e-9)
    assert found.low <= found.value <= found.high
    assert found.count == len(pairs)
