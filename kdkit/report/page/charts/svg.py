"""Charts as inline SVG that follows the page's colours, light or dark.

Each is drawn at the width of a phone, so that its text stays readable there; wide pages show them side by side.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import attrs

from kdkit.report.page import formats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kdkit.report.numbers.pairs import Pair
    from kdkit.report.parts.calibration import Reliability

# Colours of the light page: the page's style sheet has a variable of each name, with another value for the dark.
COLOURS = {"teacher": "#0a5c9c", "student": "#bf4c08", "ink": "#1b1d20", "muted": "#63686f", "rule": "#d9d8d2",
           "series2": "#00734f", "series3": "#7a3f9d", "series4": "#876600", "series5": "#b02a68",
           "series6": "#3b6d8c"}  # fmt: skip
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
LABELS_ONLY = COLOURS["series2"]
WIDTH = 4.1  # inches of 72 points: about the width of a column of the page


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


@attrs.frozen(kw_only=True)
class Whiskers:
    """The metrics of a suite: a dot and a 95 % interval for each model."""

    title: str
    pairs: tuple[Pair, ...]

    @property
    def has_labels_only(self) -> bool:
        """Whether the student that was trained on the labels alone is in it."""
        return any("labels-only" in pair.baselines for pair in self.pairs)


def draw_curve(curve: Curve, *, key: str) -> str:
    """The SVG of a curve; `key` keeps its ids apart from those of other charts of the page."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with styled():
        figure = Figure(figsize=(WIDTH, 2.6))
        axes = figure.add_axes((0.15, 0.185, 0.83, 0.775))
        if curve.beside is not None:
            _draw_line(axes, curve.beside, LABELS_ONLY, marker="D", linestyle=(0, (4, 2)))
        _draw_line(axes, curve, COLOURS[curve.model], marker="o", linestyle="-")
        if curve.best_x is not None:
            axes.axvline(curve.best_x, color=COLOURS["muted"], linewidth=1, linestyle=(0, (3, 3)), zorder=0)
            right = curve.best_x > sum(axes.get_xlim()) / 2
            axes.annotate(
                "best", (curve.best_x, 1), xycoords=("data", "axes fraction"), color=COLOURS["muted"], fontsize=10.5,
                xytext=(-4 if right else 4, -3), textcoords="offset points", va="top", ha="right" if right else "left",
            )  # fmt: skip
        axes.set_xlabel(curve.x_label, color=COLOURS["muted"])
        axes.set_ylabel(formats.visible(curve.y_label), color=COLOURS["muted"])
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.margins(x=0.03, y=0.12)
        bare(axes)
        axes.grid(axis="y", color=COLOURS["rule"], linewidth=0.8)
        beside = f", beside {curve.beside.title}" if curve.beside is not None else ""
        return to_svg(figure, key=key, label=f"{curve.title}, {curve.y_label} by {curve.x_label}{beside}")


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


def draw_whiskers(chart: Whiskers, *, key: str) -> str:
    """The SVG of a suite's dots and whiskers."""
    from matplotlib.figure import Figure

    with styled():
        labels = [formats.shortened_label(pair.label) for pair in chart.pairs]
        height = 0.62 + 0.46 * len(labels)
        left = (0.25 + 0.085 * max(map(len, labels))) / WIDTH
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_axes((left, 0.4 / height, 0.97 - left, 1 - 0.5 / height))
        highest = 0.0
        for row, pair in enumerate(chart.pairs):
            for score, colour, marker, shift in (
                (pair.teacher, COLOURS["teacher"], "s", -0.2 if pair.baselines else -0.14),
                (pair.student, COLOURS["student"], "o", 0.0 if pair.baselines else 0.14),
                (pair.baselines.get("labels-only"), LABELS_ONLY, "D", 0.2),
            ):
                if score is None or not math.isfinite(score.value):
                    continue
                if math.isfinite(score.low) and math.isfinite(score.high):
                    axes.plot((score.low, score.high), (row + shift,) * 2, color=colour, linewidth=2.2, alpha=0.55)
                    highest = max(highest, score.high)
                axes.plot(
                    (score.value,),
                    (row + shift,),
                    color=colour,
                    marker=marker,
                    markersize=5.5 if marker == "D" else 6.5,
                )
                highest = max(highest, score.value)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]), right=highest * 1.06 or 1.0)
        axes.set_xlabel("score, with 95 % interval", color=COLOURS["muted"])
        bare(axes)
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"], labelsize=11)
        axes.grid(axis="x", color=COLOURS["rule"], linewidth=0.8)
        return to_svg(figure, key=key, label=f"{chart.title}: scores with 95 % intervals")


