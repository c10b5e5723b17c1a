"""Values with their intervals, one below the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.report.page import formats
from kdkit.report.page.charts.svg import COLOURS, MARKS, WIDTH, bare, is_known, reach, styled, to_svg
from kdkit.system.wording import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.api.values import Interval


@attrs.frozen(kw_only=True)
class Dots:
    """A row for each label, a dot with its interval for each model that it has.

    Attributes:
        title: What stands over it.
        x_label: What the values are.
        rows: Labels, and the value of each model.
        from_zero: Whether the axis begins at 0.
    """

    title: str
    x_label: str
    rows: tuple[tuple[str, Mapping[str, Interval]], ...]
    from_zero: bool = False

    def svg(self, *, key: str) -> str:
        """The drawing; `key` keeps its ids apart from those of other charts of the page."""
        crowd = max(len(models) for _, models in self.rows)
        with styled():
            from matplotlib.figure import Figure
            from matplotlib.ticker import MaxNLocator

            labels = [formats.shortened_label(label, 34 if crowd == 1 else 22) for label, _ in self.rows]
            height = 0.62 + (0.3 if crowd == 1 else 0.46) * len(labels)
            figure = Figure(figsize=(WIDTH, height))
            left = (0.25 + 0.085 * max(map(len, labels))) / WIDTH
            axes = figure.add_axes((left, 0.43 / height, 0.97 - left, 1 - 0.53 / height))
            for row, (_, models) in enumerate(self.rows):
                for place, (model, at) in enumerate(models.items()):
                    colour, marker = MARKS[model]
                    y = row + (place - (len(models) - 1) / 2) * (0.2 if crowd > 2 else 0.28)
                    if is_known(at):
                        axes.plot((at.low, at.high), (y, y), color=colour, linewidth=2.2, alpha=0.55)
                    size = 5.5 if marker == "D" else 6.5
                    axes.plot((at.value,), (y,), color=colour, marker=marker, markersize=size)
            axes.set_yticks(range(len(labels)), labels)
            axes.set_ylim(len(labels) - 0.5, -0.5)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
            every = [at for _, models in self.rows for at in models.values()]
            if self.from_zero:
                highest = max(max(at.value, at.high if is_known(at) else at.value) for at in every)
                axes.set_xlim(min(0.0, axes.get_xlim()[0]), highest * 1.06 or 1.0)
            else:
                axes.set_xlim(*reach(every))
            axes.set_xlabel(visible(self.x_label), color=COLOURS["muted"])
            bare(axes)
            axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
            axes.grid(axis="x", color=COLOURS["rule"], linewidth=0.8)
            return to_svg(figure, key=key, label=f"{self.title}: {self.x_label}, with 95 % intervals")
