"""Generates texts for many rows in batches of similar length; several processes take the batches in turn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kdkit.api.interfaces import EndingModel
from kdkit.api.values import Prediction, WrittenText
from kdkit.data.tokens import collate, length_sorted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from kdkit.api.interfaces import TextModel
    from kdkit.api.options import Generation
    from kdkit.api.values import EncodedExample, TokenBatch
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
        if all(id_ in done for id_ in batch_rows.each_id()):
            continue
        batch = collate(batch_rows, pad_id=model.tokenizer.pad_token_id, device=device)
        began = time.perf_counter()
        written = _written(model, batch, options)
        seconds = (time.perf_counter() - began) / len(batch_rows)
        for id_, each in zip(batch.ids, written, strict=True):
            if id_ not in done:
                yield Prediction(id=id_, text=each.text, seconds=seconds, is_cut=each.is_cut)


def _written(model: TextModel, batch: TokenBatch, options: Generation) -> list[WrittenText]:
    """A batch's texts; of a model that does not tell which are cut, none is."""
    if isinstance(model, EndingModel):
        return model.write(batch, options)
    return [WrittenText(text=text, is_cut=False) for text in model.generate(batch, options)]


def own_rows(
    rows: Sequence[EncodedExample], batch_size: int, team: Team, *, done: Collection[str] = ()
) -> frozenset[str]:
    """Ids of the rows that this process of a team has to predict: whole batches that are not finished."""
    batches = [list(batch.each_id()) for batch in length_sorted(rows, batch_size)]
    left = [ids for ids in batches if not all(id_ in done for id_ in ids)]
    return frozenset(id_ for ids in team.own(left) for id_ in ids if id_ not in done)
