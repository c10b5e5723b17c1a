"""A model's logits row by row: those of a whole batch are by far the largest tensor of a capture, and never made.

The body of the model reads the batch, and gives its hidden states. The head is given some tokens of them at a time, so
that the memory does not grow with the batch. The logits are those of the whole batch to the bit.

Letters: B batch, T target tokens, N tokens of a batch, padding included, C those that go into the head at a time,
D hidden, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kdkit.api.values import FloatArray, TokenBatch
    from kdkit.models.open_model import HFModel

CHUNK_BYTES = 1 << 26
"""Of the logits in float32 that are made at a time, where a row has no more."""

FEWEST = 16
"""Tokens that go into the head at a time, at least, if the batch has them: of a few tokens a product of matrices is
computed in another order, which shows in the last bits (up to 5 tokens on CPUs)."""


@attrs.frozen(kw_only=True, eq=False)
class RowLogits:
    """Gives the logits of a batch row by row.

    Attributes:
        model: Whose.
        head: Makes logits of its states; None where only the model's whole forward pass can.
    """

    model: HFModel
    head: Callable[[torch.Tensor], torch.Tensor] | None

    @classmethod
    def of(cls, model: HFModel) -> RowLogits:
        """Those of a model."""
        return cls(model=model, head=model.logits_of_states())

    def __call__(self, batch: TokenBatch, wanted: Sequence[bool]) -> Iterator[FloatArray | None]:
        """Each row's logits `[T, V]` in float32, padding included; None where a row is not wanted."""
        with torch.inference_mode():
            rows_BTX = self.model.logits(batch) if self.head is None else self.model.states(batch)
        chunk = max(CHUNK_BYTES // (4 * self.model.vocab_size), FEWEST)
        length = rows_BTX.shape[1]
        together = max(chunk // max(length, 1), 1)
        for start in range(0, len(wanted), together):
            some = wanted[start : start + together]
            if not any(some):
                yield from (None for _ in some)
                continue
            places = range(start * length, (start + len(some)) * length)
            logits_NV = self._logits(rows_BTX.flatten(0, 1), places, chunk)
            for place, is_wanted in enumerate(some):
                yield logits_NV[place * length : (place + 1) * length] if is_wanted else None

    def _logits(self, rows_NX: torch.Tensor, places: range, chunk: int) -> FloatArray:
        """Those of some places of a batch."""
        if self.head is None:
            return _float32(rows_NX[places.start : places.stop])
        parts = (self._part(rows_NX, places[start : start + chunk]) for start in range(0, len(places), chunk))
        if len(places) <= chunk:
            return next(parts, np.empty((0, self.model.vocab_size), np.float32))
        logits_NV, start = np.empty((len(places), self.model.vocab_size), np.float32), 0
        for part_CV in parts:
            logits_NV[start : start + len(part_CV)] = part_CV
            start += len(part_CV)
        return logits_NV

    def _part(self, rows_NX: torch.Tensor, places: range) -> FloatArray:
        """Those that go into the head together, with others beside them where they are too few."""
        assert self.head is not None
        size = min(max(len(places), FEWEST), len(rows_NX))
        first = min(places.start, len(rows_NX) - size)
        with torch.inference_mode():
            logits_CV = self.head(rows_NX[first : first + size])
        return _float32(logits_CV[places.start - first : places.stop - first])


def _float32(logits_NV: torch.Tensor) -> FloatArray:
    found: FloatArray = logits_NV.float().cpu().numpy()
    return found
