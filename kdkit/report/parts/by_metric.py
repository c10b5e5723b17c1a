"""The best configuration of a sweep by each metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.names import group_name, suites_of
from kdkit.report.numbers.selection import by_score
from kdkit.report.numbers.versus_best import BETTER, NOISE, UNKNOWN, WORSE, named, of_kind, others
from kdkit.report.page.document import Part
from kdkit.report.page.tables import Cell, Row, Table
from kdkit.report.parts.cells import score_cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.report.numbers.statistics import Statistics
    from kdkit.report.numbers.versus_best import Judged

MOST_NAMED = 2
"""So many configurations that are no better are named one by one; more are counted."""


def of_sweep(stats: Statistics, split: str) -> Part | None:
    """For each metric the configuration that is best by it on the validation rows, and how the others are beside it."""
    keys = [key for key in stats.of_student("truth") if stats.direction(key).sense]
    found = []
    for group in stats.folded(keys):
        ranked = by_score(stats, group[0])
        measure = stats.measure(ranked[0][0], group[0]) if ranked else None
        if len(ranked) > 1 and measure is not None:
            found.append((group, ranked[0][0], measure, others(stats, ranked[0][0], group[0])))
    if not found:
        return None
    has_fewer = any(each.is_on_fewer for *_, judged in found for each in judged)
    columns = ("best on validation", split, f"better on {split}", "within noise of it", "worse")
    fewer = "on fewer seeds"
    note = (
        f"Chosen on the validation rows, reported on {split}. In brackets the paired difference from it and its 95 % "
        "interval. Within noise of it: that interval holds 0, and no choice between these is backed by the numbers."
    )
    if has_fewer:
        note += f" Those {fewer} share fewer with it than it has, and are judged on these alone."
    if any(each.kind == UNKNOWN for *_, judged in found for each in judged):
        note += " Left out are those that cannot be paired with it."
    rows = tuple(
        Row(
            label=group_name(group),
            note=suites_of(group),
            cells=(
                Cell(best.label),
                score_cell(measure),
                Cell(named(of_kind(judged, BETTER)) or "none"),
                Cell(_names(of_kind(judged, NOISE), len(judged))),
                Cell(_names(of_kind(judged, WORSE), len(judged))),
                *((Cell(_on_fewer(judged)),) if has_fewer else ()),
            ),
        )
        for group, best, measure, judged in found
    )
    shown = ("", *columns, *((fewer,) if has_fewer else ()))
    table = Table.of(shown, rows, title=f"Scores on {split}", note=note, look="wordy")
    return Part(key="by-metric", title="Best by each metric", blocks=(table,))


def _on_fewer(judged: Sequence[Judged]) -> str:
    """What those are that share too few seeds with the best: counted, but for those that are better."""
    told = []
    for kind in (BETTER, NOISE, WORSE):
        found = of_kind(judged, kind, fewer=True)
        if found:
            told.append(f"{len(found)} {kind}" + (f": {named(found)}" if kind == BETTER else ""))
    return "; ".join(told) or "none"


def _names(found: Sequence[Judged], of: int) -> str:
    if not found:
        return "none"
    if len(found) == of > 1:
        return "both others" if of == 2 else f"all {of} others"
    if len(found) > MOST_NAMED:
        return f"{len(found)} of the {of} others"
    return "; ".join(each.configuration.label for each in found)
