"""The conformance check of metric suites."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

from kdkit.api.interfaces import DirectedSuite
from kdkit.api.suites import NamedSuite
from kdkit.api.values import Direction, Example
from kdkit.testing.values import check_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.interfaces import MetricSuite

# Whatever a model may write: nothing, code of several languages, and code that is cut off or broken.
TEXTS = (
    "",
    " \n\t",
    ";",
    "assertEquals(3, list.size());",
    'assertEquals("a;b", text);\nassertTrue(flag);',
    "assertThrows(Failure.class, () -> { run(); stop(); });",
    "assert total == 3\nassert name is None",
    "== 3",
    'assertEquals("never closed, (',
    "]) } \\",
    "naïve — 東京\r\nof plain text",
    "again and again " * 40,
)


def check_metrics(suite: MetricSuite, *, texts: Sequence[str] = TEXTS, meta: Mapping[str, Any] | None = None) -> None:
    """Check that a suite keeps the rules that every metric suite must keep.

    Each text is scored against each, and the rules are:

    - it is a value: an attrs class whose fields are its options;
    - no rows can be scored too;
    - each metric has one value a row, a finite number or None;
    - the inputs stay as they were, and the same inputs give the same values;
    - a row's values depend neither on other rows nor on their order (a metric that is left out counts as None);
    - `directions`, where the suite has it, names metrics of the suite, each "higher", "lower" or "neither";
    - equal texts have values from 0 to 1, and an empty text scores no better against a reference than the reference
      itself, by the direction of the metric.

    Args:
        suite: The suite, ready made.
        texts: What to score; by default texts that break careless code.
        meta: `Example.meta` of every row.

    Raises:
        AssertionError: With a sentence that says which rule is broken, and by what.
    """
    from kdkit.api.interfaces import MetricSuite

    check_value(suite, MetricSuite)
    pairs = list(product(texts, ["", *texts]))  # (reference, generated)
    rows = _score(suite, pairs, meta)
    _score(suite, [], meta)
    assert _score(suite, pairs, meta) == rows, "the same rows scored twice have different values"
    assert _score(suite, pairs[::-1], meta) == rows[::-1], "values depend on the order of the rows"
    for pair, row in zip(pairs, rows, strict=True):
        alone = _score(suite, [pair], meta)[0]
        assert alone == row, f"values of {_shown(pair)} depend on other rows: alone {alone}, among others {row}"
    _check_directions(suite, texts, meta)
    by_pair = dict(zip(pairs, rows, strict=True))
    for text in texts:
        _check_equal_texts(suite, text, equal=by_pair[text, text], empty=by_pair[text, ""])


def _check_directions(suite: MetricSuite, texts: Sequence[str], meta: Mapping[str, Any] | None) -> None:
    stated = suite.directions if isinstance(suite, DirectedSuite) else {}
    wholes = {metric.partition("/")[0] for metric in suite.score(texts, texts, _examples(texts, meta))}
    for metric, direction in stated.items():
        assert metric.partition("/")[0] in wholes, f'directions names "{metric}", which is not a metric of the suite'
        assert direction in set(Direction), f'directions says "{direction}" of "{metric}", not higher, lower or neither'


def _check_equal_texts(
    suite: MetricSuite, text: str, *, equal: Mapping[str, float], empty: Mapping[str, float]
) -> None:
    for metric, value in equal.items():
        assert 0.0 <= value <= 1.0, f'"{metric}" of {_shown((text, text))} is {value}, not from 0 to 1'
        other = empty.get(metric, value)
        sense = NamedSuite(name="checked", suite=suite).direction_of(metric).sense
        is_better = (other - value) * sense > 0
        assert not is_better, f'"{metric}" prefers an empty text ({other}) to the reference {text!r} itself ({value})'


def _examples(references: Sequence[str], meta: Mapping[str, Any] | None) -> list[Example]:
    return [
        Example(id=str(row), source="", target=reference, meta=dict(meta or {}))
        for row, reference in enumerate(references)
    ]


def _score(
    suite: MetricSuite, pairs: Sequence[tuple[str, str]], meta: Mapping[str, Any] | None
) -> list[dict[str, float]]:
    """For each row the metrics that it counts for."""
    references = [reference for reference, _ in pairs]
    generated = [text for _, text in pairs]
    examples = _examples(references, meta)
    before = (list(generated), list(references), list(examples))
    metrics = suite.score(generated, references, examples)
    assert (generated, references, examples) == before, "the suite changed its inputs"
    for metric, values in metrics.items():
        assert len(values) == len(pairs), f'"{metric}" has {len(values)} values for {len(pairs)} rows'
        for pair, value in zip(pairs, values, strict=True):
            assert value is None or math.isfinite(value), f'"{metric}" of {_shown(pair)} is {value}'
    return [
        {metric: value for metric, values in metrics.items() if (value := values[row]) is not None}
        for row in range(len(pairs))
    ]


def _shown(pair: tuple[str, str]) -> str:
    return f"reference {pair[0]!r} and generated {pair[1]!r}"
