"""How much each of several numbered things matters, and which of them were kept: a bar for each."""

from __future__ import annotations

import math

import attrs

from kdkit.report.page.charts.svg import COLOURS, WIDTH, bare, styled, to_svg
from kdkit.system.wording import visible


@attrs.frozen(kw_only=True)
class Bars:
    """Numbers as upright bars, on an axis in powers of ten.

    What is 0 or less has no bar; the bar of what is not finite, such as a loss that overflows, reaches the top.

    Attributes:
        title: What stands over it.
        x_label: What is numbered, from 0.
        y_label: What the numbers are.
        values: They; None where there is none.
        kept: Which are drawn in the student's colour.
    """

    title: str
    x_label: str
    y_label: str
    values: tuple[float | None, ...]
    kept: tuple[int, ...]

    def svg(self, *, key: str) -> str:
        """The drawing; `key` keeps its ids apart from those of other charts of the page."""
        with styled():
            from matplotlib.figure import Figure
            from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

            figure = Figure(figsize=(WIDTH, 2.6))
            axes = figure.add_axes((0.17, 0.185, 0.81, 0.775))
            given = {place: value for place, value in enumerate(self.values) if value is not None}
            shown = {place: value for place, value in given.items() if math.isfinite(value) and value > 0}
            low = min(shown.values(), default=0.1)
            bottom, top = low / 1.8, 1.4 * max(shown.values(), default=1.0)
            shown |= {place: top for place, value in given.items() if not math.isfinite(value)}
            axes.set_yscale("log")
            for place, value in shown.items():
                colour = COLOURS["student" if place in self.kept else "muted"]
                axes.bar(place, value, color=colour, alpha=1.0 if place in self.kept else 0.45, width=0.75)
            axes.set_ylim(bottom, top)
            axes.set_xlim(-0.7, len(self.values) - 0.3)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if top > 100 * bottom else (1.0, 2.0, 5.0), numticks=9))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.set_xlabel(visible(self.x_label), color=COLOURS["muted"])
            axes.set_ylabel(visible(self.y_label), color=COLOURS["muted"])
            bare(axes)
            axes.grid(axis="y", color=COLOURS["rule"], linewidth=0.8)
            return to_svg(figure, key=key, label=f"{self.title}: {self.y_label} by {self.x_label}")
