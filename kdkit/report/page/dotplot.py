"""Values with their intervals on one axis, a row each: dots that a phone, a screen reader and a printer can show."""

from __future__ import annotations

import math

import attrs

from kdkit.api.values import Interval
from kdkit.report.page import formats
from kdkit.report.page.charts.svg import is_known, reach
from kdkit.report.page.tables import Cell, Group, Row, Table

MOST_TICKS = 5
MOST_SIGNED = 4
"""Of differences, whose numbers are longer: five ran into each other on a screen of 1200 pixels."""
NARROW = 38
"""What lies on one side of 0 is not written where that side has fewer per cent of the axis."""
NOTHING = Interval(value=0.0, low=0.0, high=0.0, count=0)


@attrs.frozen(kw_only=True)
class Dot:
    """A row.

    Attributes:
        label: Whose value it is.
        note: In smaller print beside the label.
        at: The value and its interval.
        tone: What gives it its colour: a model's name, or "better", "worse" or "within noise".
    """

    label: str
    note: str = ""
    at: Interval
    tone: str


@attrs.frozen(kw_only=True)
class DotGroup:
    """Rows under a common heading; no heading where the title is empty."""

    title: str = ""
    dots: tuple[Dot, ...]


@attrs.frozen(kw_only=True)
class DotPlot:
    """Rows of values on one axis.

    Attributes:
        title: What the values are.
        groups: The rows.
        note: What is said below them.
        sides: For differences, what lies left and right of 0; where it is given, values have a sign.
        ends: The ends of the axis; where there are none, the axis holds what is drawn.
    """

    title: str
    groups: tuple[DotGroup, ...]
    note: str = ""
    sides: tuple[str, str] | None = None
    ends: tuple[float, float] | None = None

    @classmethod
    def of(cls, title: str, *dots: Dot, note: str = "", sides: tuple[str, str] | None = None,
           ends: tuple[float, float] | None = None) -> DotPlot:  # fmt: skip
        """A plot whose rows are one group."""
        return cls(title=title, groups=(DotGroup(dots=dots),), note=note, sides=sides, ends=ends)

    @property
    def axis(self) -> tuple[float, float]:
        """The ends of the axis; that of differences holds 0."""
        if self.ends is not None:
            return self.ends
        drawn = [dot.at for group in self.groups for dot in group.dots]
        return reach(drawn if self.sides is None else [*drawn, NOTHING])

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Round numbers along the axis, by their place in per cent."""
        most = MOST_TICKS if self.sides is None else MOST_SIGNED
        return tuple((self.place(value), formats.tick(value)) for value in round_numbers(*self.axis, most))

    @property
    def placed_sides(self) -> tuple[tuple[str, str], ...]:
        """What lies left and right of 0, each with where it is written; left out on the side that is too narrow."""
        if self.sides is None:
            return ()
        zero = self.place(0)
        left, right = self.sides
        placed = (
            (f"\u2190 {left}", f"right: {100 - zero:.2f}%", zero),
            (f"{right} \u2192", f"left: {zero}%", 100 - zero),
        )
        return tuple((text, style) for text, style, room in placed if room >= NARROW)

    def place(self, value: float) -> float:
        """Where a value lies on the axis, in per cent; what is beyond an end lies at that end."""
        low, high = self.axis
        return round(min(100.0, max(0.0, 100 * (value - low) / (high - low))), 2)

    def bar(self, at: Interval) -> tuple[float, float] | None:
        """Where an interval begins and how long it is, in per cent; None where it is not known."""
        if not is_known(at):
            return None
        left = self.place(at.low)
        return left, round(self.place(at.high) - left, 2)

    def told(self, at: Interval) -> Cell:
        """A value as it is written."""
        if self.sides is None:
            return Cell(formats.metric(at.value), formats.interval(at))
        return Cell(formats.signed(at.value), formats.signed_interval(at))

    def table(self) -> Table:
        """The same numbers without a drawing."""
        groups = (
            Group(title=group.title, rows=tuple(
                Row(label=dot.label, note=dot.note, cells=(attrs.evolve(self.told(dot.at), verdict=_verdict(dot)),))
                for dot in group.dots
            ))
            for group in self.groups
        )  # fmt: skip
        return Table(columns=("", self.title), groups=tuple(groups), note=self.note)


def _verdict(dot: Dot) -> str:
    return dot.tone if dot.tone in {"better", "worse", "within noise"} else ""


def round_numbers(low: float, high: float, most: int = MOST_TICKS) -> list[float]:
    """At most so many round numbers between two ends, evenly apart: 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]
