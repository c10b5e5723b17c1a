"""Texts that are drawn from a model's distribution, each row by random numbers of its own.

transformers draws the whole batch from one generator, so that a text would depend on the rows beside it, and on what
was written before. Here the token of a step is found from one number between 0 and 1 of the row's own course: with the
tokens in order of their ids, it is the first at which the probabilities add up to more than that. How the distribution
is warped is transformers' own. Letters: B rows, L tokens so far, V vocabulary.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.options import Generation


def drawing(options: Generation, ids: Sequence[str]) -> Any:
    """What a greedy search has to do with its scores to draw a text for each row; None where texts are searched for.

    Args:
        options: How texts are generated.
        ids: The ids of the rows, in the batch's order: with the seed they decide which text is drawn.
    """
    if not options.temperature:
        return None
    steps: list[Any] = [TemperatureLogitsWarper(options.temperature)]
    if options.top_k:
        steps.append(TopKLogitsWarper(options.top_k))
    if options.top_p < 1:
        steps.append(TopPLogitsWarper(options.top_p))
    return LogitsProcessorList([*steps, _Drawn(options.seed, ids)])


class _Drawn:
    """Leaves of each row's scores one: that of the token which is drawn."""

    def __init__(self, seed: int, ids: Sequence[str]) -> None:
        self._courses = [random.Random(f"{seed} {id_}") for id_ in ids]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        drawn_B1 = torch.tensor([[course.random()] for course in self._courses], dtype=torch.float64)
        summed_BV = scores.float().softmax(-1).double().cumsum(-1)
        place_B1 = torch.searchsorted(summed_BV, drawn_B1.to(scores.device) * summed_BV[:, -1:], right=True)
        kept_BV = torch.full_like(scores, -torch.inf)
        return kept_BV.scatter(1, place_B1.clamp(max=scores.shape[1] - 1), 0.0)
