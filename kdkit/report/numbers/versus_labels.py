"""What the teacher is worth: every configuration beside the same student of labels only, paired by row and seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.pairs import LABELS_ONLY
from kdkit.report.numbers.statistics import Unpaired, is_labels_only
from kdkit.report.page.document import Part
from kdkit.report.parts.configurations import apart, group_name, seeds_note, suites_of
from kdkit.report.parts.scores import Group, Row, Table

if TYPE_CHECKING:
    from kdkit.api.values import Difference
    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.statistics import Statistics
    from kdkit.report.read.scored import Configuration

OF_TEACHER = frozenset({"soft", "total"})
"""Losses that are no score: they change with what the teacher says and how it is weighed."""


def gains_part(stats: Statistics) -> Part | None:
    """A row for each configuration that learns from the teacher: its scores minus those of labels only."""
    learning = [each for each in stats.configurations if not is_labels_only(each)]
    keys = [
        key
        for key in stats.of_student()
        if (key.against == "truth" or key.suite in {"texts", "tokens"})
        and not (key.suite == "loss" and key.metric in OF_TEACHER)
    ]
    groups = stats.folded(keys)
    rows = []
    for each in learning:
        found = [against_labels(stats, each, group[0]) for group in groups]
        if not all(isinstance(one, Unpaired) for one in found):
            cells = tuple(map(apart, found))
            rows.append(Row(label=each.label, note=seeds_note(each), cells=cells))
    if not rows:
        return None
    table = Table(
        title="Minus labels only",
        note="Of the same seeds and rows; in small print 95 % intervals over rows and seeds, and of one seed over rows "
        "alone. With so many differences some are outside of noise by chance: one in twenty where there is nothing.",
        columns=("", *(f"{group_name(group)} ({suites_of(group)})" for group in groups)),
        groups=(Group(rows=tuple(rows)),),
    )
    return Part(key="gains", title="What the teacher is worth", tables=(table,))


def against_labels(stats: Statistics, best: Configuration, key: RowKey) -> Difference | Unpaired:
    """By how much a configuration is above the same student of labels only."""
    if is_labels_only(best):
        return Unpaired(reason="it is a student of labels only itself")
    found = stats.difference(best, best, key, key._replace(model=LABELS_ONLY))
    if not isinstance(found, Unpaired):
        return found
    trained = [each for each in stats.configurations if is_labels_only(each) and _alike(each, best)]
    return stats.difference(best, trained[0], key) if trained else found


def _alike(one: Configuration, other: Configuration) -> bool:
    """Whether two configurations are the same but for their loss."""
    return all(
        value == other.values.get(axis, value)
        for axis, value in one.values.items()
        if not axis.startswith(("loss", "codec", "teacher"))
    )
