"""Room for the rows of a batch. Letters: B batch, T target tokens, X whatever a row holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


def padded(lengths: Sequence[int], row: tuple[int, ...], kind: npt.DTypeLike, fill: float = 0) -> npt.NDArray[Any]:
    """An array `[B, T, *row]` for records of such lengths, T being the greatest of them.

    What is beyond a record's length is filled; the rest is for the caller to write, and nothing is written twice.

    Args:
        lengths: How many rows each record has.
        row: Shape of a row.
        kind: Of the numbers.
        fill: What padding holds: it is never read, but the same batch is always the same bytes.
    """
    import numpy as np

    room: npt.NDArray[Any] = np.empty((len(lengths), max(lengths, default=0), *row), kind)
    for record, length in zip(room, lengths, strict=True):
        record[length:] = fill
    return room
