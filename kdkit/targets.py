"""Teacher logits of a batch, out of the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
import numpy as np
import torch

from kdkit.cache import record_key
from kdkit.errors import DamagedData, Mismatch
from kdkit.interfaces import BatchCodec
from kdkit.values import DenseTargets, FactoredTargets, TokenCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kdkit.cache import LogitCache
    from kdkit.values import EncodedExample, Targets, TokenBatch


class TargetSource(Protocol):
    """Where a training has the teacher's distributions from."""

    def __call__(self, batch: TokenBatch) -> Targets | None:
        """Those of a batch, on its device; None if there is no teacher. May be called in a thread of its own."""
        ...

    def count(self, row: EncodedExample) -> int:
        """Of how many of a row's labels there is one: known without looking at any."""
        ...


@attrs.frozen
class NoTargets:
    """For losses that need no teacher."""

    def __call__(self, batch: TokenBatch) -> None:
        """None."""

    def count(self, row: EncodedExample) -> int:  # noqa: ARG002 - whatever the row
        """None of them."""
        return 0


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
    _joint: dict[tuple[int, ...], torch.Tensor] = attrs.field(factory=dict, init=False)

    def __call__(self, batch: TokenBatch) -> Targets:
        """The targets as the cache's codec gives them; dense logits `[B, T, V]` of one that decodes record by record.

        Raises:
            DamagedData: A record is not what was written.
        """
        keys = [self.keys[row_id] for row_id in batch.ids]
        try:
            return self._decoded(keys)
        except DamagedData:
            self._dense(keys)  # record by record, whose errors say where
            raise

    def count(self, row: EncodedExample) -> int:
        """As many as the record has tokens; recorded logits may be shorter than the row."""
        return min(self.cache.tokens(self.keys[row.id]), len(row.target_ids))

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
        if len(parts) == 1:
            return parts[0][1]
        factored = [(places, part) for places, part in parts if isinstance(part, FactoredTargets)]
        return self._join(factored) if len(factored) == len(parts) else self._dense(keys)

    def _join(self, parts: Sequence[tuple[list[int], FactoredTargets]]) -> FactoredTargets:
        """Targets over bases of their own, as some over all of them: each example has its part's coordinates, and a 1.

        The ones stand for the offsets, which are rows of the joint basis too.
        """
        joint_RV = self._joint_basis([part for _, part in parts])
        ranks = [part.basis_RV.shape[0] for _, part in parts]
        size, width = sum(len(places) for places, _ in parts), max(part.width for _, part in parts)
        coordinates_BTR = joint_RV.new_zeros((size, width, len(joint_RV)))
        lengths_B = parts[0][1].lengths_B.new_zeros(size)
        for number, (places, part) in enumerate(parts):
            start = sum(ranks[:number])
            for place, own_TR, length in zip(places, part.coordinates_BTR, part.lengths_B, strict=True):
                coordinates_BTR[place, : len(own_TR), start : start + ranks[number]] = own_TR
                coordinates_BTR[place, :, sum(ranks) + number] = 1
                lengths_B[place] = length
        return FactoredTargets(
            coordinates_BTR=coordinates_BTR,
            basis_RV=joint_RV,
            offset_V=torch.zeros_like(parts[0][1].offset_V),
            lengths_B=lengths_B,
        )

    def _joint_basis(self, parts: Sequence[FactoredTargets]) -> torch.Tensor:
        """Bases, then offsets, one below the other: made once for the states that meet in a batch."""
        states = tuple(part.basis_RV.data_ptr() for part in parts)
        if states not in self._joint:
            self._joint[states] = torch.cat(
                [*(part.basis_RV for part in parts), torch.stack([part.offset_V for part in parts])]
            )
        return self._joint[states]

    def _dense(self, keys: Sequence[bytes]) -> DenseTargets:
        """Dense logits, padded with zeros beyond each row's length."""
        rows = [self.cache.decode(key) for key in keys]
        logits_BTV = np.zeros((len(rows), max(map(len, rows)), self.cache.vocab_size), dtype=np.float32)
        for padded_TV, row_TV in zip(logits_BTV, rows, strict=True):
            padded_TV[: len(row_TV)] = row_TV
        return DenseTargets(
            logits_BTV=torch.from_numpy(logits_BTV).to(self.device),
            lengths_B=torch.tensor([len(row) for row in rows]),
        )


def counts_of(rows: Iterable[EncodedExample], targets: TargetSource) -> TokenCounts:
    """Over how many tokens the terms of a loss of these rows are averaged."""
    hard = soft = 0
    for row in rows:
        hard += len(row.target_ids)
        soft += targets.count(row)
    return TokenCounts(hard=hard, soft=soft)


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
