"""Parts that the sparse codecs share: the head of a payload, its rows, and the targets of a batch.

Letters: B batch, T target tokens, V vocabulary, K entries kept, N entries of all rows.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import attrs

from kdkit.api.values import SparseTargets
from kdkit.builtin.codecs.parts.padding import padded
from kdkit.errors import DamagedData

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.values import FloatArray
    from kdkit.builtin.codecs.parts.id_sets import IdSets
    from kdkit.builtin.codecs.parts.integers import Integers, Reader

HEAD_BYTES = 8


@attrs.frozen(kw_only=True, eq=False)
class SparseRows:
    """The kept entries of a record.

    Attributes:
        ids_TK: int64; -1 where a row keeps fewer than K.
        values_TK: float32, as in `SparseTargets`; -inf where there is no entry.
        log_tail_T: By temperature, as in `SparseTargets`.
    """

    ids_TK: Integers
    values_TK: FloatArray
    log_tail_T: Mapping[float, FloatArray]


def head(tokens: int, vocab_size: int) -> bytes:
    """The shape of the logits: without it a payload might fit another."""
    return struct.pack("<II", tokens, vocab_size)


def check_head(reader: Reader, tokens: int, vocab_size: int) -> None:
    """Read the head.

    Raises:
        DamagedData: The logits have another shape.
    """
    found = struct.unpack("<II", reader.take(HEAD_BYTES))
    if found != (tokens, vocab_size):
        raise DamagedData(f"logits of shape {found} found, {(tokens, vocab_size)} expected")


def sizes_of_rows(sets: IdSets, tokens: int) -> Integers:
    """How many entries each row keeps."""
    import numpy as np

    return np.bincount(sets.rows_N, minlength=tokens)


def targets_of(rows: Sequence[SparseRows], *, vocab_size: int, device: str) -> SparseTargets:
    """The records of a batch, padded to the longest and widest of them."""
    import numpy as np
    import torch

    temperatures = tuple(rows[0].log_tail_T) if rows else ()
    lengths = [len(each.ids_TK) for each in rows]
    widest = max((each.ids_TK.shape[1] for each in rows), default=0)
    ids_BTK = padded(lengths, (widest,), np.int32, fill=-1)
    values_BTK = padded(lengths, (widest,), np.float32, fill=-np.inf)
    log_tail_BT = {temperature: padded(lengths, (), np.float32, fill=-np.inf) for temperature in temperatures}
    for index, (each, length) in enumerate(zip(rows, lengths, strict=True)):
        kept = each.ids_TK.shape[1]
        ids_BTK[index, :length, :kept], ids_BTK[index, :length, kept:] = each.ids_TK, -1
        values_BTK[index, :length, :kept], values_BTK[index, :length, kept:] = each.values_TK, -np.inf
        for temperature in temperatures:
            log_tail_BT[temperature][index, :length] = each.log_tail_T[temperature]
    return SparseTargets(
        ids_BTK=torch.from_numpy(ids_BTK).to(device),
        values_BTK=torch.from_numpy(values_BTK).to(device),
        log_tail_BT={each: torch.from_numpy(tail_BT).to(device) for each, tail_BT in log_tail_BT.items()},
        vocab_size=vocab_size,
        lengths_B=torch.tensor(lengths, dtype=torch.int64),
    )
