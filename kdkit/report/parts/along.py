"""A sweep's figures: each metric along each numeric axis, grids of two axes, and codecs by their bytes a token."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from kdkit.report.numbers.pairs import LABELS_ONLY, MODELS
from kdkit.report.numbers.statistics import is_labels_only
from kdkit.report.page import formats
from kdkit.report.page.charts.lines import HeatMap, Level, Line, LineChart, Point, tick_text
from kdkit.report.page.document import Figure
from kdkit.report.parts.configurations import cell, group_name, metric_name
from kdkit.report.parts.scores import Cell, Group, Row, Table
from kdkit.report.read.files import number
from kdkit.report.read.scored import described, labels_apart, shared_values, short_key, spelt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.published import Published
    from kdkit.report.numbers.statistics import Measure, Statistics
    from kdkit.report.read.scored import Configuration

MOST_LINES = 6
MOST_METRICS = 6
SHOWN_TOKENS = (("tokens", "ece"), ("tokens", "agreement"), ("texts", "agreement"))


@attrs.frozen(kw_only=True, eq=False)
class Series:
    """Configurations that differ along one axis only, by their value on it."""

    label: str
    configurations: Mapping[float, Configuration]


def chosen(stats: Statistics, against: str, suites: Sequence[str]) -> list[tuple[RowKey, ...]]:
    """The scores that are drawn: whole metrics of the first suites, the hard loss, calibration and agreement.

    Scores that are equal are drawn once.
    """
    mine = stats.of_student(against)
    drawn = stats.folded([key for suite in suites for key in mine if key.suite == suite])[:MOST_METRICS]
    drawn += [(key,) for key in mine if (key.suite, key.metric) == ("loss", "hard")]
    return drawn + [(key,) for key in mine if (key.suite, key.metric) in SHOWN_TOKENS]


def numeric_axes(configurations: Sequence[Configuration]) -> list[str]:
    """The axes that have two numbers at least; of those that change together the first."""
    axes = dict.fromkeys(axis for each in configurations for axis in each.values)
    found: list[str] = []
    for axis in axes:
        if len(_numbers(configurations, axis)) > 1 and not set(zipped_with(configurations, axis)) & set(found):
            found.append(axis)
    return found


def zipped_with(configurations: Sequence[Configuration], axis: str) -> list[str]:
    """The other axes that change whenever this one does and only then, as in a zip: they are one axis with it."""

    def distinct(*axes: str) -> int:
        return len({tuple(spelt(each.values.get(name)) for name in axes) for each in configurations})

    every = dict.fromkeys(name for each in configurations for name in each.values)
    own = distinct(axis)
    return [name for name in every if name != axis and own > 1 and own == distinct(name) == distinct(axis, name)]


def axis_name(configurations: Sequence[Configuration], axis: str) -> str:
    """An axis, with those that change together with it."""
    return " with ".join([axis, *zipped_with(configurations, axis)])


def along(stats: Statistics, axis: str, group: Sequence[RowKey], published: Published | None) -> Figure | None:
    """A metric along an axis, a line for each set of values of the other axes that has several points.

    Args:
        stats: The configurations and their scores.
        axis: Which axis; those that change together with it go with it.
        group: The metric, and those that are equal to it.
        published: What was published of it.
    """
    key = group[0]
    series, shared, left_out = _series(stats, axis)
    if not series:
        return None
    axes = list(dict.fromkeys(name for each in stats.configurations for name in each.values))
    zipped = zipped_with(stats.configurations, axis)
    lines, rows = [], []
    for one in series:
        measures = {x: stats.measure(each, key) for x, each in one.configurations.items()}
        points = tuple(_point(x, measure) for x, measure in measures.items() if measure is not None)
        if not points:
            continue
        told = (
            {}
            if published is None
            else {
                x: value for x, each in one.configurations.items() if (value := published.score(each, key)) is not None
            }
        )
        lines.append(
            Line(label=one.label, points=points, published=tuple(Point(x=x, value=value) for x, value in told.items()))
        )
        rows += [
            Row(
                label=f"{_place(axis, axes, x, one.configurations[x], zipped)}"
                + (f", {one.label}" if one.label and len(series) > 1 else ""),
                cells=(cell(measure), *((Cell(formats.metric(told.get(x))),) if published is not None else ())),
            )
            for x, measure in measures.items()
        ]
    if not lines:
        return None
    levels = _levels(stats, key)
    is_published = any(line.published for line in lines)
    rows = [Row(label=row.label, cells=row.cells if is_published else row.cells[:1]) for row in rows]
    rows += [Row(label=level.label, cells=_level_cells(level, is_published)) for level in levels]
    against = "the teacher" if key.against == "teacher" else "the truth"
    notes = [f"All have {shared}."] if shared else []
    notes += [f"{left_out} more lines are in the tables only."] if left_out else []
    return Figure(
        chart=LineChart(
            title=f"{_titled(stats, group)}, against {against}, by "
            + " with ".join(short_key(name, axes) for name in (axis, *zipped)),
            x_label=axis,
            y_label=metric_name(key) if len(group) == 1 else "score",
            lines=tuple(lines),
            levels=levels,
        ),
        table=Table(
            title="",
            note=" ".join(notes),
            columns=("", "ours", *(("published",) if is_published else ())),
            groups=(Group(rows=tuple(rows)),),
        ),
    )


def _place(axis: str, axes: Sequence[str], x: float, configuration: Configuration, zipped: Sequence[str]) -> str:
    """A point of an axis in words, with the values that go with it."""
    own = {name: configuration.values.get(name) for name in zipped}
    told = [f"{short_key(name, axes)} {spelt(value)}" for name, value in own.items()]
    return ", ".join([f"{short_key(axis, axes)} {tick_text(x)}", *told])


def grid(stats: Statistics, key: RowKey) -> list[Figure]:
    """A heat map for each two numeric axes that cross: where most of their pairs of values have a trial."""
    axes = numeric_axes(stats.configurations)
    every = list(dict.fromkeys(name for each in stats.configurations for name in each.values))
    found = []
    for index, across in enumerate(axes):
        for down in axes[index + 1 :]:
            columns, rows = _numbers(stats.configurations, across), _numbers(stats.configurations, down)
            cells: dict[tuple[float, float], list[Measure]] = {}
            for each in stats.configurations:
                x, y, measure = _number(each, across), _number(each, down), stats.measure(each, key)
                if x is not None and y is not None and measure is not None:
                    cells.setdefault((x, y), []).append(measure)
            if len(cells) < 0.6 * len(columns) * len(rows) or any(len(measures) > 1 for measures in cells.values()):
                continue
            values = tuple(tuple(cells[x, y][0].value if (x, y) in cells else None for x in columns) for y in rows)
            found.append(
                Figure(
                    chart=HeatMap(
                        title=f"{_titled(stats, (key,))}, against the truth",
                        x_label=across,
                        y_label=down,
                        columns=tuple(map(tick_text, columns)),
                        rows=tuple(map(tick_text, rows)),
                        values=values,
                        lower_is_better=stats.direction(key).sense < 0,
                    ),
                    table=Table(
                        title="",
                        columns=(
                            f"{short_key(down, every)}",
                            *(f"{short_key(across, every)} {tick_text(x)}" for x in columns),
                        ),
                        groups=(
                            Group(
                                rows=tuple(
                                    Row(
                                        label=tick_text(y),
                                        cells=tuple(cell(cells[x, y][0] if (x, y) in cells else None) for x in columns),
                                    )
                                    for y in rows
                                )
                            ),
                        ),
                    ),
                )
            )
    return found


def codecs(stats: Statistics, groups: Sequence[tuple[RowKey, ...]]) -> list[Figure]:
    """Quality by what a token of the logit cache takes, where trials differ in their codec."""
    sized = [(size, each) for each in stats.configurations if (size := bytes_per_token(each)) is not None]
    axes = {axis for each in stats.configurations for axis in each.values if axis.split(".")[0] == "codec"}
    if not axes or len({size for size, _ in sized}) < 2:
        return []
    sized.sort(key=lambda pair: pair[0])
    found = []
    apart = labels_apart([each.values for _, each in sized])
    labels = {id(each): label for (_, each), label in zip(sized, apart, strict=True)}
    for group in groups:
        key = group[0]
        measured = [(size, each, measure) for size, each in sized if (measure := stats.measure(each, key)) is not None]
        if len(measured) < 2:
            continue
        levels = _levels(stats, key)
        rows = [Row(label=each.label, cells=(Cell(f"{size:,.1f}"), cell(measure))) for size, each, measure in measured]
        rows += [Row(label=level.label, cells=(Cell(formats.NONE), *_level_cells(level, False))) for level in levels]
        found.append(
            Figure(
                chart=LineChart(
                    title=f"{_titled(stats, group)}, by bytes a token",
                    x_label="bytes a token of the logit cache",
                    y_label=metric_name(key) if len(group) == 1 else "score",
                    lines=tuple(
                        Line(label=labels[id(each)], points=(_point(size, measure),))
                        for size, each, measure in measured
                    ),
                    levels=levels,
                ),
                table=Table(
                    title="",
                    columns=("", "bytes a token", metric_name(key)),
                    groups=(Group(rows=tuple(rows)),),
                ),
            )
        )
    return found


def bytes_per_token(configuration: Configuration) -> float | None:
    """What a token of its logit cache takes, mean over its runs."""
    sizes = [number(run.facts("capture").get("bytes_per_token")) for run in configuration.runs]
    known = [size for size in sizes if size is not None]
    return math.fsum(known) / len(known) if known else None


def _series(stats: Statistics, axis: str) -> tuple[list[Series], str, int]:
    """Lines along an axis, the longest first, what they all have, and how many are left out."""
    along_too = {axis, *zipped_with(stats.configurations, axis)}
    grouped: dict[str, tuple[dict[str, object], dict[float, Configuration]]] = {}
    for each in stats.configurations:
        x = _number(each, axis)
        others = {name: value for name, value in each.values.items() if name not in along_too}
        if x is not None:
            told = repr(sorted((name, spelt(value)) for name, value in others.items()))
            grouped.setdefault(told, (others, {}))[1][x] = each
    found = sorted((each for each in grouped.values() if len(each[1]) > 1), key=lambda each: -len(each[1]))
    drawn = found[:MOST_LINES]
    shared = shared_values([others for others, _ in drawn]) if len(drawn) > 1 else {}
    lines = []
    for others, mine in drawn:
        own = {name: value for name, value in others.items() if name not in shared}
        label = described(own) if own else ""
        lines.append(Series(label=label, configurations=dict(sorted(mine.items()))))
    return lines, described(shared) if shared else "", len(found) - len(drawn)


def _levels(stats: Statistics, key: RowKey) -> tuple[Level, ...]:
    """The teacher, and labels only, where each is the same beside all configurations."""
    measures = {model: stats.common(key._replace(model=model)) for model in ("teacher", LABELS_ONLY)}
    trained = [each for each in stats.configurations if is_labels_only(each)]
    if measures[LABELS_ONLY] is None and len(trained) == 1:
        measures[LABELS_ONLY] = stats.measure(trained[0], key)
    return tuple(
        Level(model=model, label=MODELS[model], value=measure.value, low=measure.low, high=measure.high)
        for model, measure in measures.items()
        if measure is not None
    )


def _level_cells(level: Level, published: bool) -> tuple[Cell, ...]:  # noqa: FBT001 - whether there is a column for it
    shown = Cell(formats.metric(level.value), formats.interval(level.low, level.high))
    return (shown, Cell(formats.NONE)) if published else (shown,)


def _titled(stats: Statistics, group: Sequence[RowKey]) -> str:
    name = group_name(group)
    return f"{name[:1].upper()}{name[1:]}{' (lower is better)' if stats.direction(group[0]).sense < 0 else ''}"


def _point(x: float, measure: Measure) -> Point:
    return Point(x=x, value=measure.value, low=measure.low, high=measure.high)


def _number(configuration: Configuration, axis: str) -> float | None:
    return number(configuration.values.get(axis))


def _numbers(configurations: Sequence[Configuration], axis: str) -> list[float]:
    values = {value for each in configurations if (value := _number(each, axis)) is not None}
    return sorted(values)
