"""Makes what a loss on hidden states needs in a training: its projection, and the teacher's scale.

Both are made before the first step and are the same in every process: no statistic of a step goes into a loss, so that
chunks of tokens, micro-batches and processes add up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kdkit.api.interfaces import FeatureLoss
from kdkit.data.tokens import collate
from kdkit.errors import UsageError
from kdkit.losses.alignment import teacher_rows
from kdkit.training.feature_helper import FeatureHelper
from kdkit.training.teacher_states import TeacherSpace
from kdkit.training.tokenloss import Forward

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.api.interfaces import LossMixer, TextModel
    from kdkit.api.values import EncodedExample, TokenBatch
    from kdkit.logits.targets import TargetSource

SAMPLE_ROWS = 256
"""Rows at most that the scale is learnt from."""

SAMPLE_BATCH = 16


def helper_of(
    loss: LossMixer,
    model: TextModel,
    rows: Sequence[EncodedExample],
    targets: TargetSource,
    *,
    seed: int,
    device: str,
) -> FeatureHelper | None:
    """What a loss needs to compare states; None for one that compares none. A pure function of what it is given.

    Args:
        loss: The loss of the whole training.
        model: The student, on its device.
        rows: The training rows.
        targets: Where the teacher's rows come from.
        seed: Of the projection.
        device: The student's.

    Raises:
        UsageError: The student's states are not available.
        Mismatch: The teacher's are not available.
    """
    if not (isinstance(loss, FeatureLoss) and loss.needs_states):
        return None
    forward = Forward.of(model)
    if forward.head is None:
        raise UsageError(
            "the loss compares hidden states, but the student has none to compare: its logits are not a "
            "linear function of its last hidden states; leave loss.features out, or use another student"
        )
    pad_id = model.tokenizer.pad_token_id
    (first,) = _batches(rows[:1], 1, pad_id, device)
    space = TeacherSpace.of(targets(first))
    projection = loss.projection(_width(model, forward, first), space.width, seed=seed).to(device)
    sample = rows[:: -(-len(rows) // SAMPLE_ROWS)]
    scale = _scale(_batches(sample, SAMPLE_BATCH, pad_id, device), targets, space)
    return FeatureHelper(projection=projection, space=space, scale=scale)


def _batches(rows: Sequence[EncodedExample], size: int, pad_id: int, device: str) -> Iterator[TokenBatch]:
    for start in range(0, len(rows), size):
        yield collate(rows[start : start + size], pad_id=pad_id).to(device)


def _width(model: TextModel, forward: Forward, batch: TokenBatch) -> int:
    """That of the student's states; to ask changes neither mode nor random numbers."""
    was_training = model.module.training
    model.module.eval()
    with torch.no_grad():
        width = forward.rows(batch).shape[-1]
    model.module.train(was_training)
    return width


def _scale(batches: Iterator[TokenBatch], targets: TargetSource, space: TeacherSpace) -> float:
    """One over the root of the mean square length of the teacher's states."""
    squares, tokens = 0.0, 0
    for batch in batches:
        said = targets(batch)
        assert said is not None, "a loss that compares states needs a teacher"
        states_MR = space.states(teacher_rows(said, batch.places))
        squares += float(states_MR.cpu().double().square().sum())
        tokens += len(states_MR)
    return (tokens / squares) ** 0.5 if squares > 0 else 1.0
