"""The tables and figures of a comparison of runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kdkit.report.numbers.selection import headline
from kdkit.report.numbers.statistics import Unpaired
from kdkit.report.page import formats
from kdkit.report.page.charts.lines import Dots, Point
from kdkit.report.page.document import Figure
from kdkit.report.parts.along import chosen
from kdkit.report.parts.configurations import apart, cell, group_name, metric_name, seeds_note, suites_of
from kdkit.report.parts.scores import Cell, Group, Row, Table
from kdkit.report.read.scored import SEED, spelt

if TYPE_CHECKING:
    from kdkit.report.numbers.statistics import Statistics
    from kdkit.report.read.scored import Configuration


def what_differs(stats: Statistics) -> tuple[Table, ...]:
    """A row for each key for which the recipes do not all say the same; none where they do."""
    keys = list(stats.configurations[0].values)
    if not keys:
        return ()
    rows = tuple(
        Row(label=key, cells=tuple(Cell(_spelt(each.values.get(key))) for each in stats.configurations)) for key in keys
    )
    columns = ("", *(each.label for each in stats.configurations))
    return (Table(title="Keys of the recipes", columns=columns, groups=(Group(rows=rows),)),)


def differences(stats: Statistics) -> list[Table]:
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
                rows.append(
                    Row(label=group_name(group), note=suites_of(group), cells=(cell(stats.measure(first, key)), *cells))
                )
        if rows:
            found.append(
                Table(
                    title=f"Against the {against}",
                    note="In small print 95 % intervals over rows and seeds.",
                    columns=("", first.label, *(each.label for each in others)),
                    groups=(Group(rows=tuple(rows)),),
                )
            )
    return found


def intervals(stats: Statistics) -> list[Figure]:
    """The configurations' values of the chosen metrics with their intervals, one below the other."""
    key = headline(stats)
    found = []
    for group in chosen(stats, "truth", [] if key is None else [key.suite]):
        wanted, name = group[0], group_name(group)
        measured = [
            (each, measure) for each in stats.configurations if (measure := stats.measure(each, wanted)) is not None
        ]
        if len(measured) < 2 or not all(math.isfinite(measure.value) for _, measure in measured):
            continue
        better = " (lower is better)" if stats.direction(wanted).sense < 0 else ""
        found.append(
            Figure(
                chart=Dots(
                    title=f"{name[:1].upper()}{name[1:]}, against the truth",
                    x_label=f"{metric_name(wanted)}{better}",
                    rows=tuple(each.label for each, _ in measured),
                    points=tuple(
                        Point(x=index, value=measure.value, low=measure.low, high=measure.high)
                        for index, (_, measure) in enumerate(measured)
                    ),
                ),
                table=Table(
                    title="",
                    columns=("", metric_name(wanted)),
                    groups=(
                        Group(rows=tuple(Row(label=each.label, cells=(cell(measure),)) for each, measure in measured)),
                    ),
                ),
            )
        )
    return found


def runs_table(stats: Statistics) -> Table:
    """Every run: its configuration, its seed and what it was scored on."""
    return Table(
        title="Runs",
        columns=("", "seed", "scored on", "folder"),
        groups=tuple(
            Group(title=each.label, note=seeds_note(each), rows=tuple(_run_rows(each))) for each in stats.configurations
        ),
    )


def _run_rows(configuration: Configuration) -> list[Row]:
    return [
        Row(
            label=run.folder.resolve().name,
            cells=(
                Cell(formats.NONE if run.recipe.get(SEED) is None else str(run.recipe[SEED])),
                Cell(f"{run.row_count:,} of {run.split}"),
                Cell(str(run.folder)),
            ),
        )
        for run in configuration.runs
    ]


def _spelt(value: object) -> str:
    return formats.NONE if value is None else spelt(value)
