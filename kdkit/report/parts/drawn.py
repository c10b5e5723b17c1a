"""What figures of several runs share: which scores are drawn, their titles, and what they are seen against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.names import LABELS_ONLY, MODELS, capital, group_name
from kdkit.report.numbers.statistics import is_labels_only
from kdkit.report.page.charts.lines import Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.statistics import Statistics

MOST_METRICS = 6
SHOWN_TOKENS = (("tokens", "ece"), ("tokens", "agreement"), ("texts", "agreement"))


def chosen(stats: Statistics, against: str, suites: Sequence[str]) -> list[tuple[RowKey, ...]]:
    """The scores that are drawn: whole metrics of the first suites, the hard loss, calibration and agreement.

    Scores that are equal are drawn once.
    """
    mine = stats.of_student(against)
    drawn = stats.folded([key for suite in suites for key in mine if key.suite == suite])[:MOST_METRICS]
    drawn += [(key,) for key in mine if (key.suite, key.metric) == ("loss", "hard")]
    return drawn + [(key,) for key in mine if (key.suite, key.metric) in SHOWN_TOKENS]


def titled(stats: Statistics, group: Sequence[RowKey]) -> str:
    """Scores that are equal, by their names, and whether less of them is better."""
    return f"{capital(group_name(group))}{' (lower is better)' if stats.direction(group[0]).sense < 0 else ''}"


def levels(stats: Statistics, key: RowKey) -> tuple[Level, ...]:
    """The teacher, and labels only, where each is the same beside all configurations."""
    measures = {model: stats.common(key._replace(model=model)) for model in ("teacher", LABELS_ONLY)}
    trained = [each for each in stats.configurations if is_labels_only(each)]
    if measures[LABELS_ONLY] is None and len(trained) == 1:
        measures[LABELS_ONLY] = stats.measure(trained[0], key)
    return tuple(
        Level(model=model, label=MODELS[model], at=measure)
        for model, measure in measures.items()
        if measure is not None
    )
