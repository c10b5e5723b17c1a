"""Which sequence of another tool's log-probabilities a row is, by token ids.

A decoder-only model's distribution of the token at a position depends on the ids before it and on nothing else. So a
sequence has it for a row if these are equal, whatever comes after.

Letters in names of arrays: S ids of a sequence, R rows.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.data.encoded_rows import EncodedRows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kdkit.api.values import EncodedExample
    from kdkit.data.guests.guest import Guest, IdArray, Positions

_ID = np.dtype("<i4")


@attrs.frozen(kw_only=True)
class Nearest:
    """The sequence that agrees with a row for the most ids.

    Attributes:
        number: The sequence, counted from 1; 0 where there is none.
        position: The first position at which they differ, or at which the sequence ends.
        own: The row's id there; None where the row ends.
        other: The sequence's id there; None where it ends.
    """

    number: int
    position: int
    own: int | None
    other: int | None

    def __str__(self) -> str:
        if not self.number:
            return "there is no sequence at all"
        other = "ends there" if self.other is None else f"has {self.other}"
        return (
            f"at position {self.position} the row has the id {self.own}, and the nearest sequence "
            f"(number {self.number}) {other}"
        )


@attrs.frozen(kw_only=True, eq=False)
class Binding:
    """For each row a sequence that begins as it does.

    Attributes:
        number_R: The sequence's number; -1 for none.
    """

    number_R: IdArray

    @classmethod
    def of(cls, guest: Guest, rows: Sequence[EncodedExample], *, partly: bool) -> Binding:
        """Find the sequence of each row.

        Args:
            guest: The log-probabilities.
            rows: The rows.
            partly: Whether a sequence that ends within a row will do, where no other is there.
        """
        rows = EncodedRows.of(rows)
        number_R, length_R = np.full(len(rows), -1), np.zeros(len(rows), np.int64)
        read_R = rows.source_lengths
        size_R = read_R + rows.target_lengths
        # All ids but the last, of which no distribution depends.
        wanted, sizes = _digests((row, _joined(each)[:-1]) for row, each in enumerate(rows))
        lengths: set[int] = set()
        for number, ids_S in enumerate(guest.sequences()):
            lengths.add(len(ids_S))
            for digest in _prefixes(ids_S, sizes):
                for row in wanted.get(digest, ()):
                    if length_R[row] < len(ids_S) and (number_R[row] < 0 or length_R[row] < size_R[row]):
                        number_R[row], length_R[row] = number, len(ids_S)
        left = np.flatnonzero(number_R < 0).tolist()
        if partly and left:
            beginnings, sizes = _digests(
                (row, _joined(rows[row])[:size])
                for row in left
                for size in lengths
                if read_R[row] <= size < size_R[row] - 1
            )
            for number, ids_S in enumerate(guest.sequences()):
                for row in beginnings.get(_digest(ids_S), ()) if len(ids_S) in sizes else ():
                    if len(ids_S) > length_R[row]:
                        number_R[row], length_R[row] = number, len(ids_S)
        return cls(number_R=number_R)

    def by_sequence(self) -> dict[int, list[int]]:
        """The rows of each sequence."""
        found: dict[int, list[int]] = {}
        for row, number in enumerate(self.number_R.tolist()):
            if number >= 0:
                found.setdefault(number, []).append(row)
        return found


def nearest(guest: Guest, row: EncodedExample) -> Nearest:
    """The sequence that agrees with a row for the most ids."""
    ids_S, best = _joined(row), Nearest(number=0, position=0, own=None, other=None)
    for number, theirs_S in enumerate(guest.sequences(), 1):
        position = _common(ids_S, theirs_S)
        if position > best.position or not best.number:
            own = int(ids_S[position]) if position < len(ids_S) else None
            other = int(theirs_S[position]) if position < len(theirs_S) else None
            best = Nearest(number=number, position=position, own=own, other=other)
    return best


def covered(row: EncodedExample, positions: Positions) -> slice:
    """The rows of a sequence's log-probabilities that are about a row's labels, up to the first gap."""
    begin = len(row.source_ids) - positions.first
    most = min(len(row.target_ids), _common(_joined(row), positions.ids_S) + 1 - len(row.source_ids))
    most = min(most, len(positions.logp_PK) - begin)
    if begin < 0 or most <= 0:
        return slice(0, 0)
    if positions.ids_PK is not None:
        there_T = (positions.logp_PK[begin : begin + most] > -np.inf).any(axis=1)
        most = most if there_T.all() else int(there_T.argmin())
    return slice(begin, begin + most)


def _common(ones_S: IdArray, others_S: IdArray) -> int:
    """How many ids two sequences have in common from their beginning."""
    size = min(len(ones_S), len(others_S))
    differ_S = ones_S[:size] != others_S[:size]
    return int(differ_S.argmax()) if differ_S.any() else size


def _joined(row: EncodedExample) -> IdArray:
    return np.array([*row.source_ids, *row.target_ids], np.int64)


def _digest(ids_S: IdArray) -> bytes:
    return hashlib.blake2b(ids_S.astype(_ID).tobytes(), digest_size=16).digest()


def _digests(beginnings: Iterable[tuple[int, IdArray]]) -> tuple[dict[bytes, list[int]], list[int]]:
    """The rows of each digest, and the sizes of what was digested."""
    found: dict[bytes, list[int]] = {}
    sizes = set()
    for row, ids_S in beginnings:
        found.setdefault(_digest(ids_S), []).append(row)
        sizes.add(len(ids_S))
    return found, sorted(sizes)


def _prefixes(ids_S: IdArray, sizes: Sequence[int]) -> Iterator[bytes]:
    """The digest of a sequence's first ids, for each size that it has."""
    raw, digest, done = ids_S.astype(_ID).tobytes(), hashlib.blake2b(digest_size=16), 0
    for size in sizes:
        if size > len(ids_S):
            return
        digest.update(raw[4 * done : 4 * size])
        done = size
        yield digest.copy().digest()
