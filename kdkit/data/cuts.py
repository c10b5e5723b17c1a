"""Moves the cuts of a source after characters before or inside them were removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import Cut


def moved(cut: Cut, shifts: Sequence[tuple[int, int]]) -> Cut:
    """The cut's place in a text from which characters were taken.

    Args:
        cut: The cut, by its place in the text before.
        shifts: The position, and how many characters were taken out there; in the order in which that was done.
    """

    def at(place: int) -> int:
        for position, taken in shifts:
            place = place - taken if place >= position + taken else min(place, position)
        return place

    return attrs.evolve(
        cut, start=at(cut.start), end=at(cut.end), drop_start=at(cut.drop_start), drop_end=at(cut.drop_end)
    )
