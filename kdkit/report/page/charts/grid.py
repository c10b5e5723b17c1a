"""A metric on a grid of two axes."""

from __future__ import annotations

import attrs

from kdkit.report.page import formats
from kdkit.report.page.charts.svg import COLOURS, WIDTH, bare, styled, to_svg
from kdkit.system.wording import visible


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

    def svg(self, *, key: str) -> str:
        """The drawing; `key` keeps its ids apart from those of other charts of the page."""
        with styled():
            import matplotlib as mpl
            from matplotlib.figure import Figure
            from matplotlib.patches import Rectangle

            # As high as the name of its rows is long, which is written along them.
            height = max(0.75 + 0.42 * len(self.rows), 0.7 + 0.085 * len(self.y_label))
            figure = Figure(figsize=(WIDTH, height))
            left = (0.42 + 0.085 * max(map(len, self.rows))) / WIDTH
            axes = figure.add_axes((left, 0.5 / height, 0.98 - left, 1 - 0.6 / height))
            known = [value for row in self.values for value in row if value is not None]
            least, span = min(known), (max(known) - min(known)) or 1.0
            scale = mpl.colormaps["cividis"]
            for row, values in enumerate(self.values):
                for column, value in enumerate(values):
                    if value is None:
                        continue
                    share = (value - least) / span
                    red, green, blue, _ = scale(1 - share if self.lower_is_better else share)
                    axes.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, color=(red, green, blue)))
                    dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.45
                    axes.text(
                        column, row, formats.metric(value), ha="center", va="center", fontsize=10,
                        color="#ffffff" if dark else "#000000",
                    )  # fmt: skip
            axes.set_xlim(-0.5, len(self.columns) - 0.5)
            axes.set_ylim(len(self.rows) - 0.5, -0.5)
            axes.set_xticks(range(len(self.columns)), [visible(text) for text in self.columns])
            axes.set_yticks(range(len(self.rows)), [visible(text) for text in self.rows])
            axes.set_xlabel(visible(self.x_label), color=COLOURS["muted"])
            axes.set_ylabel(visible(self.y_label), color=COLOURS["muted"])
            bare(axes)
            axes.spines["bottom"].set_visible(False)
            return to_svg(figure, key=key, label=f"{self.title} by {self.x_label} and {self.y_label}")
