"""A score by a size that spans several powers of ten: a row for each thing that is measured, its name beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from kdkit.report.page import formats
from kdkit.report.page.charts.lines import levels_upright
from kdkit.report.page.charts.svg import COLOURS, WIDTH, bare, is_known, reach, styled, to_svg
from kdkit.system.wording import rounded, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import Interval
    from kdkit.report.page.charts.lines import Level

APART = 0.19  # inches: between two names


@attrs.frozen(kw_only=True)
class Sized:
    """Something with a size and a score."""

    label: str
    size: float
    at: Interval


@attrs.frozen(kw_only=True)
class SizeChart:
    """Scores along the horizontal axis, sizes along the vertical one in powers of ten, the smallest above."""

    title: str
    x_label: str
    size_label: str
    points: tuple[Sized, ...]
    levels: tuple[Level, ...] = ()

    def svg(self, *, key: str) -> str:
        """The drawing; `key` keeps its ids apart from those of other charts of the page."""
        with styled():
            from matplotlib.figure import Figure
            from matplotlib.ticker import MaxNLocator, NullLocator

            legend = 0.27 if self.levels else 0.0
            inside = max(1.6, 0.26 * len(self.points) + 0.3)
            height = inside + 0.55 + legend
            names = [formats.shortened_label(point.label, 26) for point in self.points]
            margin = 0.2 + 0.078 * max(map(len, names))
            figure = Figure(figsize=(WIDTH, height))
            axes = figure.add_axes(
                (0.68 / WIDTH, (0.45 + legend) / height, 1 - (0.68 + margin) / WIDTH, inside / height)
            )
            levels_upright(axes, self.levels)
            for point in self.points:
                if is_known(point.at):
                    ends = (point.at.low, point.at.high)
                    axes.plot(ends, (point.size,) * 2, color=COLOURS["student"], linewidth=2.2, alpha=0.5)
                axes.plot((point.at.value,), (point.size,), color=COLOURS["student"], marker="o", markersize=6)
            sizes = [point.size for point in self.points]
            low, high = math.log10(min(sizes)), math.log10(max(sizes))
            room = 0.06 * (high - low) or 0.1
            bottom, top = high + room, low - room  # the smallest is above
            axes.set_yscale("log")
            axes.set_ylim(10**bottom, 10**top)
            axes.yaxis.set_minor_locator(NullLocator())
            ticks = powers(10**top, 10**bottom)
            axes.set_yticks(ticks, [rounded(tick) for tick in ticks])
            axes.set_ylabel(visible(self.size_label), color=COLOURS["muted"])
            axes.set_xlim(*reach([*(point.at for point in self.points), *(level.at for level in self.levels)]))
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
            axes.xaxis.set_major_formatter(lambda value, _: formats.tick(round(value, 9)))
            axes.set_xlabel(visible(self.x_label), color=COLOURS["muted"])
            bare(axes)
            axes.grid(color=COLOURS["rule"], linewidth=0.8)
            # From the top down, as shares of the drawing's height.
            wanted = [(math.log10(point.size) - top) / (bottom - top) for point in self.points]
            for name, own, place in zip(names, wanted, spread(wanted, APART / inside), strict=True):
                axes.annotate(
                    name, xy=(1, 1 - own), xytext=(1 + 0.09 / (WIDTH - 0.68 - margin), 1 - place),
                    xycoords="axes fraction", textcoords="axes fraction", va="center", fontsize=9.5,
                    color=COLOURS["ink"], annotation_clip=False,
                    arrowprops={"arrowstyle": "-", "color": COLOURS["muted"], "linewidth": 0.7, "shrinkA": 0,
                                "shrinkB": 0},
                )  # fmt: skip
            if self.levels:
                axes.legend(
                    loc="upper left", bbox_to_anchor=(0.0, legend / height), bbox_transform=figure.transFigure, ncols=2,
                    frameon=False, fontsize=9.5, labelcolor=COLOURS["ink"], handlelength=2.2, borderaxespad=0,
                    borderpad=0.1,
                )  # fmt: skip
            return to_svg(figure, key=key, label=f"{self.title}: {self.x_label} by {self.size_label}")


def powers(low: float, high: float) -> list[float]:
    """The powers of ten between two sizes; where these are fewer than two, their doubles and fivefold as well."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        found = [
            factor * 10.0**power for power in exponents for factor in factors if low <= factor * 10.0**power <= high
        ]
        if len(found) > 1:
            return found
    return [low, high]


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Places as near as can be to those wanted, which are sorted, and at least so far apart."""
    # Wanted places of neighbours that touch, and where the first of them is.
    blocks: list[tuple[list[float], float]] = []
    for each in wanted:
        members, start = [each], each
        while blocks and blocks[-1][1] + gap * len(blocks[-1][0]) > start:
            members = blocks.pop()[0] + members
            start = sum(place - gap * index for index, place in enumerate(members)) / len(members)
        blocks.append((members, start))
    return [start + gap * index for members, start in blocks for index in range(len(members))]
