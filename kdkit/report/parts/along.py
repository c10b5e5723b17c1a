"""What an axis of a sweep does: each metric along it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kdkit.api.values import Interval
from kdkit.report.numbers.axes import axis_name, numeric_axes, series, zipped_with
from kdkit.report.numbers.configurations import short_key
from kdkit.report.numbers.names import metric_name
from kdkit.report.page import formats
from kdkit.report.page.charts.lines import Line, LineChart, Point
from kdkit.report.page.document import Figure, Figures, Part
from kdkit.report.page.tables import Cell, Row, Table
from kdkit.report.parts.cells import score_cell
from kdkit.report.parts.drawn import levels, titled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.numbers.reference import Published
    from kdkit.report.numbers.statistics import Statistics


def of_sweep(stats: Statistics, groups: Iterable[Sequence[RowKey]], published: Published | None) -> Iterator[Part]:
    """A part for each axis of numbers, with a figure for each metric."""
    told = "Bars and bands are 95 % intervals over rows and seeds; lines that share a value are moved apart a little."
    if published is not None:
        told += f" Hollow marks are published values, of {published.source}."
    drawn = list(groups)
    for index, axis in enumerate(numeric_axes(stats.configurations)):
        lines = (along(stats, axis, group, published) for group in drawn)
        figures = tuple(figure for figure in lines if figure is not None)
        if figures:
            title = f"What {axis_name(stats.configurations, axis)} does"
            yield Part(key=f"along-{index}", title=title, blocks=(told, Figures(figures=figures)))


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
    seen_against = levels(stats, key)
    rows += [Row(label=level.label, cells=(score_cell(level.at), Cell(formats.NONE))) for level in seen_against]
    columns = ("", "ours", "published") if any(line.published for line in lines) else ("", "ours")
    notes = [f"All have {shared}."] if shared else []
    notes += [f"{left_out} more lines are in the tables only."] if left_out else []
    against = "the teacher" if key.against == "teacher" else "the truth"
    by = " with ".join(short_key(name, axes) for name in (axis, *zipped))
    return Figure(
        chart=LineChart(
            title=f"{titled(stats, group)}, against {against}, by {by}",
            x_label=axis,
            y_label=metric_name(key) if len(group) == 1 else "score",
            lines=tuple(lines),
            levels=seen_against,
        ),
        table=Table.of(
            columns,
            (Row(label=row.label, cells=row.cells[: len(columns) - 1]) for row in rows),
            note=" ".join(notes),
        ),
    )


def _published(published: Published | None, configuration: Configuration, key: RowKey) -> Interval | None:
    """A published value, of which no interval is known."""
    value = None if published is None else published.score(configuration, key)
    return None if value is None else Interval(value=value, low=math.nan, high=math.nan, count=0)


def _place(axis: str, axes: Sequence[str], x: float, configuration: Configuration, zipped: Sequence[str]) -> str:
    """A point of an axis in words, with the values that go with it."""
    own = {name: configuration.values.get(name) for name in zipped}
    told = [f"{short_key(name, axes)} {formats.setting(value)}" for name, value in own.items()]
    return ", ".join([f"{short_key(axis, axes)} {formats.tick(x)}", *told])
