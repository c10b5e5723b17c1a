"""What the teacher is worth: every configuration beside the same student of labels only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.names import group_name, suites_of
from kdkit.report.numbers.statistics import Unpaired, is_labels_only
from kdkit.report.numbers.versus_labels import against_labels
from kdkit.report.page.document import Part
from kdkit.report.page.tables import Row, Table
from kdkit.report.parts.cells import apart, seeds_note

if TYPE_CHECKING:
    from kdkit.report.numbers.statistics import Statistics

OF_TEACHER = frozenset({"soft", "total"})
"""Losses that are no score: they change with what the teacher says and how it is weighed."""


def of_sweep(stats: Statistics) -> Part | None:
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
    table = Table.of(
        ("", *(f"{group_name(group)} ({suites_of(group)})" for group in groups)),
        rows,
        title="Minus labels only",
        note="Of the same seeds and rows; in small print 95 % intervals over rows and seeds, and of one seed over rows "
        "alone. With so many differences some are outside of noise by chance: one in twenty where there is nothing.",
    )
    return Part(key="gains", title="What the teacher is worth", blocks=(table,))
