"""Whether tokens that a model gives a probability of 0.8 are right 8 times in 10, as a diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.report.page.charts.svg import COLOURS, MARKS, WIDTH, bare, styled, to_svg

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen(kw_only=True)
class Reliability:
    """The share of right tokens by the probability that a model gave them: of each model its points."""

    title: str
    models: Mapping[str, tuple[tuple[float, float], ...]]

    def svg(self, *, key: str) -> str:
        """The drawing; `key` keeps its ids apart from those of other charts of the page."""
        with styled():
            from matplotlib.figure import Figure

            figure = Figure(figsize=(WIDTH, 3.4))
            axes = figure.add_axes((0.15, 0.145, 0.83, 0.82))
            axes.plot((0, 1), (0, 1), color=COLOURS["muted"], linewidth=1, linestyle=(0, (3, 3)))
            for model, points in self.models.items():
                colour, marker = MARKS[model]
                axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, marker=marker, markersize=5)
            axes.set_xlim(0, 1.02)
            axes.set_ylim(0, 1.02)
            axes.set_xlabel("probability of the most likely token", color=COLOURS["muted"])
            axes.set_ylabel("share right", color=COLOURS["muted"])
            bare(axes)
            axes.grid(color=COLOURS["rule"], linewidth=0.8)
            return to_svg(figure, key=key, label=f"{self.title}: share of right tokens by their probability")
