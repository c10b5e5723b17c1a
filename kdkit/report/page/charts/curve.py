"""One quantity over the course of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.report.page.charts.svg import COLOURS, MARKS, WIDTH, bare, styled, to_svg
from kdkit.system.wording import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@attrs.frozen(kw_only=True)
class Beside:
    """The same quantity of another model, to compare with."""

    title: str
    training: tuple[tuple[float, float], ...]
    validation: tuple[tuple[float, float], ...]


@attrs.frozen(kw_only=True)
class Curve:
    """One quantity over the course of a training: a line of training steps and points of validations."""

    model: str
    title: str
    x_label: str
    y_label: str
    training: tuple[tuple[float, float], ...]
    validation: tuple[tuple[float, float], ...]
    best_x: float | None
    beside: Beside | None = None

    def svg(self, *, key: str) -> str:
        """The drawing; `key` keeps its ids apart from those of other charts of the page."""
        with styled():
            from matplotlib.figure import Figure
            from matplotlib.ticker import MaxNLocator

            figure = Figure(figsize=(WIDTH, 2.6))
            axes = figure.add_axes((0.15, 0.185, 0.83, 0.775))
            if self.beside is not None:
                _draw_line(axes, self.beside, MARKS["labels-only"][0], marker="D", linestyle=(0, (4, 2)))
            _draw_line(axes, self, COLOURS[self.model], marker="o", linestyle="-")
            if self.best_x is not None:
                axes.axvline(self.best_x, color=COLOURS["muted"], linewidth=1, linestyle=(0, (3, 3)), zorder=0)
                side = "right" if self.best_x > sum(axes.get_xlim()) / 2 else "left"
                axes.annotate(
                    "best", (self.best_x, 1), xycoords=("data", "axes fraction"), color=COLOURS["muted"], fontsize=10.5,
                    xytext=(-4 if side == "right" else 4, -3), textcoords="offset points", va="top", ha=side,
                )  # fmt: skip
            axes.set_xlabel(self.x_label, color=COLOURS["muted"])
            axes.set_ylabel(visible(self.y_label), color=COLOURS["muted"])
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
            axes.margins(x=0.03, y=0.12)
            bare(axes)
            axes.grid(axis="y", color=COLOURS["rule"], linewidth=0.8)
            beside = f", beside {self.beside.title}" if self.beside is not None else ""
            return to_svg(figure, key=key, label=f"{self.title}, {self.y_label} by {self.x_label}{beside}")


def _draw_line(axes: Axes, curve: Curve | Beside, colour: str, *, marker: str, linestyle: Any) -> None:
    if curve.training:
        lone = "." if len(curve.training) == 1 else ""  # a line of one point is not seen
        axes.plot(*zip(*curve.training, strict=True), color=colour, linewidth=1.1, alpha=0.6, marker=lone)
    if curve.validation:
        size = 5 if marker == "o" else 4
        axes.plot(
            *zip(*curve.validation, strict=True),
            color=colour, linewidth=1.4, marker=marker, markersize=size, linestyle=linestyle,
        )  # fmt: skip
