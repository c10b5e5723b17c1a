"""Columns: what many rows hold, flat in one array, and where each row's part of it begins.

Letters: N rows, M = N + 1 offsets, X values of all rows together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    Places: TypeAlias = npt.NDArray[np.int64]
    Keys: TypeAlias = npt.NDArray[np.uint8]


@attrs.frozen(eq=False)
class Ragged:
    """A column whose rows differ in length: texts as UTF-8 bytes, or token ids.

    Attributes:
        values_X: What the rows hold, one after the other; in memory, or mapped from a file.
        offsets_M: Where each row begins, and last where the last ends; int64.
    """

    values_X: npt.NDArray[Any]
    offsets_M: Places

    @classmethod
    def of_lists(cls, rows: Iterable[Sequence[int]], dtype: Any) -> Ragged:
        """A column of lists of numbers."""
        arrays = [np.asarray(row, dtype) for row in rows]
        return cls(np.concatenate([np.empty(0, dtype), *arrays]), offsets_of([len(each) for each in arrays]))

    @classmethod
    def of_texts(cls, texts: Iterable[str]) -> Ragged:
        """A column of texts."""
        raw = [text.encode() for text in texts]
        return cls(np.frombuffer(b"".join(raw), np.uint8), offsets_of(list(map(len, raw))))

    @classmethod
    def joined(cls, parts: Sequence[Ragged]) -> Ragged:
        """The rows of several columns, one after the other; of one column, that."""
        if len(parts) == 1:
            return parts[0]
        lengths = np.concatenate([np.diff(part.offsets_M) for part in parts])
        return cls(np.concatenate([part.flat for part in parts]), offsets_of(lengths))

    def __len__(self) -> int:
        """How many rows there are, N."""
        return len(self.offsets_M) - 1

    def __getitem__(self, row: Any) -> npt.NDArray[Any]:
        """What a row holds, where it lies: nothing is copied."""
        return self.values_X[self.offsets_M[row] : self.offsets_M[row + 1]]

    def text(self, row: Any) -> str:
        """A row of texts as a text."""
        text: str = self[row].tobytes().decode()
        return text

    def lengths(self, rows_N: Places) -> Places:
        """How much some rows hold: numbers, or bytes of a text."""
        return self.offsets_M[rows_N + 1] - self.offsets_M[rows_N]

    def taken(self, rows_N: Places) -> Ragged:
        """The column of some rows; copied unless they stand one after the other."""
        if len(rows_N) and (np.diff(rows_N) == 1).all():
            return Ragged(self.values_X, self.offsets_M[rows_N[0] : rows_N[-1] + 2])
        starts = range(0, len(rows_N), _BLOCK)
        values = [self._values(rows_N[start : start + _BLOCK]) for start in starts]
        return Ragged(np.concatenate([self.values_X[:0], *values]), offsets_of(self.lengths(rows_N)))

    def _values(self, rows_N: Places) -> npt.NDArray[Any]:
        lengths_N = self.lengths(rows_N)
        offsets_M = offsets_of(lengths_N)
        inside_X = np.arange(offsets_M[-1]) - np.repeat(offsets_M[:-1], lengths_N)
        found_X: npt.NDArray[Any] = self.values_X[np.repeat(self.offsets_M[rows_N], lengths_N) + inside_X]
        return found_X

    @property
    def flat(self) -> npt.NDArray[Any]:
        """What all rows hold."""
        return self.values_X[self.offsets_M[0] : self.offsets_M[-1]]

    def count(self, value: int | None, rows_N: Places) -> int:
        """How many of the numbers of some rows are that one."""
        blocks = range(0, len(rows_N), _BLOCK) if value is not None else ()
        return sum(int(np.count_nonzero(self.taken(rows_N[at : at + _BLOCK]).flat == value)) for at in blocks)

    def words(self, rows_N: Places, number: int) -> npt.NDArray[np.uint64]:
        """Of texts, eight bytes from the `number`-th eight on, as numbers that sort as the bytes do; 0 beyond the end.

        Made in blocks, so that it takes little more memory than what it gives.
        """
        found_N = np.zeros(len(rows_N), np.uint64)
        for begin in range(0, len(rows_N), _BLOCK):
            block_N = rows_N[begin : begin + _BLOCK]
            starts_N = self.offsets_M[block_N] + 8 * number
            left_N = self.offsets_M[block_N + 1] - starts_N
            word_N = np.zeros(len(block_N), np.uint64)
            for byte in range(8):
                has_N = left_N > byte
                if has_N.any():
                    word_N[has_N] |= self.values_X[starts_N[has_N] + byte].astype(np.uint64) << np.uint64(
                        8 * (7 - byte)
                    )
            found_N[begin : begin + _BLOCK] = word_N
        return found_N


_BLOCK = 1 << 13
"""Rows at a time, where something larger than a column would be made."""


def offsets_of(lengths: Sequence[int] | npt.NDArray[Any]) -> Places:
    """Offsets of rows that are so long."""
    offsets_M = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(np.asarray(lengths, np.int64), out=offsets_M[1:])
    return offsets_M


def order_of_texts(column: Ragged, rows_N: Places) -> Places:
    """In which order some rows have to be taken for their texts to be sorted, by code points as Python sorts them.

    Sorted eight bytes at a time, the last first: UTF-8 sorts as code points do. Lengths go first, since the zeros
    that fill up a text may also stand in one.
    """
    lengths_N = column.lengths(rows_N)
    order_N = np.argsort(lengths_N, kind="stable")
    for number in reversed(range(-(-int(lengths_N.max(initial=0)) // 8))):
        word_N = column.words(rows_N, number)
        order_N = order_N[np.argsort(word_N[order_N], kind="stable")]
    return order_N
