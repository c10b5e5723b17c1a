"""Cells that tables of several parts have: a score, a difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.statistics import Unpaired
from kdkit.report.page import formats
from kdkit.report.page.tables import Cell
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from kdkit.api.values import Difference, Interval
    from kdkit.report.numbers.configurations import Configuration

LESS = "less is better"
"""Said beside a metric."""


def score_cell(found: Interval | None) -> Cell:
    """A score with its interval."""
    return Cell(formats.NONE) if found is None else Cell(formats.metric(found.value), formats.interval(found))


def difference_cell(found: Difference | None) -> Cell:
    """A difference with its interval; whether that is better or worse only where it is more than noise."""
    if found is None:
        return Cell(formats.NONE)
    return Cell(formats.signed(found.value), formats.signed_interval(found), found.verdict)


def apart(found: Difference | Unpaired) -> Cell:
    """A paired difference; the reason where there is none."""
    return Cell(formats.NONE, found.reason) if isinstance(found, Unpaired) else difference_cell(found)


def seeds_note(configuration: Configuration) -> str:
    """How many seeds, if the runs tell."""
    return plural(len(configuration.runs), "seed")
