"""The teacher's logits for a batch, read from the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
import numpy as np
import torch

from kdkit.api.interfaces import BatchCodec
from kdkit.api.values import DenseTargets, TokenCounts
from kdkit.data.encoded_rows import EncodedRows
from kdkit.data.row_keys import RowKeys
from kdkit.errors import DamagedData, Mismatch
from kdkit.logits.cache.identity import RecordKey
from kdkit.logits.join_targets import Joiner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.values import EncodedExample, Targets, TokenBatch
    from kdkit.logits.cache import LogitCache


class TargetSource(Protocol):
    """The source of the teacher's distributions in a training."""

    def __call__(self, batch: TokenBatch) -> Targets | None:
        """The teacher's targets for a batch, on its device; None without a teacher. Any thread may call it."""
        ...

    def count(self, row: EncodedExample) -> int:
        """For how many of a row's labels the teacher has a target; known without reading one."""
        ...

    def digest(self, rows: Sequence[EncodedExample]) -> str:
        """Of the targets of some rows: two that are alike give the same; known without reading one."""
        ...


@attrs.frozen
class NoTargets:
    """No targets, for losses that need no teacher."""

    def __call__(self, batch: TokenBatch) -> None:
        """None."""

    def count(self, row: EncodedExample) -> int:  # noqa: ARG002 - whatever the row
        """None of them."""
        return 0

    def digest(self, rows: Sequence[EncodedExample]) -> str:  # noqa: ARG002 - whatever the rows
        """That of nothing."""
        return ""


@attrs.frozen(kw_only=True, eq=False)
class CachedTargets:
    """Called with a batch, gives its teacher logits from a cache.

    Attributes:
        cache: An open cache.
        keys: Each row's id to its key in the cache.
        device: Where the logits go.
    """

    cache: LogitCache
    keys: Mapping[str, bytes]
    device: str
    _join: Joiner = attrs.field(factory=Joiner, init=False)

    def __call__(self, batch: TokenBatch) -> Targets:
        """The targets as the cache's codec gives them; of one that decodes record by record, its logits.

        Raises:
            DamagedData: A record is not what was written.
        """
        keys = [self.keys[row_id] for row_id in batch.ids]
        try:
            return self._decoded(keys)
        except DamagedData:
            for key in keys:  # errors of one record say where it is
                self.cache.decode(key)
            raise

    def count(self, row: EncodedExample) -> int:
        """As many as the record has tokens; recorded logits may be shorter than the row."""
        return min(self.cache.tokens(self.keys[row.id]), len(row.target_ids))

    def digest(self, rows: Sequence[EncodedExample]) -> str:
        """That of their records."""
        return self.cache.digest_of_records(self.keys[row.id] for row in rows)

    def _decoded(self, keys: Sequence[bytes]) -> Targets:
        coders = self.cache.coders(keys)
        groups: dict[int, list[int]] = {}
        for place, coder in enumerate(coders):
            groups.setdefault(id(coder), []).append(place)
        parts: list[tuple[list[int], Targets]] = []
        for places in groups.values():
            coder = coders[places[0]]
            if not isinstance(coder, BatchCodec):
                return self._dense(keys)
            records = [self.cache.get(keys[place]) for place in places]
            parts.append((places, coder.targets(records, vocab_size=self.cache.vocab_size, device=self.device)))
        joined = self._join(parts)
        return joined if joined is not None else self._dense(keys)

    def _dense(self, keys: Sequence[bytes]) -> DenseTargets:
        """Logits in float32, as `decode` gives them; zeros beyond each row's length."""
        lengths = [self.cache.tokens(key) for key in keys]
        logits_BTV = np.empty((len(keys), max(lengths, default=0), self.cache.vocab_size), dtype=np.float32)
        for padded_TV, key, length in zip(logits_BTV, keys, lengths, strict=True):
            padded_TV[:length], padded_TV[length:] = self.cache.decode(key), 0
        return DenseTargets(
            logits_BTV=torch.from_numpy(logits_BTV).to(self.device), lengths_B=torch.tensor(lengths, dtype=torch.int64)
        )


def counts_of(rows: Sequence[EncodedExample], targets: TargetSource) -> TokenCounts:
    """Over how many tokens the terms of a loss of these rows are averaged."""
    rows = EncodedRows.of(rows)
    hard = int(rows.target_lengths.sum())
    return TokenCounts(hard=hard, soft=0 if isinstance(targets, NoTargets) else sum(map(targets.count, rows)))


def keys_of(rows: Sequence[EncodedExample], *, teacher: str, tokenizer: str) -> RowKeys:
    """Each row's id to its key: what the teacher, by its digest, says of these source and target ids."""
    rows = EncodedRows.of(rows)
    key = RecordKey(teacher, tokenizer)
    sides = (rows.sources, rows.targets)
    return RowKeys.of_bytes(rows, (key.of(*(side[place] for side in sides)) for place in rows.places_R))


def check_covers(cache: LogitCache, keys: RowKeys) -> None:
    """Refuse a cache that lacks a row.

    Raises:
        Mismatch: Names the first row that is missing.
    """
    lacking = np.flatnonzero(~cache.holds(keys.keys_RK))
    if len(lacking):
        raise Mismatch(
            f"the logit cache {cache.folder} lacks {len(lacking)} of {len(keys)} rows, such as "
            f"{keys.rows.id(lacking[0])}; run with --fresh to capture them"
        )
