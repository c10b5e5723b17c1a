"""Teacher logits of a batch, out of the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
import torch

from kdkit.cache import record_key
from kdkit.errors import DamagedData, Mismatch
from kdkit.interfaces import BatchCodec
from kdkit.values import DenseTargets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kdkit.cache import LogitCache
    from kdkit.values import EncodedExample, Targets, TokenBatch


@attrs.frozen(kw_only=True, eq=False)
class CachedTargets:
    """Called with a batch, gives its teacher logits from a cache.

    Attributes:
        cache: An open cache.
        keys: Each row's id to its key in the cache.
        device: Where the logits go.
    """

    cache: LogitCache
    keys: dict[str, bytes]
    device: str

    def __call__(self, batch: TokenBatch) -> Targets:
        """The targets as the cache's codec gives them; dense logits `[B, T, V]` of one that decodes record by record.

        Raises:
            DamagedData: A record is not what was written.
        """
        keys = [self.keys[row_id] for row_id in batch.ids]
        coder = self.cache.coder_of(keys)
        if not isinstance(coder, BatchCodec):
            return self._dense(keys)
        records = [self.cache.get(key) for key in keys]
        try:
            return coder.targets(records, vocab_size=self.cache.vocab_size, device=self.device)
        except DamagedData:
            self._dense(keys)  # record by record, whose errors say where
            raise

    def _dense(self, keys: Sequence[bytes]) -> DenseTargets:
        """Dense logits, padded with zeros beyond each row's length."""
        rows = [self.cache.decode(key) for key in keys]
        logits_BTV = np.zeros((len(rows), max(map(len, rows)), self.cache.vocab_size), dtype=np.float32)
        for padded_TV, row_TV in zip(logits_BTV, rows, strict=True):
            padded_TV[: len(row_TV)] = row_TV
        return DenseTargets(
            logits_BTV=torch.from_numpy(logits_BTV).to(self.device),
            lengths_B=torch.tensor([len(row) for row in rows], device=self.device),
        )


def no_targets(batch: TokenBatch) -> None:
    """For losses that need no teacher."""


def keys_of(rows: Iterable[EncodedExample], *, teacher: str, tokenizer: str) -> dict[str, bytes]:
    """Each row's id to its key: what the teacher, by its digest, says of these source and target ids."""
    return {row.id: record_key(teacher, tokenizer, row.source_ids, row.target_ids) for row in rows}


def check_covers(cache: LogitCache, keys: dict[str, bytes]) -> None:
    """Refuse a cache that lacks a row.

    Raises:
        Mismatch: Names the first row that is missing.
    """
    missing = [row_id for row_id, key in keys.items() if key not in cache]
    if missing:
        raise Mismatch(
            f"the logit cache {cache.folder} lacks {len(missing)} of {len(keys)} rows, the first being {missing[0]}; "
            "run with --fresh to capture them"
        )
