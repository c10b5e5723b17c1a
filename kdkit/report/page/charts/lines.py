"""The charts of reports on several runs: metrics along an axis, grids of two axes, and intervals side by side."""

from __future__ import annotations

import math
from textwrap import wrap
from typing import TYPE_CHECKING

import attrs

from kdkit.report.page import formats
from kdkit.report.page.charts.svg import COLOURS, WIDTH, bare, styled, to_svg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

SERIES = ("student", "series2", "series3", "series4", "series5", "series6")
"""Colours of lines, in the order in which they are taken; a line is told by its marker and dashes too."""
MARKERS = ("o", "^", "D", "v", "P", "X")
DASHES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2)), (0, (2, 1)))
LOG_FROM = 10
"""An axis whose largest value is so many times its smallest is drawn with logarithmic distances."""
HALF, LONGEST = 26, 48
"""So many characters of a label fit into half a figure's width, and into all of it, where it is wrapped."""
LEVEL_COLOURS = {"teacher": "teacher", "labels-only": "ink"}


@attrs.frozen(kw_only=True)
class Point:
    """A value at a place, and its interval (NaN where not known)."""

    x: float
    value: float
    low: float = math.nan
    high: float = math.nan


@attrs.frozen(kw_only=True)
class Line:
    """Points of one series, and published values for it where there are any."""

    label: str
    points: tuple[Point, ...]
    published: tuple[Point, ...] = ()


@attrs.frozen(kw_only=True)
class Level:
    """What a line is to be seen against: a model's value, the same everywhere, and its interval."""

    model: str
    label: str
    value: float
    low: float = math.nan
    high: float = math.nan


@attrs.frozen(kw_only=True)
class LineChart:
    """A metric along a numeric axis."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    levels: tuple[Level, ...] = ()


@attrs.frozen(kw_only=True)
class HeatMap:
    """A metric on a grid of two axes; values by rows, None where there is none."""

    title: str
    x_label: str
    y_label: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    lower_is_better: bool = False


@attrs.frozen(kw_only=True)
class Dots:
    """Values with their intervals, one below the other: a row for each label, a dot for each series."""

    title: str
    x_label: str
    rows: tuple[str, ...]
    points: tuple[Point, ...]
    zero: bool = False


Chart = LineChart | HeatMap | Dots


def draw(chart: Chart, *, key: str) -> str:
    """The SVG of a chart; `key` keeps its ids apart from those of other charts of the page."""
    if isinstance(chart, LineChart):
        return _draw_lines(chart, key=key)
    return _draw_grid(chart, key=key) if isinstance(chart, HeatMap) else _draw_dots(chart, key=key)


def is_log(values: Sequence[float]) -> bool:
    """Whether an axis of these values is drawn with logarithmic distances."""
    return bool(values) and min(values) > 0 and max(values) / min(values) >= LOG_FROM


def tick_text(value: float) -> str:
    """A value of an axis, as short as it can be: `.5`, `2`, `4,100`."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.6g}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def readable_ticks(values: Sequence[float], *, log: bool) -> list[float]:
    """Those of the values that can be written side by side: the ends, and what stands clear of what is kept."""
    placed = {value: math.log(value) if log else value for value in sorted(set(values))}
    ordered = list(placed)
    first, last = ordered[0], ordered[-1]
    span = placed[last] - placed[first]

    def is_clear(one: float, other: float) -> bool:
        return placed[other] - placed[one] >= span * tick_gap(one, other)

    kept = [first]
    for value in ordered[1:-1]:
        if is_clear(kept[-1], value) and is_clear(value, last):
            kept.append(value)
    return [*kept, last] if last > first else kept


def tick_gap(one: float, other: float) -> float:
    """The share of an axis that two values have to be apart to be read."""
    return 0.02 + 0.024 * (len(tick_text(one)) + len(tick_text(other))) / 2


