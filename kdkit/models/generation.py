"""Generates texts for many rows in batches of similar length; several processes take the batches in turn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kdkit.api.values import Prediction
from kdkit.data.tokens import collate, length_sorted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from kdkit.api.interfaces import TextModel
    from kdkit.api.options import Generation
    from kdkit.api.values import EncodedExample
    from kdkit.system.team import Team


def predict(
    model: TextModel,
    rows: Sequence[EncodedExample],
    options: Generation,
    *,
    device: str,
    done: Collection[str] = (),
) -> Iterator[Prediction]:
    """A prediction for each row, longest sources first; its time is its batch's wall time over the batch's rows.

    Rows whose ids are `done` are left out, but the batches are those of all rows: where two beams are nearly tied, the
    shape of a batch can tip the balance.
    """
    model.module.eval()
    for batch_rows in length_sorted(rows, options.batch_size):
        if all(row.id in done for row in batch_rows):
            continue
        batch = collate(batch_rows, pad_id=model.tokenizer.pad_token_id, device=device)
        began = time.perf_counter()
        texts = model.generate(batch, options)
        seconds = (time.perf_counter() - began) / len(batch_rows)
        for row, text in zip(batch_rows, texts, strict=True):
            if row.id not in done:
                yield Prediction(id=row.id, text=text, seconds=seconds)


def own_rows(
    rows: Sequence[EncodedExample], batch_size: int, team: Team, *, done: Collection[str] = ()
) -> frozenset[str]:
    """Ids of the rows that this process of a team has to predict: whole batches that are not finished."""
    batches = [batch for batch in length_sorted(rows, batch_size) if not all(row.id in done for row in batch)]
    return frozenset(row.id for batch in team.own(batches) for row in batch if row.id not in done)
