"""Rows of whole numbers of so many bits each, the highest bit first, each row padded to whole bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def bytes_of(count: int, bits: int) -> int:
    """How many bytes so many numbers take."""
    return (count * bits + 7) // 8


def packed(numbers_PN: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.uint8]:
    """Rows of numbers as rows of bytes."""
    shifts = np.arange(bits - 1, -1, -1)
    bits_PNB = (numbers_PN[..., None] >> shifts) & 1
    return np.packbits(bits_PNB.astype(np.uint8).reshape(len(numbers_PN), -1), axis=1)


def unpacked(bytes_PM: npt.NDArray[np.uint8], count: int, bits: int) -> npt.NDArray[np.int64]:
    """The first `count` numbers of rows of bytes."""
    bits_PB = np.unpackbits(bytes_PM, axis=1, count=count * bits)
    weights = np.left_shift(np.int64(1), np.arange(bits - 1, -1, -1))
    return bits_PB.reshape(len(bytes_PM), count, bits).astype(np.int64) @ weights