def _draw_lines(chart: LineChart, *, key: str) -> str:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, NullLocator
    from matplotlib.transforms import ScaledTranslation

    with styled():
        labels = ["\n".join(wrap(formats.visible(line.label), LONGEST)) for line in chart.lines]
        entries = [*labels, *(level.label for level in chart.levels)]
        entries += ["published"] if any(line.published for line in chart.lines) else []
        # Two columns hold labels of half a figure's width.
        columns = 2 if max(map(len, entries), default=0) <= HALF else 1
        lines = math.ceil(len(entries) / 2) if columns == 2 else sum(1 + label.count("\n") for label in entries)
        legend = 0.2 * lines + 0.05
        height = 2.55 + legend
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_axes((0.15, (0.48 + legend) / height, 0.83, (height - 0.58 - legend) / height))
        _levels(axes, chart.levels)
        places = [point.x for line in chart.lines for point in line.points]
        shared = len(set(places)) < len(places)
        for index, line in enumerate(chart.lines):
            colour = COLOURS[SERIES[index % len(SERIES)]]
            # Lines that share an axis' values are moved apart a little, so that their intervals are all seen.
            move = (index - (len(chart.lines) - 1) / 2) * 3.2 / 72 if shared else 0.0
            where = axes.transData + ScaledTranslation(move, 0, figure.dpi_scale_trans)
            for point in line.points:
                if math.isfinite(point.low) and math.isfinite(point.high):
                    axes.plot(
                        (point.x,) * 2, (point.low, point.high), color=colour, linewidth=2, alpha=0.5, transform=where
                    )
            axes.plot(
                [point.x for point in line.points], [point.value for point in line.points], color=colour,
                linewidth=1.4, linestyle=DASHES[index % len(DASHES)], marker=_marker(index),
                markersize=5.5, label=labels[index], transform=where,
            )  # fmt: skip
            if line.published:
                axes.plot(
                    [point.x for point in line.published], [point.value for point in line.published], color=colour,
                    linestyle="none", marker=_marker(index), markersize=7.5, markerfacecolor="none",
                    markeredgewidth=1.3,
                )  # fmt: skip
        if any(line.published for line in chart.lines):
            axes.plot(
                [], [], color=COLOURS["muted"], linestyle="none", marker="o", markersize=7.5, markerfacecolor="none",
                markeredgewidth=1.3, label="published",
            )  # fmt: skip
        values = [point.x for line in chart.lines for point in (*line.points, *line.published)]
        log = is_log(values)
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        ticks = readable_ticks(values, log=log)
        axes.set_xticks(ticks, [tick_text(value) for value in ticks])
        axes.set_xlabel(formats.visible(chart.x_label), color=COLOURS["muted"])
        axes.set_ylabel(formats.visible(chart.y_label), color=COLOURS["muted"])
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.yaxis.set_major_formatter(lambda value, _: tick_text(round(value, 9)))
        _limits(axes, chart, values, log=log)
        bare(axes)
        axes.grid(axis="y", color=COLOURS["rule"], linewidth=0.8)
        if axes.get_legend_handles_labels()[0]:  # a single line without levels says it all in its axes' names
            axes.legend(
                loc="upper left", bbox_to_anchor=(0.0, legend / height), bbox_transform=figure.transFigure,
                ncols=columns, frameon=False, fontsize=9.5, labelcolor=COLOURS["ink"], handlelength=2.2,
                columnspacing=1.2, borderaxespad=0, borderpad=0.1, labelspacing=0.25,
            )  # fmt: skip
        return to_svg(figure, key=key, label=f"{chart.title}: {chart.y_label} by {chart.x_label}")


