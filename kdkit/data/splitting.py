"""Chooses rows by a hash of their ids: a share that is held out, or so many to train on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kdkit.api.values import EncodedExample, Example

    R = TypeVar("R", Example, EncodedExample)


def split_off(rows: Iterable[Example], share: float) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Split a share off some rows; rows that are added later move none of the old ones.

    Args:
        rows: The rows, with unique ids.
        share: How large a part of them, from 0 to 1, is split off; of few rows it may be somewhat more or less.

    Returns:
        The rows that stay and the rows that are split off, each in the order they came in.
    """
    stay: list[Example] = []
    off: list[Example] = []
    for row in rows:
        (off if is_split_off(row.id, share) else stay).append(row)
    return tuple(stay), tuple(off)


def drawn(rows: Sequence[R], count: int) -> Sequence[R]:
    """So many rows, in the order they came in; those of a smaller count are among those of a larger one.

    Args:
        rows: The rows, with unique ids.
        count: How many; 0 for all.
    """
    if not count or count >= len(rows):
        return rows
    chosen = sorted(range(len(rows)), key=lambda place: _digest_of(f"drawn {rows[place].id}"))[:count]
    return tuple(rows[place] for place in sorted(chosen))


def is_split_off(id_: str, share: float) -> bool:
    """Whether the row with that id is among the share that `split_off` splits off."""
    return _place_in_unit(id_) < share


def _place_in_unit(id_: str) -> float:
    """A number in [0, 1) that depends on the id only."""
    return int.from_bytes(_digest_of(id_)[:8], "big") / 2**64


def _digest_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
