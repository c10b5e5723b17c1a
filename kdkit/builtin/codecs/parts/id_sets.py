"""Sets of vocabulary ids, one a token: the greater part of what a sparse codec stores.

Neighbouring tokens keep many ids in common. So the rows of a record are taken 64 at a time, their ids named once, and
of each id it is said in which of the rows it stands. A block of R rows whose union has U ids is

    U as u32
    the union's ids in rising order: a section of U numbers, each the distance to the one before, less 1
    how many rows have each id, less 1: a section of U numbers; left out where R is 1
    which rows these are: of the C(R, c) ways to choose c rows, the number of this one, in ceil(log2 C(R, c)) bits

An id that stands in rows t_1 < t_2 < ... < t_c has the number C(t_1, 1) + C(t_2, 2) + ... + C(t_c, c), counted within
the block (the combinatorial number system). 64 rows keep these numbers below 2**61.

Letters: N entries of all rows, T target tokens, V vocabulary, R rows of a block, U ids of a block.
"""

from __future__ import annotations

import math
import struct
from functools import cache
from typing import TYPE_CHECKING

import attrs

from kdkit.builtin.codecs.parts.integers import SECTION_BYTES, write_fields, write_integers
from kdkit.errors import DamagedData

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kdkit.builtin.codecs.parts.integers import Integers, Reader

ROWS_OF_A_BLOCK = 64
# The size of a union, two sections, and less than a byte of padding after the numbers of the ways.
BLOCK_BYTES = 4 + 2 * SECTION_BYTES + 1


@attrs.frozen(kw_only=True, eq=False)
class IdSets:
    """Ids of rows, in the order of rows, and within a row in rising order; none twice in a row.

    Attributes:
        rows_N: The row of each.
        ids_N: The id.
    """

    rows_N: Integers
    ids_N: Integers


def write_sets(sets: IdSets, tokens: int) -> bytes:
    """The sets of a record as bytes."""
    return b"".join(_write_block(sets, first, min(ROWS_OF_A_BLOCK, tokens - first)) for first in _blocks(tokens))


def read_sets(reader: Reader, *, tokens: int, vocab_size: int) -> IdSets:
    """The sets of a record.

    Raises:
        DamagedData: They are not what `write_sets` writes for such a record.
    """
    import numpy as np

    blocks = [_read_block(reader, first, min(ROWS_OF_A_BLOCK, tokens - first), vocab_size) for first in _blocks(tokens)]
    none = np.empty(0, np.int64)
    return IdSets(
        rows_N=np.concatenate([none, *(block.rows_N for block in blocks)]),
        ids_N=np.concatenate([none, *(block.ids_N for block in blocks)]),
    )


def bits_of_a_set(size: int, vocab_size: int) -> float:
    """How many bits a set of so many ids takes at most, `BLOCK_BYTES` aside.

    Let u be the share of the entries that are a union's first naming of an id. Naming takes log2(V / U) + 3 bits (Rice
    with b = floor(log2(V / U))), saying how many rows have it as many bits as there are entries (Rice with b = 0), and
    saying which at most log2(e U / size) bits an entry and one more an id. The sum is greatest where no id is shared.
    """
    return size * (math.log2(vocab_size / size) + math.log2(math.e) + 5)


def _blocks(tokens: int) -> range:
    return range(0, tokens, ROWS_OF_A_BLOCK)


def _write_block(sets: IdSets, first: int, rows: int) -> bytes:
    import numpy as np

    start, end = np.searchsorted(sets.rows_N, [first, first + rows])
    union_U, place_N, count_U = np.unique(sets.ids_N[start:end], return_inverse=True, return_counts=True)
    member_UR = np.zeros((len(union_U), rows), bool)
    member_UR[place_N, sets.rows_N[start:end] - first] = True
    way_U = (_ways()[np.arange(rows), member_UR.cumsum(axis=1)] * member_UR).sum(axis=1)
    gap_U = np.diff(union_U, prepend=-1) - 1
    counts = write_integers(count_U - 1) if rows > 1 else b""
    return b"".join(
        (struct.pack("<I", len(union_U)), write_integers(gap_U), counts, write_fields(way_U, _widths()[rows, count_U]))
    )


def _read_block(reader: Reader, first: int, rows: int, vocab_size: int) -> IdSets:
    import numpy as np

    size = struct.unpack("<I", reader.take(4))[0]
    if not 1 <= size <= vocab_size:
        raise DamagedData(f"{rows} rows claim {size} of {vocab_size} vocabulary entries")
    union_U = np.cumsum(reader.integers(size, most=vocab_size - 1) + 1) - 1
    if union_U[-1] >= vocab_size:
        raise DamagedData(f"the id {union_U[-1]} is beyond a vocabulary of {vocab_size}")
    left_U = reader.integers(size, most=rows - 1) + 1 if rows > 1 else np.ones(size, np.int64)
    way_U = reader.fields(_widths()[rows, left_U])
    if (way_U >= _ways()[rows, left_U]).any():
        raise DamagedData("the number of a choice of rows is not valid")
    member_RU = np.zeros((rows, size), bool)
    single_U = left_U == 1  # of most ids; the number of a choice of one row is the row
    member_RU[way_U[single_U], np.flatnonzero(single_U)] = True
    several = np.flatnonzero(~single_U)
    member_RU[:, several] = _rows_of_ways(way_U[several], left_U[several], rows)
    rows_N, place_N = np.divmod(np.flatnonzero(member_RU), size)
    return IdSets(rows_N=rows_N + first, ids_N=union_U[place_N])


def _rows_of_ways(way_U: Integers, left_U: Integers, rows: int) -> npt.NDArray[np.bool_]:
    """Which rows each id has, bool `[R, U]`, from the number of its choice and how many there are; both are used up."""
    import numpy as np

    member_RU = np.empty((rows, len(way_U)), bool)
    for row in range(rows - 1, -1, -1):
        # With the last of the rows that are left in it, a choice comes after all those without.
        without_U = _ways()[row].take(left_U)
        np.greater_equal(way_U, without_U, out=member_RU[row])
        way_U -= without_U * member_RU[row]
        left_U -= member_RU[row]
    return member_RU


@cache
def _ways() -> Integers:
    """C(n, c) for n and c of 0 to 64."""
    import numpy as np

    sizes = range(ROWS_OF_A_BLOCK + 1)
    return np.array([[math.comb(n, c) for c in sizes] for n in sizes], np.int64)


@cache
def _widths() -> Integers:
    """ceil(log2 C(n, c)), for the same; 0 where there is no way or one."""
    import numpy as np

    return np.array([[max(int(ways) - 1, 0).bit_length() for ways in row] for row in _ways()], np.int64)
