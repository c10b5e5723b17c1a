"""Which sequences share a packed one: bins that are filled evenly, and hardly wider than the longest sequence.

Wide bins waste little, but attention looks at every pair of places of a bin. So up to half as long again as the longest
is tried, and what takes the fewest places is taken: of rows as they come in chats that leaves half of the padding that
bins of the longest row's own width have, or less.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDEST = 1.5
"""How wide bins may be, over the longest sequence."""
TRIED = 16
"""How many numbers of bins are tried."""


def bins_of(lengths: Sequence[int]) -> list[list[int]]:
    """The sequences of each bin, by their numbers; a function of the lengths alone.

    Args:
        lengths: How long each sequence is.
    """
    longest, total = max(lengths, default=0), sum(lengths)
    if not longest:
        return [[number] for number in range(len(lengths))]
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    fewest = max(1, int(total / (WIDEST * longest)))
    best, places = [[number] for number in order], len(lengths) * longest
    for count in range(fewest, min(fewest + TRIED, len(lengths))):
        bins = _spread(order, lengths, count)
        width = _width(bins, lengths)
        if width <= WIDEST * longest and count * width < places:
            best, places = bins, count * width
    return best


def places_of(lengths: Sequence[int]) -> int:
    """How many places the bins of some sequences have, padding included."""
    bins = bins_of(lengths)
    return len(bins) * _width(bins, lengths)


def _spread(order: Sequence[int], lengths: Sequence[int], count: int) -> list[list[int]]:
    """So many bins, each sequence put into the emptiest."""
    bins: list[list[int]] = [[] for _ in range(count)]
    filled = [(0, place) for place in range(count)]
    for number in order:
        tokens, place = filled[0]
        bins[place].append(number)
        heapq.heapreplace(filled, (tokens + lengths[number], place))
    return bins


def _width(bins: Sequence[Sequence[int]], lengths: Sequence[int]) -> int:
    return max((sum(lengths[number] for number in rows) for rows in bins), default=0)
