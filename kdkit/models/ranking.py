"""Measures how much each layer of a teacher matters, on a few rows.

By "loss": the teacher's hard loss without the layer. The student that lacks it is asked, so what is measured is what
such a student computes; states below the layer are computed once for all. Source: Kim et al., "Shortened LLaMA" (2024),
whose criterion is the perplexity.

By "greedy": the same, measured again after each layer that is left out (`kdkit.models.elimination`).

By "influence": 1 minus the cosine between what goes into a layer and what comes out, averaged over tokens. Source: Men
et al., "ShortGPT" (2024), equation 1.

Letters: B batch, T target, N labels, V vocabulary, W tokens that a stack reads, D hidden.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import torch

from kdkit.api.values import Importance
from kdkit.data.tokens import length_sorted
from kdkit.errors import UsageError
from kdkit.models.elimination import eliminated
from kdkit.models.heads import evaluating
from kdkit.models.lacking import Without, finite, hard_loss, is_alike, unchanged, without
from kdkit.models.layers import Stack
from kdkit.models.width import width_norms
from kdkit.models.without_layers import Recorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kdkit.api.values import EncodedExample, Measuring, TokenBatch
    from kdkit.models.open_model import HFModel
    from kdkit.system.progress import Progress

TOKENS_A_BATCH = 1024
"""Tokens with padding that go through a model together: what each layer gives is kept for all of them."""


def measure_importance(
    model: HFModel, stacks: Sequence[str], rows: Sequence[EncodedExample], measuring: Measuring, progress: Progress
) -> Importance:
    """The scores of a teacher's layers, and the norms of its heads and channels if asked for.

    Args:
        model: The teacher.
        stacks: All its stacks, in the order in which they compute.
        rows: What to measure on.
        measuring: How.
        progress: Where progress is shown.

    Raises:
        UsageError: A layer cannot be left out.
    """
    found = Importance(rows=len(rows), tokens=sum(len(row.target_ids) for row in rows), layers={})
    with evaluating(model.module):
        if measuring.has_width:
            heads, channels = width_norms(model, rows, progress)
            found = attrs.evolve(found, heads=heads, channels=channels)
        if not measuring.stacks:
            return found
        if measuring.by == "influence":
            return attrs.evolve(found, layers=_influences(model, rows, measuring.stacks, progress))
        if measuring.by == "greedy":
            loss, layers = eliminated(model, stacks, list(_batches(model, rows)), measuring, progress)
            return attrs.evolve(found, loss=loss, layers=layers)
        loss, losses = _losses(model, stacks, rows, measuring.stacks, progress)
    counts = {stack: len(Stack.of(model.module, stack).layers) for stack in measuring.stacks}
    layers = {stack: tuple(losses.get((stack, layer)) for layer in range(count)) for stack, count in counts.items()}
    return attrs.evolve(found, loss=loss, layers=layers)


def _losses(
    model: HFModel, stacks: Sequence[str], rows: Sequence[EncodedExample], measured: Sequence[str], progress: Progress
) -> tuple[float, dict[tuple[str, int], float]]:
    """The hard loss of the whole model, and of it without each layer of the measured stacks."""
    counts = {stack: len(Stack.of(model.module, stack).layers) for stack in stacks}
    each_without = [each for stack in measured for each in _each_without(model, counts, stack)]
    batches = list(_batches(model, rows))
    alike: bool | None = None
    whole, sums = [], {(each.stack, each.layer): list[float]() for each in each_without}
    with progress.task("rank layers", total=len(batches) * (1 + len(each_without)), unit="passes") as task:
        for batch in batches:
            with unchanged(model):
                recorded = Recorded()
                with recorded.recording(model.module, stacks):
                    whole.append(hard_loss(model, batch))
                task.advance()
                if alike is None:
                    alike = is_alike(each_without[-2:][0], recorded, batch)  # after which the last layer computes
                for each in each_without:
                    with recorded.given_again(each.model.module, each.below if alike else {}):
                        sums[each.stack, each.layer].append(hard_loss(each.model, batch))
                    task.advance()
    labels = sum(len(batch.places) for batch in batches)
    return math.fsum(whole) / labels, {place: finite(math.fsum(values) / labels) for place, values in sums.items()}


def _each_without(model: HFModel, counts: Mapping[str, int], stack: str) -> Iterator[Without]:
    """The model without each layer of a stack in turn, where it is a model without it.

    Raises:
        UsageError: It never is.
    """
    refused: list[UsageError] = []
    for layer in range(counts[stack]):
        try:
            yield without(model, counts, stack, layer)
        except UsageError as error:
            refused.append(error)
    if len(refused) == counts[stack]:
        raise UsageError(f"no layer can be left out alone: {refused[0]}") from refused[0]


def _batches(model: HFModel, rows: Sequence[EncodedExample]) -> Iterator[TokenBatch]:
    """Rows of like length, as many together as have few tokens."""
    taken: list[EncodedExample] = []
    for (row,) in length_sorted(rows, 1):
        if sum(map(_length, taken[:1])) * (len(taken) + 1) > TOKENS_A_BATCH:
            yield model.collated(taken)
            taken = []
        taken.append(row)
    yield model.collated(taken)


def _length(row: EncodedExample) -> int:
    return len(row.source_ids) + len(row.target_ids)


def _influences(
    model: HFModel, rows: Sequence[EncodedExample], stacks: Sequence[str], progress: Progress
) -> dict[str, tuple[float | None, ...]]:
    """The influence of each layer; a row at a time, so that no state is of padding but what a model adds at the end."""
    layers = {stack: Stack.of(model.module, stack).layers for stack in stacks}
    sums = {stack: [0.0] * len(each) for stack, each in layers.items()}
    counts = dict.fromkeys(stacks, 0)
    with progress.task("rank layers", total=len(rows), unit="rows") as task:
        for row in rows:
            batch, states = model.collated([row]), Recorded()
            with states.recording(model.module, stacks):
                model.logits(batch)
            for stack in stacks:
                read = _read(row, stack)
                counts[stack] += read
                for index, (took, gave) in enumerate(states.of(stack)):
                    cosine_W = torch.nn.functional.cosine_similarity(_flat(took, read), _flat(gave, read), dim=-1)
                    sums[stack][index] += float((1 - cosine_W).sum())
            task.advance()
    return {stack: tuple(value / counts[stack] for value in values) for stack, values in sums.items()}


def _read(row: EncodedExample, stack: str) -> int:
    """How many tokens of a row a stack reads."""
    if stack == "layers":
        return len(row.source_ids) + max(len(row.target_ids), 1) - 1  # the last is not read
    return len(row.source_ids if stack == "encoder_layers" else row.target_ids)


def _flat(states: torch.Tensor, count: int) -> torch.Tensor:
    """The states of the first tokens of one row, `[W, D]`, whichever axis is which."""
    return states.float().flatten(0, -2)[:count]
