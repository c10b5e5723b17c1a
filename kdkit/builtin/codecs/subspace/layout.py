"""The layout of a record's numbers for the coder: the ladder of scales, and which table codes which number.

Letters: T rows, R columns, N numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    IntArray: TypeAlias = npt.NDArray[np.int64]
    ScaleArray: TypeAlias = npt.NDArray[np.uint8]

STEPS_PER_OCTAVE = 4
# The ladder: place i is the standard deviation 2**(LOWEST + i / 4). Below its foot nearly every number is 0.
LOWEST = -3
TABLES = 29
MOST_LOW_BITS = 24
PLACES = TABLES + STEPS_PER_OCTAVE * MOST_LOW_BITS
CLASSES = 128
NEUTRAL_CLASS = CLASSES // 2


@attrs.frozen(kw_only=True, eq=False)
class Layout:
    """Which table and how many low bits each number of a record has, and in which order they are coded.

    Attributes:
        tables_N: The table of each number, row after row.
        bits_N: Its low bits.
        by_table_N: The numbers in the order of their tables, and of their rows and columns within each.
    """

    tables_N: npt.NDArray[np.uint8]
    bits_N: npt.NDArray[np.uint8]
    by_table_N: npt.NDArray[np.intp]

    @classmethod
    def of(cls, scales_R: ScaleArray, classes_T: npt.NDArray[np.integer[Any]]) -> Layout:
        """The layout of rows of such classes, with columns of such scales."""
        import numpy as np

        places_T1 = (classes_T.astype(np.int16) - NEUTRAL_CLASS)[:, None]
        places_TR = np.clip(scales_R.astype(np.int16)[None, :] + places_T1, 0, PLACES - 1)
        bits_TR = np.maximum(places_TR - (TABLES - STEPS_PER_OCTAVE), 0) // STEPS_PER_OCTAVE
        tables_N = (places_TR - STEPS_PER_OCTAVE * bits_TR).astype(np.uint8).ravel()
        return cls(
            tables_N=tables_N,
            bits_N=bits_TR.astype(np.uint8).ravel(),
            by_table_N=np.argsort(tables_N, kind="stable"),
        )

    def table_groups(self) -> list[tuple[int, npt.NDArray[np.intp]]]:
        """For each table in use, by its number: the numbers that it codes."""
        import numpy as np

        ends = np.cumsum(np.bincount(self.tables_N))
        return [(table, part) for table, part in enumerate(np.split(self.by_table_N, ends[:-1])) if len(part)]

    def low_groups(self) -> list[tuple[int, npt.NDArray[np.intp]]]:
        """For each count of low bits but 0, rising: the numbers that have so many."""
        import numpy as np

        groups = ((bits, np.flatnonzero(self.bits_N == bits)) for bits in range(1, int(self.bits_N.max(initial=0)) + 1))
        return [(bits, chosen) for bits, chosen in groups if len(chosen)]

    def split(self, numbers_TR: IntArray) -> tuple[IntArray, IntArray]:
        """High parts and low bits; the low bits are centred, so that a high part of 0 is about the mean."""
        raised_N = numbers_TR.ravel() + self._halves
        return raised_N >> self.bits_N, raised_N & ((1 << self.bits_N.astype("int64")) - 1)

    def join(self, highs_N: IntArray, lows_N: IntArray) -> IntArray:
        """The numbers of such parts."""
        return (highs_N << self.bits_N) + lows_N - self._halves

    @property
    def _halves(self) -> IntArray:
        halves_N: IntArray = (1 << self.bits_N.astype("int64")) >> 1
        return halves_N


def sigma_of(scales: ScaleArray) -> npt.NDArray[np.float64]:
    """The standard deviation at each place of the ladder."""
    sigmas: npt.NDArray[np.float64] = 2.0 ** (LOWEST + scales.astype("float64") / STEPS_PER_OCTAVE)
    return sigmas


def scales_of(sigmas: npt.NDArray[np.float64]) -> ScaleArray:
    """The nearest place on the ladder of each standard deviation."""
    import numpy as np

    octaves = np.log2(np.maximum(sigmas, 2.0**-99)) - LOWEST
    scales: ScaleArray = np.clip(np.rint(STEPS_PER_OCTAVE * octaves), 0, PLACES - 1).astype(np.uint8)
    return scales
