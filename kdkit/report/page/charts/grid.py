"""A metric on a grid of two axes."""

from __future__ import annotations

import attrs

from kdkit.report.page import formats
from kdkit.report.page.charts.svg import COLOURS, WIDTH, bare, styled, to_svg
from kdkit.system.wording import visible

AS_GOOD = 0.42
"""How strongly the best is coloured, and all that is within noise of it."""
STRONGEST, FAINTEST = 0.24, 0.03
"""How strongly the others are: by their distance from the best."""


@attrs.frozen(kw_only=True)
class HeatMap:
    """A metric on a grid of two axes.

    Attributes:
        title: What stands over it.
        x_label: What the columns are.
        y_label: What the rows are.
        columns: Their values.
        rows: Theirs.
        values: By rows; None where there is none.
        best: Row and column of the best.
        as_good: Whether a value is within noise of the best; all of these have one colour.
    """

    title: str
    x_label: str
    y_label: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    best: tuple[int, int]
    as_good: tuple[tuple[bool, ...], ...]

    def strength(self, row: int, column: int) -> float:
        """How strongly a cell is coloured, from 0 to 1."""
        value, best = self.values[row][column], self.values[self.best[0]][self.best[1]]
        if value is None or best is None:
            return 0.0
        if self.as_good[row][column]:
            return AS_GOOD
        known = [each for values in self.values for each in values if each is not None]
        span = max(abs(each - best) for each in known) or 1.0
        return FAINTEST + (STRONGEST - FAINTEST) * (1 - abs(value - best) / span)

    def svg(self, *, key: str) -> str:
        """The drawing; `key` keeps its ids apart from those of other charts of the page."""
        with styled():
            from matplotlib.figure import Figure
            from matplotlib.patches import Rectangle

            # As high as the name of its rows is long, which is written along them.
            height = max(0.75 + 0.42 * len(self.rows), 0.7 + 0.085 * len(self.y_label))
            figure = Figure(figsize=(WIDTH, height))
            left = (0.42 + 0.085 * max(map(len, self.rows))) / WIDTH
            axes = figure.add_axes((left, 0.5 / height, 0.98 - left, 1 - 0.6 / height))
            for row, values in enumerate(self.values):
                for column, value in enumerate(values):
                    if value is None:
                        continue
                    is_best = (row, column) == self.best
                    axes.add_patch(
                        Rectangle(
                            (column - 0.47, row - 0.45), 0.94, 0.9, linewidth=0, facecolor=COLOURS["student"],
                            alpha=self.strength(row, column),
                        )
                    )  # fmt: skip
                    if is_best:
                        axes.add_patch(
                            Rectangle(
                                (column - 0.47, row - 0.45), 0.94, 0.9, fill=False, linewidth=1.4,
                                edgecolor=COLOURS["ink"],
                            )
                        )  # fmt: skip
                    axes.text(column, row, formats.metric(value), ha="center", va="center", fontsize=10,
                              color=COLOURS["ink"])  # fmt: skip
            axes.set_xlim(-0.5, len(self.columns) - 0.5)
            axes.set_ylim(len(self.rows) - 0.5, -0.5)
            axes.set_xticks(range(len(self.columns)), [visible(text) for text in self.columns])
            axes.set_yticks(range(len(self.rows)), [visible(text) for text in self.rows])
            axes.set_xlabel(visible(self.x_label), color=COLOURS["muted"])
            axes.set_ylabel(visible(self.y_label), color=COLOURS["muted"])
            bare(axes)
            axes.spines["bottom"].set_visible(False)
            return to_svg(figure, key=key, label=f"{self.title} by {self.x_label} and {self.y_label}")
