"""A metric along a numeric axis."""

from __future__ import annotations

import math
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.report.page import formats
from kdkit.report.page.charts.svg import COLOURS, WIDTH, bare, is_known, reach, styled, to_png, to_svg
from kdkit.system.wording import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kdkit.api.values import Interval

SERIES = ("student", "series2", "series3", "series4", "series5", "series6")
"""Colours of lines, in the order in which they are taken; marker and dashes tell lines apart too."""
MARKERS = ("o", "^", "D", "v", "P", "X")
DASHES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2)), (0, (2, 1)))
HOLLOW: dict[str, Any] = {"linestyle": "none", "markersize": 7.5, "markerfacecolor": "none", "markeredgewidth": 1.3}
LOG_FROM = 10
"""An axis whose largest value is so many times its smallest is drawn with logarithmic distances."""
LEVEL_COLOURS = {"teacher": "teacher", "labels-only": "ink"}
HALF, LONGEST = 26, 48
"""So many characters of a label fit into half a figure's width, and into all of it, where it is wrapped."""


@attrs.frozen(kw_only=True)
class Point:
    """A value at a place; its interval is NaN where not known."""

    x: float
    at: Interval


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
    at: Interval


@attrs.frozen(kw_only=True)
class LineChart:
    """A metric along a numeric axis.

    Attributes:
        title: What stands over it.
        x_label: What lies along it.
        y_label: What its values are.
        lines: The series.
        levels: What they are to be seen against.
        signed: Whether the values are differences.
        width: How wide it is drawn, in inches.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    levels: tuple[Level, ...] = ()
    signed: bool = False
    width: float = WIDTH

    def svg(self, *, key: str) -> str:
        """The drawing; `key` keeps its ids apart from those of other charts of the page."""
        with styled():
            return to_svg(self._drawn(), key=key, label=f"{self.title}: {self.y_label} by {self.x_label}")

    def png(self) -> bytes:
        """The drawing as a picture of twice the pixels of a screen, for pages that are not kdkit's."""
        with styled():
            return to_png(self._drawn())

    def _drawn(self) -> Figure:
        """The drawing; within `styled`."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator, NullLocator
        from matplotlib.transforms import ScaledTranslation

        labels = ["\n".join(wrap(visible(line.label), LONGEST)) for line in self.lines]
        entries = [*labels, *(level.label for level in self.levels)]
        entries += ["published"] if any(line.published for line in self.lines) else []
        # Two columns hold labels of half a figure's width.
        columns = 2 if max(map(len, entries), default=0) <= HALF else 1
        lines = math.ceil(len(entries) / 2) if columns == 2 else sum(1 + label.count("\n") for label in entries)
        legend = 0.2 * lines + 0.05
        width = self.width
        height = (2.55 if width == WIDTH else 0.5 * width) + legend
        left = (0.62 if not self.signed else 0.72) / width
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes(
            (left, (0.48 + legend) / height, 1 - left - 0.09 / width, (height - 0.58 - legend) / height)
        )
        _levels(axes, self.levels)
        places = [point.x for line in self.lines for point in line.points]
        shared = len(set(places)) < len(places)
        for index, line in enumerate(self.lines):
            colour = COLOURS[SERIES[index % len(SERIES)]]
            # Lines that share an axis' values are moved apart a little, so that their intervals are all seen.
            move = (index - (len(self.lines) - 1) / 2) * 3.2 / 72 if shared else 0.0
            where = axes.transData + ScaledTranslation(move, 0, figure.dpi_scale_trans)
            banded = len(self.lines) == 1 and len(line.points) > 1 and all(is_known(point.at) for point in line.points)
            if banded:
                lows, highs = [point.at.low for point in line.points], [point.at.high for point in line.points]
                axes.fill_between(
                    [point.x for point in line.points], lows, highs, color=colour, alpha=0.16, linewidth=0
                )
            for point in line.points:
                if is_known(point.at) and not banded:
                    ends = (point.at.low, point.at.high)
                    axes.plot((point.x,) * 2, ends, color=colour, linewidth=2, alpha=0.5, transform=where)
            axes.plot(
                [point.x for point in line.points], [point.at.value for point in line.points], color=colour,
                linewidth=1.4, linestyle=DASHES[index % len(DASHES)], marker=_marker(index),
                markersize=5.5, label=labels[index], transform=where,
            )  # fmt: skip
            if line.published:
                axes.plot(
                    [point.x for point in line.published], [point.at.value for point in line.published],
                    color=colour, marker=_marker(index), **HOLLOW,
                )  # fmt: skip
        if any(line.published for line in self.lines):
            axes.plot(
                [], [], color=COLOURS["muted"], marker="o", label="published", **HOLLOW,
            )  # fmt: skip
        values = [point.x for line in self.lines for point in (*line.points, *line.published)]
        log = is_log(values)
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        ticks = readable_ticks(values, log=log)
        axes.set_xticks(ticks, [formats.tick(value) for value in ticks])
        axes.set_xlabel(visible(self.x_label), color=COLOURS["muted"])
        axes.set_ylabel(visible(self.y_label), color=COLOURS["muted"])
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        show = signed_tick if self.signed else formats.tick
        axes.yaxis.set_major_formatter(lambda value, _: show(round(value, 9)))
        _limits(axes, self, values, log=log)
        bare(axes)
        axes.grid(axis="y", color=COLOURS["rule"], linewidth=0.8)
        if axes.get_legend_handles_labels()[0]:  # a single line without levels says it all in its axes' names
            axes.legend(
                loc="upper left", bbox_to_anchor=(0.0, legend / height), bbox_transform=figure.transFigure,
                ncols=columns, frameon=False, fontsize=9.5, labelcolor=COLOURS["ink"], handlelength=2.2,
                columnspacing=1.2, borderaxespad=0, borderpad=0.1, labelspacing=0.25,
            )  # fmt: skip
        return figure


def signed_tick(value: float) -> str:
    """A difference along an axis, with its sign."""
    return f"+{formats.tick(value)}" if value > 0 else formats.tick(value)


def is_log(values: Sequence[float]) -> bool:
    """Whether an axis of these values is drawn with logarithmic distances."""
    return bool(values) and min(values) > 0 and max(values) / min(values) >= LOG_FROM


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
    return 0.02 + 0.024 * (len(formats.tick(one)) + len(formats.tick(other))) / 2


def _marker(index: int) -> str:
    """Of lines of one colour, each has another."""
    return MARKERS[(index + index // len(SERIES)) % len(MARKERS)]


def _levels(axes: Axes, levels: Sequence[Level]) -> None:
    for level in levels:
        colour = COLOURS[LEVEL_COLOURS.get(level.model, "muted")]
        if is_known(level.at):
            axes.axhspan(level.at.low, level.at.high, color=colour, alpha=0.12, linewidth=0, zorder=0)
        style = "solid" if level.model == "teacher" else (0, (4, 2))
        axes.axhline(level.at.value, color=colour, linewidth=1.1, linestyle=style, zorder=1, label=level.label)


def levels_upright(axes: Axes, levels: Sequence[Level]) -> None:
    """The same of an axis of values that is the horizontal one."""
    for level in levels:
        colour = COLOURS[LEVEL_COLOURS.get(level.model, "muted")]
        if is_known(level.at):
            axes.axvspan(level.at.low, level.at.high, color=colour, alpha=0.12, linewidth=0, zorder=0)
        style = "solid" if level.model == "teacher" else (0, (4, 2))
        axes.axvline(level.at.value, color=colour, linewidth=1.1, linestyle=style, zorder=1, label=level.label)


def _limits(axes: Axes, chart: LineChart, xs: Sequence[float], *, log: bool) -> None:
    """Room around all that is drawn; points that are moved do not count for matplotlib's own limits."""
    points = [point for line in chart.lines for point in (*line.points, *line.published)]
    axes.set_ylim(*reach([*(point.at for point in points), *(level.at for level in chart.levels)]))
    left, right = min(xs), max(xs)
    if log:
        axes.set_xlim(left / (right / left) ** 0.06, right * (right / left) ** 0.06)
    else:
        axes.set_xlim(left - (0.06 * (right - left) or 0.5), right + (0.06 * (right - left) or 0.5))
