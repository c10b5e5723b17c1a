"""Rate and fidelity: KL divergence against bytes a token, both on logarithmic axes."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from kdkit.errors import UsageError
from kdkit.system import drawing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kdkit.logits.bench.results import Result

# Where what is exact (a divergence of 0) is drawn, below the least that is not.
_BELOW = 10.0
_FLOOR = 1e-7
# Told apart by everyone, and in print: Okabe and Ito, "Color Universal Design" (2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKERS = "osD^vPX"
_ENDINGS = (".png", ".svg", ".pdf")


def check_plot(path: Path) -> None:
    """Refuse a place where no plot can be written, which is known before anything is measured.

    Raises:
        UsageError: The ending is not known, or the folder is not there or cannot be written to.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError(f"--plot {path}: a plot's name must end in {', '.join(_ENDINGS[:-1])} or {_ENDINGS[-1]}")
    if not path.parent.is_dir():
        raise UsageError(f"--plot {path}: there is no folder {path.parent}; make it, or give another path")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--plot {path}: the file cannot be written; give another path")


def draw_plot(results: Sequence[Result], path: Path, *, temperature: float = 1.0) -> None:
    """Write the plot; results without a divergence at the temperature are named beside it, and not drawn.

    Args:
        results: What was measured.
        path: Where it goes; its ending says what it is: `.png`, `.svg`, `.pdf`.
        temperature: The temperature of the divergence.

    Raises:
        UsageError: See `check_plot`; or the file cannot be written.
    """
    check_plot(path)
    with drawing.default_settings():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.4, 5.2), layout="constrained")
        axes = figure.add_subplot()
        drawn = [result for result in results if result.kl.get(temperature) is not None]
        positive = [kl for result in drawn if (kl := result.kl[temperature])]
        floor = min(positive, default=_FLOOR * _BELOW) / _BELOW
        axes.set_xscale("log")
        axes.set_yscale("log")
        for number, codec in enumerate(dict.fromkeys(result.codec for result in drawn)):
            _draw_codec(axes, [r for r in drawn if r.codec == codec], temperature, floor, number)
        axes.set_xlabel("bytes a token")
        axes.set_ylabel(f"mean KL(exact || decoded) at T = {temperature:g}, nats a token")
        axes.grid(visible=True, which="major", color="#d9d8d2", linewidth=0.8)
        axes.margins(0.12, 0.1)
        if drawn:
            _label_points(figure, axes, drawn, temperature, floor)
            axes.legend(frameon=False)
        left_out = [result.label for result in results if result not in drawn]
        if left_out:
            axes.set_title(f"without a finite KL at this temperature: {', '.join(left_out)}", fontsize=9, loc="left")
        try:
            figure.savefig(path, dpi=150)
        except OSError as error:
            raise UsageError(f"the plot cannot be written to {path}: {error}") from error


def _draw_codec(axes: Axes, results: Sequence[Result], temperature: float, floor: float, number: int) -> None:
    colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
    points = sorted((r.bytes_per_token, r.kl[temperature] or 0.0, r.label) for r in results)
    lossy = [(size, kl) for size, kl, _ in points if kl]
    if lossy:
        axes.plot(*zip(*lossy, strict=True), color=colour, linewidth=1, alpha=0.5)
    name = results[0].codec
    for size, kl, _ in points:
        axes.plot(
            size, kl or floor, marker=marker, color=colour, markersize=7, linestyle="", label=name,
            fillstyle="full" if kl else "none",
        )  # fmt: skip
        name = "_"  # one entry a codec in the legend


def _label_points(figure: Figure, axes: Axes, results: Sequence[Result], temperature: float, floor: float) -> None:
    """Beside each point what it is, where no other point or label is in the way, as far as there is such a place."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # settles the layout: places are known only then
    spots = [(result.bytes_per_token, result.kl[temperature] or floor) for result in results]
    taken = [Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in axes.transData.transform(spots)]
    for result, spot in zip(results, spots, strict=True):
        text = f"{result.label}{'' if result.kl[temperature] else ' (exact)'}"
        found = None
        for right, height in itertools.product((False, True), (5, -12, 17, -24)):
            if found is not None:
                found.remove()
            found = axes.annotate(
                text, spot, xytext=(-7 if right else 7, height), textcoords="offset points",
                ha="right" if right else "left", fontsize=8,
            )  # fmt: skip
            box = found.get_window_extent()
            if axes.bbox.count_contains(box.corners()) == 4 and not box.count_overlaps(taken):
                break
        assert found is not None
        taken.append(found.get_window_extent())
