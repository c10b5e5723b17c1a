"""What an axis of a sweep does: each metric along it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from kdkit.api.values import Interval
from kdkit.report.numbers.axes import axis_name, numeric_axes, series, zipped_with
from kdkit.report.numbers.configurations import short_key
from kdkit.report.numbers.names import LABELS_ONLY, capital, group_name, metric_name
from kdkit.report.numbers.statistics import Unpaired
from kdkit.report.numbers.versus_labels import against_labels
from kdkit.report.page import formats
from kdkit.report.page.charts.lines import Level, Line, LineChart, Point
from kdkit.report.page.charts.svg import WIDTH
from kdkit.report.page.document import Choice, Figure, Figures, Part
from kdkit.report.page.tables import Cell, Row, Table
from kdkit.report.parts.cells import difference_cell, score_cell
from kdkit.report.parts.drawn import levels, tabs, titled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.numbers.reference import Published
    from kdkit.report.numbers.statistics import Statistics

MINUS_LABELS = "minus labels only"
LONG_NAME = 16
"""Names of metrics that are longer do not fit beside an axis with what they are compared with."""


def of_sweep(
    stats: Statistics, groups: Sequence[Sequence[RowKey]], published: Published | None, *, leads: bool = False
) -> Iterator[Part]:
    """A part for each axis of numbers: each metric along it, beside labels only and by itself.

    Args:
        stats: The configurations and their scores.
        groups: The metrics, each with those that are equal to it.
        published: What was published of them.
        leads: Whether the page opens with the first drawing, which is then not drawn again.
    """
    told = "Bands and bars are 95 % intervals over rows and seeds; lines that share a value are moved apart a little."
    if published is not None:
        told += f" Hollow marks are published values, of {published.source}."
    for index, axis in enumerate(numeric_axes(stats.configurations)):
        options = []
        for name, group in zip(tabs(groups), groups, strict=True):
            drawn = [gain(stats, axis, group), along(stats, axis, group, published)]
            figures = tuple(figure for figure in drawn if figure is not None)
            if leads and index == 0 and group is groups[0]:
                figures = figures[1:]
            if figures:
                options.append((name, (Figures(figures=figures),)))
        if options:
            title = f"What {axis_name(stats.configurations, axis)} does"
            yield Part(key=f"along-{index}", title=title, blocks=(told, Choice(label="Metric", options=tuple(options))))


def gain(stats: Statistics, axis: str, group: Sequence[RowKey], *, width: float = WIDTH) -> Figure | None:
    """A metric minus labels only along an axis, so many inches wide: 0 is labels only."""
    key = group[0]
    found, shared, left_out = series(stats.configurations, axis)
    lines, rows = [], []
    for one in found:
        apart = {x: against_labels(stats, each, key) for x, each in one.configurations.items()}
        told = {x: each for x, each in apart.items() if not isinstance(each, Unpaired)}
        if len(told) < 2:
            continue
        lines.append(Line(label=one.label, points=tuple(Point(x=x, at=each) for x, each in told.items())))
        for x, each in told.items():
            place = f"{spoken(axis)} {formats.tick(x)}"
            label = f"{place}, {one.label}" if one.label and len(found) > 1 else place
            rows.append(Row(label=label, cells=(difference_cell(each),)))
    if not lines:
        return None
    nothing = Level(model="labels-only", label="labels only", at=unknown(0.0))
    name = metric_name(key) if len(group) == 1 else group_name(group)
    less = " (lower is better)" if stats.direction(key).sense < 0 else ""
    return Figure(
        chart=LineChart(
            title=f"{capital(name)} minus labels only{less}",
            x_label=spoken(axis),
            y_label=f"{metric_name(key)} {MINUS_LABELS}" if len(metric_name(key)) < LONG_NAME else MINUS_LABELS,
            lines=tuple(lines),
            levels=(nothing,),
            signed=True,
            width=width,
        ),
        table=Table.of(("", MINUS_LABELS), rows, note=_notes(shared, left_out)),
    )


def spoken(axis: str) -> str:
    """A key of a recipe as words: `training rows`."""
    return axis.replace(".", " ").replace("_", " ")


def unknown(value: float) -> Interval:
    """A value of which no interval is known."""
    return Interval(value=value, low=math.nan, high=math.nan, count=0)


def _notes(shared: str, left_out: int) -> str:
    notes = [f"All have {shared}."] if shared else []
    notes += [f"{left_out} more lines are in the tables only."] if left_out else []
    return " ".join(notes)


def along(stats: Statistics, axis: str, group: Sequence[RowKey], published: Published | None) -> Figure | None:
    """A metric along an axis, a line for each set of values of the other axes that has several points.

    Args:
        stats: The configurations and their scores.
        axis: Which axis; those that change together with it go with it.
        group: The metric, and those that are equal to it.
        published: What was published of it.
    """
    key = group[0]
    found, shared, left_out = series(stats.configurations, axis)
    axes = list(dict.fromkeys(name for each in stats.configurations for name in each.values))
    zipped = zipped_with(stats.configurations, axis)
    lines, rows = [], []
    for one in found:
        measures = {x: stats.measure(each, key) for x, each in one.configurations.items()}
        points = tuple(Point(x=x, at=measure) for x, measure in measures.items() if measure is not None)
        if not points:
            continue
        told = {x: _published(published, each, key) for x, each in one.configurations.items()}
        hollow = tuple(Point(x=x, at=value) for x, value in told.items() if value is not None)
        lines.append(Line(label=one.label, points=points, published=hollow))
        for x, measure in measures.items():
            place = _place(axis, axes, x, one.configurations[x], zipped)
            label = f"{place}, {one.label}" if one.label and len(found) > 1 else place
            beside = told[x]
            theirs = Cell(formats.metric(None if beside is None else beside.value))
            rows.append(Row(label=label, cells=(score_cell(measure), theirs)))
    if not lines:
        return None
    if len(lines) == 1 and not stats.is_common(key._replace(model=LABELS_ONLY)):
        # Labels only changes along the axis as well: a line of its own.
        alone = {x: stats.labels_only(each, key) for x, each in found[0].configurations.items()}
        points = tuple(Point(x=x, at=measure) for x, measure in alone.items() if measure is not None)
        lines = [attrs.evolve(lines[0], label="distilled"), Line(label="labels only", points=points)]
        rows += [
            Row(
                label=f"{spoken(axis)} {formats.tick(point.x)}, labels only",
                cells=(score_cell(point.at), Cell(formats.NONE)),
            )
            for point in points
        ]
    seen_against = levels(stats, key)
    rows += [Row(label=level.label, cells=(score_cell(level.at), Cell(formats.NONE))) for level in seen_against]
    columns = ("", "ours", "published") if any(line.published for line in lines) else ("", "ours")
    return Figure(
        chart=LineChart(
            title=titled(stats, group),
            x_label=spoken(axis),
            y_label=metric_name(key) if len(group) == 1 else "score",
            lines=tuple(lines),
            levels=seen_against,
        ),
        table=Table.of(
            columns,
            (Row(label=row.label, cells=row.cells[: len(columns) - 1]) for row in rows),
            note=_notes(shared, left_out),
        ),
    )


def _published(published: Published | None, configuration: Configuration, key: RowKey) -> Interval | None:
    """A published value, of which no interval is known."""
    value = None if published is None else published.score(configuration, key)
    return None if value is None else unknown(value)


def _place(axis: str, axes: Sequence[str], x: float, configuration: Configuration, zipped: Sequence[str]) -> str:
    """A point of an axis in words, with the values that go with it."""
    own = {name: configuration.values.get(name) for name in zipped}
    told = [f"{short_key(name, axes)} {formats.setting(value)}" for name, value in own.items()]
    return ", ".join([f"{short_key(axis, axes)} {formats.tick(x)}", *told])
