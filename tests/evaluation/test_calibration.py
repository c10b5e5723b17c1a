"""The expected calibration error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdkit.evaluation.calibration import BINS, Bins
from kdkit.evaluation.record import as_json

tokens = st.lists(st.tuples(st.floats(0.001, 1.0), st.booleans()), min_size=1, max_size=40)


def bins(pairs) -> Bins:
    confidence, right = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    found = Bins()
    found.add(confidence, right)
    return found


def written_out(pairs) -> float:
    """Equation 3 of Guo et al., bin by bin."""
    error = 0.0
    for place in range(BINS):
        own = [(c, r) for c, r in pairs if place / BINS < c <= (place + 1) / BINS]
        if own:
            error += len(own) / len(pairs) * abs(np.mean([r for _, r in own]) - np.mean([c for c, _ in own]))
    return error


@given(tokens)
def test_it_is_the_equation_written_out(pairs):
    assert bins(pairs).error == pytest.approx(written_out(pairs), abs=1e-9)
    assert 0 <= bins(pairs).error <= 1
    assert bins(pairs).tokens == len(pairs)


@given(tokens, tokens)
def test_tokens_may_come_in_several_lots(one, other):
    both, added = bins([*one, *other]), bins(one) + bins(other)
    np.testing.assert_allclose(both.gaps, added.gaps, atol=1e-12)


def test_of_tokens_that_keep_what_they_promise_it_goes_to_0():
    draw = np.random.default_rng(0)
    errors = []
    for size in (100, 10_000, 1_000_000):
        confidence_N = draw.uniform(0.01, 1.0, size)
        found = Bins()
        found.add(confidence_N, (draw.random(size) < confidence_N).astype(float))
        errors.append(found.error)
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.003


def test_of_tokens_that_promise_too_much_it_is_how_much():
    draw = np.random.default_rng(0)
    found = Bins()
    found.add(np.full(100_000, 0.9), (draw.random(100_000) < 0.6).astype(float))
    assert found.error == pytest.approx(0.3, abs=0.01)


def test_a_probability_on_an_edge_belongs_below_it():
    found = bins([(1.0, True), (1 / BINS, False)])
    assert found.count_K[-1] == 1
    assert found.count_K[0] == 1


def test_a_diagram_has_means_of_bins_that_hold_a_token_and_none_of_others():
    told = as_json(bins([(0.5, True), (0.48, False)]).calibration())
    held = [each for each in told["bins"] if each["count"]]
    assert held == [{"low": 7 / 15, "high": 8 / 15, "count": 2, "confidence": pytest.approx(0.49), "accuracy": 0.5}]
    assert told["ece"] == pytest.approx(0.01)
    assert all(each["confidence"] is None and each["accuracy"] is None for each in told["bins"] if not each["count"])
