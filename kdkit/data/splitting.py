"""A held-out share of rows, chosen by a hash of their ids: rows that are added later move none of the old ones."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kdkit.api.values import Example


def split_off(rows: Iterable[Example], share: float) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Split a share off some rows.

    Args:
        rows: The rows, with unique ids.
        share: How large a part of them, from 0 to 1, is split off; of few rows it may be somewhat more or less.

    Returns:
        The rows that stay and the rows that are split off, each in the order they came in.
    """
    stay: list[Example] = []
    off: list[Example] = []
    for row in rows:
        (off if _place_in_unit(row.id) < share else stay).append(row)
    return tuple(stay), tuple(off)


def _place_in_unit(id_: str) -> float:
    """A number in [0, 1) that depends on the id only."""
    return int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8], "big") / 2**64