def _marker(index: int) -> str:
    """Of lines of one colour, each has another."""
    return MARKERS[(index + index // len(SERIES)) % len(MARKERS)]


def _levels(axes: Axes, levels: Sequence[Level]) -> None:
    for level in levels:
        colour = COLOURS[LEVEL_COLOURS.get(level.model, "muted")]
        if math.isfinite(level.low) and math.isfinite(level.high):
            axes.axhspan(level.low, level.high, color=colour, alpha=0.12, linewidth=0, zorder=0)
        style = "solid" if level.model == "teacher" else (0, (4, 2))
        axes.axhline(level.value, color=colour, linewidth=1.1, linestyle=style, zorder=1, label=level.label)


def _limits(axes: Axes, chart: LineChart, xs: Sequence[float], *, log: bool) -> None:
    """Room around all that is drawn; points that are moved do not count for matplotlib's own limits."""
    points = [point for line in chart.lines for point in (*line.points, *line.published)]
    axes.set_ylim(*reach([*points, *chart.levels]))
    left, right = min(xs), max(xs)
    if log:
        axes.set_xlim(left / (right / left) ** 0.06, right * (right / left) ** 0.06)
    else:
        axes.set_xlim(left - (0.06 * (right - left) or 0.5), right + (0.06 * (right - left) or 0.5))


def reach(drawn: Sequence[Point | Level]) -> tuple[float, float]:
    """The ends of an axis of values: all of these, and of their intervals what does not dwarf the values."""
    values = [each.value for each in drawn if math.isfinite(each.value)]
    low, high = min(values), max(values)
    most = max(2 * (high - low), 0.25 * max(abs(low), abs(high)))
    ends = [end for each in drawn for end in (each.low, each.high) if math.isfinite(end)]
    first = min([low, *(max(end, low - most) for end in ends)])
    last = max([high, *(min(end, high + most) for end in ends)])
    room = 0.08 * (last - first) or 0.05 * abs(last) or 0.05
    return first - room, last + room


def _draw_grid(chart: HeatMap, *, key: str) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    with styled():
        # As high as the name of its rows is long, which is written along them.
        height = max(0.75 + 0.42 * len(chart.rows), 0.7 + 0.085 * len(chart.y_label))
        figure = Figure(figsize=(WIDTH, height))
        left = (0.42 + 0.085 * max(map(len, chart.rows))) / WIDTH
        axes = figure.add_axes((left, 0.5 / height, 0.98 - left, 1 - 0.6 / height))
        known = [value for row in chart.values for value in row if value is not None]
        least, span = min(known), (max(known) - min(known)) or 1.0
        scale = mpl.colormaps["cividis"]
        for row, values in enumerate(chart.values):
            for column, value in enumerate(values):
                if value is None:
                    continue
                share = (value - least) / span
                red, green, blue, _ = scale(1 - share if chart.lower_is_better else share)
                axes.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, color=(red, green, blue)))
                dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.45
                axes.text(
                    column, row, formats.metric(value), ha="center", va="center", fontsize=10,
                    color="#ffffff" if dark else "#000000",
                )  # fmt: skip
        axes.set_xlim(-0.5, len(chart.columns) - 0.5)
        axes.set_ylim(len(chart.rows) - 0.5, -0.5)
        axes.set_xticks(range(len(chart.columns)), [formats.visible(text) for text in chart.columns])
        axes.set_yticks(range(len(chart.rows)), [formats.visible(text) for text in chart.rows])
        axes.set_xlabel(formats.visible(chart.x_label), color=COLOURS["muted"])
        axes.set_ylabel(formats.visible(chart.y_label), color=COLOURS["muted"])
        bare(axes)
        axes.spines["bottom"].set_visible(False)
        return to_svg(figure, key=key, label=f"{chart.title} by {chart.x_label} and {chart.y_label}")


def _draw_dots(chart: Dots, *, key: str) -> str:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with styled():
        labels = [formats.shortened_label(label, 34) for label in chart.rows]
        height = 0.62 + 0.3 * len(labels)
        figure = Figure(figsize=(WIDTH, height))
        left = (0.25 + 0.082 * max(map(len, labels))) / WIDTH
        axes = figure.add_axes((left, 0.45 / height, 0.97 - left, 1 - 0.55 / height))
        if chart.zero:
            axes.axvline(0, color=COLOURS["muted"], linewidth=1)
        for row, point in enumerate(chart.points):
            if math.isfinite(point.low) and math.isfinite(point.high):
                axes.plot((point.low, point.high), (row, row), color=COLOURS["student"], linewidth=2.2, alpha=0.55)
            axes.plot((point.value,), (row,), color=COLOURS["student"], marker="o", markersize=6)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlim(*reach(chart.points))
        axes.set_xlabel(formats.visible(chart.x_label), color=COLOURS["muted"])
        bare(axes)
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        axes.grid(axis="x", color=COLOURS["rule"], linewidth=0.8)
        return to_svg(figure, key=key, label=f"{chart.title}: {chart.x_label}, with 95 % intervals")
