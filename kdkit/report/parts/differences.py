"""The other configurations of a comparison minus the first; and all of them side by side, drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kdkit.report.numbers.names import group_name, suites_of
from kdkit.report.numbers.selection import headline
from kdkit.report.numbers.statistics import Unpaired
from kdkit.report.page.document import Choice, Part
from kdkit.report.page.dotplot import Dot, DotPlot
from kdkit.report.page.tables import Row, Table
from kdkit.report.parts.cells import apart, score_cell, seeds_note
from kdkit.report.parts.drawn import chosen, headline_first, tabs
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from kdkit.report.numbers.statistics import Statistics


def of_comparison(stats: Statistics) -> Part | None:
    """The differences, and who has none."""
    blocks: list[str | Table] = [*_unpaired(stats), *tables(stats)]
    title = f"Differences from {stats.configurations[0].label}"
    return Part(key="differences", title=title, blocks=tuple(blocks)) if blocks else None


def tables(stats: Statistics) -> list[Table]:
    """The other configurations minus the first, for every whole score, one table a reference."""
    first, *others = stats.configurations
    found = []
    for against in ("truth", "teacher"):
        rows = []
        for group in stats.folded(stats.of_student(against)):
            key = group[0]
            told = [stats.difference(each, first, key) for each in others]
            if not all(isinstance(each, Unpaired) for each in told):
                cells = tuple(map(apart, told))
                own = score_cell(stats.measure(first, key))
                rows.append(Row(label=group_name(group), note=suites_of(group), cells=(own, *cells)))
        if rows:
            found.append(
                Table.of(
                    ("", first.label, *(each.label for each in others)),
                    rows,
                    title=f"Against the {against}",
                    note="In small print 95 % intervals over rows and seeds.",
                ).turned()
            )
    return found


def intervals(stats: Statistics) -> list[Choice]:
    """The configurations' values of the chosen metrics with their intervals, one below the other."""
    groups = headline_first(chosen(stats), headline(stats))
    options = []
    for name, group in zip(tabs(groups), groups, strict=True):
        measured = [
            (each, measure) for each in stats.configurations if (measure := stats.measure(each, group[0])) is not None
        ]
        if len(measured) < 2 or not all(math.isfinite(measure.value) for _, measure in measured):
            continue
        better = ", lower is better" if stats.direction(group[0]).sense < 0 else ""
        dots = (Dot(label=each.label, note=seeds_note(each), at=measure, tone="student") for each, measure in measured)
        options.append((name, (DotPlot.of(f"{group_name(group)}{better}", *dots),)))
    return [Choice(label="Metric", options=tuple(options))] if options else []


def _unpaired(stats: Statistics) -> tuple[str, ...]:
    """A sentence for each configuration that cannot be paired with the first, or not on all seeds."""
    first, *others = stats.configurations
    key = headline(stats)
    found: list[str] = []
    fewer: list[str] = []
    for each in others:
        apart = None if key is None else stats.difference(each, first, key)
        if isinstance(apart, Unpaired):
            found.append(f"{each.label} has no paired differences: {apart.reason}.")
        seeds = stats.seeds_in_common(each, first)
        if not isinstance(apart, Unpaired) and seeds < max(len(each.runs), len(first.runs)):
            fewer.append(f"{each.label} is compared on the {plural(seeds, 'seed')} alone that both have.")
    paired = "Each minus the first, paired by row and seed."
    return (paired, *fewer, *found) if len(found) < len(others) else tuple(found)
