"""The conformance check of metric suites."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from kdkit.builtin.metrics.text import Text
from kdkit.testing.metrics import check_metrics


def test_the_conformance_check_passes_a_suite_that_keeps_the_rules():
    check_metrics(Text())


@attrs.frozen
class Errors:
    """A suite of which less is better."""

    directions: dict[str, Any]

    def score(self, generated, references, examples):
        wrong = [float(text != reference) for text, reference in zip(generated, references, strict=True)]
        return {
            "errors": wrong,
            "errors/empty": [value if not text else None for value, text in zip(wrong, generated, strict=True)],
        }


def test_a_suite_of_which_less_is_better_passes_where_it_says_so():
    check_metrics(Errors({"errors": "lower"}))
    check_metrics(Errors({"errors": "neither"}))
    with pytest.raises(AssertionError, match="prefers an empty text"):
        check_metrics(Errors({}))


def test_the_conformance_check_notices_directions_of_metrics_that_are_not_there():
    with pytest.raises(AssertionError, match='directions names "eror", which is not a metric of the suite'):
        check_metrics(Errors({"errors": "lower", "eror": "lower"}))


def test_the_conformance_check_notices_a_direction_that_is_none():
    with pytest.raises(AssertionError, match='directions says "less" of "errors", not higher, lower or neither'):
        check_metrics(Errors({"errors": "less"}))


@attrs.frozen
class Broken:
    """A suite of one metric, which breaks a rule."""

    metric: Any

    def score(self, generated, references, examples):
        return {"m": self.metric(generated, references)}


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        (lambda generated, references: [1.0], "values for"),
        (lambda generated, references: [float("nan")] * len(generated), "is nan"),
        (lambda generated, references: [2.0] * len(generated), "not from 0 to 1"),
        (lambda generated, references: [float(not text) for text in generated], "prefers an empty text"),
        (lambda generated, references: [1 / max(len(generated), 1)] * len(generated), "depend on other rows"),
        (lambda generated, references: [1 / (row + 1) for row in range(len(generated))], "order of the rows"),
        (lambda generated, references: [generated.append("") or 1.0 for _ in references], "changed its inputs"),
    ],
)
def test_the_conformance_check_notices_a_broken_suite(metric, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_metrics(Broken(metric))


class Plain:
    """Not an attrs class, so no recipe could set its options."""

    def score(self, generated, references, examples):
        return {"m": [1.0 for _ in generated]}


def test_a_suite_whose_options_cannot_be_read_is_refused():
    with pytest.raises(AssertionError, match="Plain is not an attrs class"):
        check_metrics(Plain())
