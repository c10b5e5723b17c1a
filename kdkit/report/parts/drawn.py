"""What figures of several runs share: which scores are drawn, their titles, and what they are seen against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.names import LABELS_ONLY, capital, group_name, metric_name
from kdkit.report.numbers.selection import headline
from kdkit.report.numbers.statistics import is_labels_only
from kdkit.report.page.charts.lines import Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.statistics import Statistics

MOST_METRICS = 6
FLAT = 0.01
"""Shares within so much of 0 or of 1 need no drawing."""
NAMES = {"teacher": "teacher", LABELS_ONLY: "labels only"}
SHOWN_TOKENS = (("tokens", "ece"), ("tokens", "agreement"), ("texts", "agreement"))


def chosen(stats: Statistics) -> list[tuple[RowKey, ...]]:
    """The scores that are drawn: whole metrics of the headline's suite, the hard loss, calibration and agreement.

    Scores that are equal are drawn once, and shares that are all but 0 or all but 1 for every model not at all.
    """
    about = headline(stats)
    mine = stats.of_student("truth")
    drawn = stats.folded([key for key in mine if about is not None and key.suite == about.suite != "loss"])
    drawn = [group for group in drawn if not _is_flat(stats, group[0])][:MOST_METRICS]
    drawn += [(key,) for key in mine if (key.suite, key.metric) == ("loss", "hard")]
    return drawn + [(key,) for key in stats.of_student() if (key.suite, key.metric) in SHOWN_TOKENS]


def headline_first(groups: Iterable[Sequence[RowKey]], key: RowKey | None) -> list[tuple[RowKey, ...]]:
    """Groups of equal scores, first that of the headline, in which the headline is first."""
    found = [tuple(sorted(group, key=lambda each: each != key)) for group in groups]
    return sorted(found, key=lambda group: group[0] != key)


def tabs(groups: Sequence[Sequence[RowKey]]) -> list[str]:
    """The names of groups of scores, each by its first and short; of the same names each with its suite."""
    names = [metric_name(group[0]) for group in groups]
    return [
        capital(name if names.count(name) == 1 else f"{name} ({group[0].suite})")
        for name, group in zip(names, groups, strict=True)
    ]


def _is_flat(stats: Statistics, key: RowKey) -> bool:
    """Whether a share is all but 0 or all but 1 for every model: nothing of it is to be seen."""
    models = ("student", "teacher", LABELS_ONLY)
    scores = [
        run.scores[wanted].value
        for each in stats.configurations
        for run in each.runs
        for model in models
        if (wanted := key._replace(model=model)) in run.scores
    ]
    return all(0 <= value <= FLAT for value in scores) or all(1 - FLAT <= value <= 1 for value in scores)


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
        Level(model=model, label=NAMES[model], at=measure) for model, measure in measures.items() if measure is not None
    )
