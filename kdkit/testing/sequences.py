"""Checks that a model reads a row, and writes a text, as its module alone would: masks, loss, greedy texts, stops.

A model of transformers has a loss and a `generate` of its own, which every other program uses; where a module has
neither, there is nothing to compare with. Letters: B batch, S source, T labels, N label tokens, V vocabulary.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from kdkit.api.interfaces import TextModel
    from kdkit.api.interfaces.models import ModelKind
    from kdkit.api.options import Generation
    from kdkit.api.values import EncodedExample, TokenBatch

_NEAR = 1e-3
"""Of logits and losses that other shapes give, in float32, relative to the largest."""


def check_masks(component: Any, model: TextModel, batch: TokenBatch) -> None:
    """Check that tokens which the mask leaves out change no logits.

    Padding is often the token that ends texts, so it is known by its place and never by its id.

    Args:
        component: Whose model it is, for messages.
        model: The model.
        batch: Rows of different lengths.
    """
    import torch

    padding_BS = batch.source_mask_BS == 0
    if not padding_BS.any():
        return
    other = int(batch.source_ids_BS[batch.source_mask_BS == 1].max())
    filled = attrs.evolve(batch, source_ids_BS=batch.source_ids_BS.masked_fill(padding_BS, other))
    with torch.no_grad():
        logits_NV, others_NV = (batch.places.pick(model.logits(each)).float() for each in (batch, filled))
    distance = float((logits_NV - others_NV).abs().max())
    assert distance <= _NEAR * max(1.0, float(logits_NV.abs().max())), (
        f"{component!r} has logits that change with the ids of padding, which its mask leaves out: {distance:g} lies "
        "between them"
    )


def check_own_loss(
    component: Any, kind: ModelKind, model: TextModel, rows: Sequence[EncodedExample], batch: TokenBatch
) -> None:
    """Check that the labels have the loss that the module itself reports for them, a row at a time.

    Args:
        component: Whose model it is, for messages.
        kind: What kind of model it is.
        model: The model.
        rows: The rows.
        batch: The same rows as a batch.
    """
    import torch

    module: Any = model.module
    if "labels" not in inspect.signature(module.forward).parameters:
        return
    with torch.no_grad():
        losses = [_own_loss(module, kind, row, batch.labels_BT.device) for row in rows]
        logits_NV = batch.places.pick(model.logits(batch)).float()
    if any(each is None for each in losses):
        return
    counts = [len(row.target_ids) for row in rows]
    own = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
    found = float(torch.nn.functional.cross_entropy(logits_NV, batch.places.pick(batch.labels_BT)))
    assert abs(found - own) <= _NEAR * max(1.0, own), (
        f"{component!r} has logits that give the labels a loss of {found:.6f}, and its module reports {own:.6f} for "
        "the same labels: they stand at other places, or something is left out after the head"
    )


def _own_loss(module: Any, kind: ModelKind, row: EncodedExample, device: torch.device) -> Any:
    import torch

    from kdkit.api.values import IGNORED

    source, labels = list(row.source_ids), list(row.target_ids)
    if kind.is_joined:
        source, labels = source + labels, [IGNORED] * len(source) + labels
    ids_BS, labels_BT = (torch.tensor([each], device=device) for each in (source, labels))
    loss = module(input_ids=ids_BS, attention_mask=torch.ones_like(ids_BS), labels=labels_BT).loss
    return None if loss is None else float(loss)


def check_greedy(component: Any, kind: ModelKind, model: TextModel, batch: TokenBatch, options: Generation) -> None:
    """Check that a model writes what its module writes after each source alone, and stops at any of its stop tokens.

    Of a decoder-only model the logits of the labels must rank these tokens first too: they are computed in one pass
    with padding on the right, and texts a token at a time with padding on the left.

    Args:
        component: Whose model it is, for messages.
        kind: What kind of model it is.
        model: The model.
        batch: Sources of different lengths.
        options: A greedy generation.
    """
    module: Any = model.module
    if not hasattr(module, "generation_config"):
        return
    before = module.generation_config
    try:
        texts = model.generate(batch, options)
        model.adopt(options)
        written = [_written(module, kind, batch, place) for place in range(len(batch.ids))]
        for text, ids, row_id in zip(texts, written, batch.ids, strict=True):
            own = _text(model, ids)
            assert text == own, (
                f"{component!r} writes {text!r} for {row_id!r} in a batch, and its module alone writes {own!r}: it "
                "must not see padding"
            )
        if kind.is_joined:
            _check_ranks(component, model, batch, written)
        _check_stop(component, model, batch, options, written)
    finally:
        module.generation_config = before


def _written(module: Any, kind: ModelKind, batch: TokenBatch, place: int) -> list[int]:
    """What a module writes by its own generation configuration after one source, without the tokens before it."""
    import torch

    size = int(batch.source_counts[place])
    ids_BS = batch.source_ids_BS[place : place + 1, :size]
    with torch.no_grad():
        ids_BX = module.generate(input_ids=ids_BS, attention_mask=torch.ones_like(ids_BS))
    written: list[int] = ids_BX[0, size if kind.is_joined else 1 :].tolist()
    return written


def _text(model: TextModel, ids: Sequence[int]) -> str:
    return model.tokenizer.batch_decode([ids], skip_special_tokens=True, clean_up_tokenization_spaces=False)[0]


def _check_ranks(component: Any, model: TextModel, batch: TokenBatch, written: Sequence[list[int]]) -> None:
    import torch

    from kdkit.api.values import EncodedExample
    from kdkit.data.tokens import collate

    sources = [ids_S[:size].tolist() for ids_S, size in zip(batch.source_ids_BS, batch.source_counts, strict=True)]
    rows = [
        EncodedExample(id=row_id, source_ids=tuple(source), target_ids=tuple(ids))
        for row_id, source, ids in zip(batch.ids, sources, written, strict=True)
    ]
    told = collate(rows, pad_id=model.tokenizer.pad_token_id, device=str(batch.labels_BT.device))
    with torch.no_grad():
        logits_NV = told.places.pick(model.logits(told)).float()
    chosen_N = logits_NV.gather(1, told.places.pick(told.labels_BT)[:, None])[:, 0]
    behind = float((logits_NV.amax(1) - chosen_N).max())
    assert behind <= _NEAR * max(1.0, float(logits_NV.abs().max())), (
        f"{component!r} writes tokens that its logits of the labels do not rank first: the best is {behind:g} above "
        "one of them"
    )


def _check_stop(
    component: Any, model: TextModel, batch: TokenBatch, options: Generation, written: Sequence[list[int]]
) -> None:
    """One more token in the set of those that end a text: each text ends at its first."""
    module: Any = model.module
    ends = module.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    special = {*ends, *getattr(model.tokenizer, "all_special_ids", ())}
    stop = next((ids[1] for ids in written if len(ids) > 2 and ids[1] not in special), None)
    if stop is None:
        return
    module.generation_config.eos_token_id = [*ends, stop]
    texts = model.generate(batch, options)
    for text, ids, row_id in zip(texts, written, batch.ids, strict=True):
        cut = ids[: ids.index(stop) + 1] if stop in ids else ids
        assert text == _text(model, cut), (
            f"{component!r} writes {text!r} for {row_id!r}, which must end at the first of several tokens that end "
            f"texts: {_text(model, cut)!r}"
        )
