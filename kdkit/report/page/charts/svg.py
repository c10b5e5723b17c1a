"""What all drawings share: colours and marks of the page, and how a figure of matplotlib becomes its SVG.

Each is drawn at the width of a phone, so that its text stays readable there; wide pages show them side by side.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from kdkit.system import drawing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kdkit.api.values import Interval

# Colours of the light page: the page's style sheet has a variable of each name, with another value for the dark.
COLOURS = {"teacher": "#0a5c9c", "student": "#bf4c08", "ink": "#1b1d20", "muted": "#63686f", "rule": "#d9d8d2",
           "series2": "#00734f", "series3": "#7a3f9d", "series4": "#876600", "series5": "#b02a68",
           "series6": "#3b6d8c"}  # fmt: skip
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
WIDTH = 4.1  # inches of 72 points: about the width of a column of the page
PICTURE = 6.4  # inches: of a picture that stands alone
STYLE = {
    "svg.fonttype": "none",  # text stays text: sharp, selectable, in the reader's own font
    "svg.hashsalt": "kdkit",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "axes.unicode_minus": True,
    "axes.axisbelow": True,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
}
MARKS = {
    "teacher": (COLOURS["teacher"], "s"),
    "student": (COLOURS["student"], "o"),
    "labels-only": (COLOURS["series2"], "D"),
}
"""Colour and mark of a model."""


@contextmanager
def styled() -> Iterator[None]:
    """A context in which matplotlib draws for the page; import it within, not before."""
    with drawing.default_settings() as settings:
        settings.update(STYLE)
        yield


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


def to_png(figure: Figure) -> bytes:
    """A figure as a picture of twice the pixels of a screen, on the page's light ground."""
    buffer = io.BytesIO()
    for axes in figure.axes:
        axes.set_facecolor("none")
    figure.savefig(
        buffer, format="png", dpi=200, facecolor="#fcfcfa", bbox_inches="tight", pad_inches=0.12,
        metadata={"Software": None},
    )  # fmt: skip
    return buffer.getvalue()


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


def is_known(found: Interval) -> bool:
    """Whether both ends of an interval are known."""
    return math.isfinite(found.low) and math.isfinite(found.high)


def reach(drawn: Iterable[Interval]) -> tuple[float, float]:
    """The ends of an axis of values: all of these, and of their intervals what does not dwarf the values."""
    drawn = list(drawn)
    values = [each.value for each in drawn if math.isfinite(each.value)]
    low, high = min(values), max(values)
    most = max(2 * (high - low), 0.25 * max(abs(low), abs(high)))
    ends = [end for each in drawn for end in (each.low, each.high) if math.isfinite(end)]
    first = min([low, *(max(end, low - most) for end in ends)])
    last = max([high, *(min(end, high + most) for end in ends)])
    room = 0.08 * (last - first) or 0.05 * abs(last) or 0.05
    return first - room, last + room
