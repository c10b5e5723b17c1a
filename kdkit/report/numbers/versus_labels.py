"""What the teacher is worth: a configuration beside the same student of labels only, paired by row and seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.names import LABELS_ONLY
from kdkit.report.numbers.statistics import Unpaired, is_labels_only

if TYPE_CHECKING:
    from kdkit.api.values import Difference
    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.numbers.statistics import Statistics


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
