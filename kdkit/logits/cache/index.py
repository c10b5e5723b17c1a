"""Finds the place of a record by its key, in a time that hardly grows with the cache.

Arrays carry their shape: N records, M = N + 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.logits.cache.identity import KEY_BYTES

if TYPE_CHECKING:
    import numpy.typing as npt

    from kdkit.logits.cache.format import Shard


@attrs.frozen(kw_only=True, eq=False)
class Index:
    """Where every record lies. Keys are two unsigned integers, sorted by the first, then by the second."""

    keys_N16: npt.NDArray[np.uint8]
    high_N: npt.NDArray[np.uint64]
    low_N: npt.NDArray[np.uint64]
    order_N: npt.NDArray[np.int64]
    shard_N: npt.NDArray[np.int32]
    first_N: npt.NDArray[np.int64]
    start_N: npt.NDArray[np.int64]
    length_N: npt.NDArray[np.int64]
    crc32_N: npt.NDArray[np.uint32]
    tokens_N: npt.NDArray[np.int32]

    @classmethod
    def of(cls, shards: list[Shard]) -> Index:
        """The index of all shards together."""
        counts = [shard.records for shard in shards]
        keys_N16 = np.concatenate([np.empty((0, KEY_BYTES), np.uint8), *(shard.keys_N16 for shard in shards)])
        halves_N2 = keys_N16.view(">u8").astype(np.uint64)
        order_N = _sorted(halves_N2)
        starts = (shard.offsets_M[:-1] + shard.payload_start for shard in shards)
        return cls(
            keys_N16=keys_N16,
            high_N=halves_N2[order_N, 0],
            low_N=halves_N2[order_N, 1],
            order_N=order_N,
            shard_N=np.repeat(np.arange(len(shards), dtype=np.int32), counts),
            first_N=np.repeat(np.cumsum([0, *counts])[:-1], counts),
            start_N=np.concatenate([np.empty(0, np.int64), *starts]),
            length_N=np.concatenate([np.empty(0, np.int64), *(np.diff(shard.offsets_M) for shard in shards)]),
            crc32_N=np.concatenate([np.empty(0, np.uint32), *(shard.crc32_N for shard in shards)]),
            tokens_N=np.concatenate([np.empty(0, np.int32), *(shard.tokens_N for shard in shards)]),
        )

    def find(self, key: bytes) -> int | None:
        """Number of the record with that key."""
        high, low = np.frombuffer(key, ">u8").astype(np.uint64)
        place = int(self.high_N.searchsorted(high))
        if place == len(self.high_N) or self.high_N[place] != high:
            return None
        if self.low_N[place] != low:  # half a digest is seldom shared
            end = int(self.high_N.searchsorted(high, "right"))
            place += int(self.low_N[place:end].searchsorted(low))
            if place == end or self.low_N[place] != low:
                return None
        return int(self.order_N[place])

    def find_all(self, keys_RK: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Numbers of the records with these keys; -1 where there is none."""
        halves_R2 = np.ascontiguousarray(keys_RK).view(">u8").astype(np.uint64)
        if not len(self.high_N) or not len(halves_R2):
            return np.full(len(halves_R2), -1)
        place_R = np.minimum(self.high_N.searchsorted(halves_R2[:, 0]), len(self.high_N) - 1)
        found_R = np.where(self.high_N[place_R] == halves_R2[:, 0], self.order_N[place_R], -1)
        for row in np.flatnonzero((found_R >= 0) & (self.low_N[place_R] != halves_R2[:, 1])):
            number = self.find(keys_RK[row].tobytes())  # half a digest is seldom shared
            found_R[row] = -1 if number is None else number
        return found_R

    def repeated(self) -> bool:
        """Whether a key stands twice."""
        same_N = (self.high_N[1:] == self.high_N[:-1]) & (self.low_N[1:] == self.low_N[:-1])
        return bool(same_N.any())


def _sorted(halves_N2: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The order of keys; sorting by the first halves is several times quicker, and mostly says it all."""
    order_N = np.argsort(halves_N2[:, 0])
    high_N = halves_N2[order_N, 0]
    if (high_N[1:] == high_N[:-1]).any():
        return np.lexsort((halves_N2[:, 1], halves_N2[:, 0]))
    return order_N
