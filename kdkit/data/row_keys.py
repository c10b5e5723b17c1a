"""The keys of rows in a cache, as one array behind a mapping.

Letters: N rows in some order, R rows, K bytes of a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.data.encoded_rows import EncodedRows

if TYPE_CHECKING:
    import numpy.typing as npt

    from kdkit.api.values import EncodedExample
    from kdkit.data.columns import Keys, Places


@attrs.frozen(kw_only=True, eq=False)
class RowKeys(Mapping[str, bytes]):
    """Each row's id to its key in a cache.

    Attributes:
        rows: The rows.
        keys_RK: Their keys, K bytes each.
    """

    rows: EncodedRows
    keys_RK: Keys

    @classmethod
    def of(cls, rows: Sequence[EncodedExample], keys: Mapping[str, bytes]) -> RowKeys:
        """The keys of some rows, by their ids, as an array, unless they are one already."""
        if isinstance(keys, cls) and keys.rows is rows:
            return keys
        rows = EncodedRows.of(rows)
        return cls.of_bytes(rows, [keys[id_] for id_ in rows.each_id()])

    @classmethod
    def of_bytes(cls, rows: EncodedRows, keys: Iterable[bytes]) -> RowKeys:
        """The keys of some rows, in their order, all of one length."""
        joined = bytearray()
        for key in keys:  # `join` would hold each of them as an object first
            joined += key
        flat = np.frombuffer(joined, np.uint8)
        return cls(rows=rows, keys_RK=flat.reshape(len(rows), -1) if len(rows) else flat.reshape(0, 1))

    def __getitem__(self, id_: str) -> bytes:
        """The key of the row with that id."""
        index = self.rows.by_id.find(id_)
        if index is None:
            raise KeyError(id_)
        return self.at(index)

    def __iter__(self) -> Iterator[str]:
        """The rows' ids, in their order."""
        return self.rows.each_id()

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    def at(self, index: int) -> bytes:
        """The key of a row by its index."""
        key: bytes = self.keys_RK[index].tobytes()
        return key

    @property
    def different(self) -> int:
        """How many different keys there are."""
        return int(self.first_of(np.arange(len(self.rows))).sum())

    @property
    def order(self) -> Places:
        """The indices of the rows, sorted by their keys; rows of one key stay in their order."""
        return _order_of(self.keys_RK)

    def alike(self, chosen_R: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Of all rows, which have the key of a chosen one."""
        if chosen_R.all():
            return chosen_R
        order_R = _order_of(self.keys_RK)
        keys_RK = self.keys_RK[order_R]
        group_R = np.cumsum(np.concatenate([[False], (keys_RK[1:] != keys_RK[:-1]).any(axis=1)])[: len(order_R)])
        has = np.zeros(len(order_R), np.bool_)
        has[group_R[chosen_R[order_R]]] = True
        found_R = np.zeros(len(order_R), np.bool_)
        found_R[order_R] = has[group_R]
        return found_R

    def first_of(self, order_N: Places) -> npt.NDArray[np.bool_]:
        """Of all rows, which have a key that no row before them has, in an order of rows by their indices."""
        sorted_N = _order_of(self.keys_RK[order_N])
        keys_NK = self.keys_RK[order_N[sorted_N]]
        first_R = np.zeros(len(self.rows), np.bool_)
        first_R[order_N[sorted_N]] = np.concatenate([[True], (keys_NK[1:] != keys_NK[:-1]).any(axis=1)])[: len(order_N)]
        return first_R


def _order_of(keys_RK: Keys) -> Places:
    """The order of keys, those that are alike in the order in which they stand."""
    order_R = np.arange(len(keys_RK))
    for column in reversed(range(keys_RK.shape[1])):  # by one byte at a time NumPy sorts in linear time
        order_R = order_R[np.argsort(keys_RK[order_R, column], kind="stable")]
    return order_R