def draw_reliability(chart: Reliability, *, key: str) -> str:
    """The SVG of a reliability diagram: the share of right tokens by the probability that the model gave them."""
    from matplotlib.figure import Figure

    looks = {
        "teacher": (COLOURS["teacher"], "s"),
        "student": (COLOURS["student"], "o"),
        "labels-only": (LABELS_ONLY, "D"),
    }
    with styled():
        figure = Figure(figsize=(WIDTH, 3.4))
        axes = figure.add_axes((0.15, 0.145, 0.83, 0.82))
        axes.plot((0, 1), (0, 1), color=COLOURS["muted"], linewidth=1, linestyle=(0, (3, 3)))
        for model, bins in chart.models.items():
            colour, marker = looks[model]
            points = [(each.confidence, each.accuracy) for each in bins]
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, marker=marker, markersize=5)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("probability of the most likely token", color=COLOURS["muted"])
        axes.set_ylabel("share right", color=COLOURS["muted"])
        bare(axes)
        axes.grid(color=COLOURS["rule"], linewidth=0.8)
        return to_svg(figure, key=key, label=f"{chart.title}: share of right tokens by their probability")


def styled() -> Any:
    """A context in which matplotlib draws for the page."""
    import matplotlib as mpl

    return mpl.rc_context(
        {
            "svg.fonttype": "none",  # text stays text: sharp, selectable, in the reader's own font
            "svg.hashsalt": "kdkit",
            "text.parse_math": False,
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 11,
            "axes.unicode_minus": False,
            "axes.axisbelow": True,
            "xtick.color": COLOURS["muted"],
            "ytick.color": COLOURS["muted"],
        }
    )


def bare(axes: Axes) -> None:
    """Take from a chart what the page does without: its frame and ticks."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(COLOURS["rule"])
    axes.tick_params(length=0, labelsize=10.5)


def to_svg(figure: Figure, *, key: str, label: str) -> str:
    """The SVG of a figure, its ids beginning with `key`, with what a screen reader says of it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The browser draws the text, so a glyph that matplotlib's own font lacks does no harm.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 - matplotlib wrote it a line ago
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    referenced = set(re.findall(r"#([\w-]+)\)|href=\"#([\w-]+)\"", buffer.getvalue().decode()))
    kept = {name for pair in referenced for name in pair if name}
    for element in root.iter():
        _adapt(element, key, kept)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-label": label}
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    return ET.tostring(root, encoding="unicode")


def _adapt(element: ET.Element, key: str, kept: set[str]) -> None:
    """Make ids unique in the page and colours those of the page."""
    name = element.attrib.pop("id", None)
    if name in kept:
        element.set("id", f"{key}-{name}")
    for attribute, value in element.attrib.items():
        new = re.sub(r"url\(#", f"url(#{key}-", value)
        if attribute in {"href", f"{{{XLINK}}}href"}:
            new = re.sub(r"^#", f"#{key}-", new)
        if attribute == "style":
            for role, colour in COLOURS.items():
                new = new.replace(colour, f"var(--{role}, {colour})")
            new = re.sub(r"font: ([\d.]+px) [^;]*", r"font-size: \1", new)
        element.set(attribute, new)
