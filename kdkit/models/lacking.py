"""A teacher that lacks a layer, and its loss. Letters: B batch, N labels, V vocabulary."""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import torch

from kdkit.errors import UsageError
from kdkit.models.without_layers import Recorded, of_layers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kdkit.api.values import TokenBatch
    from kdkit.models.open_model import HFModel


@attrs.frozen(kw_only=True)
class Without:
    """A teacher that lacks a layer.

    Attributes:
        stack: The layer's stack.
        layer: The layer.
        model: The student of the others.
        below: How many layers of each stack come before it.
    """

    stack: str
    layer: int
    model: HFModel
    below: dict[str, int]


def without(model: HFModel, counts: Mapping[str, int], stack: str, layer: int) -> Without:
    kept = {
        side: [place for place in range(count) if (side, place) != (stack, layer)] for side, count in counts.items()
    }
    earlier = list(counts)[: list(counts).index(stack)]
    return Without(
        stack=stack,
        layer=layer,
        model=attrs.evolve(model, module=of_layers(model.module, kept)),
        below={**{side: counts[side] for side in earlier}, stack: layer},
    )


@contextmanager
def unchanged(model: HFModel) -> Iterator[None]:
    """A block that computes with a model, after which its weights are what they were.

    Raises:
        UsageError: They are not.
    """
    weights = list(model.module.parameters())
    before = [weight._version for weight in weights]  # noqa: SLF001 - the only way
    yield
    if before != [weight._version for weight in weights]:  # noqa: SLF001
        raise UsageError(
            f"a {model.module.config.model_type} model changes its weights while it computes, so its layers "
            'cannot be left out one at a time; name the layers to keep, or set by = "influence"'
        )


def hard_loss(model: HFModel, batch: TokenBatch) -> float:
    """The sum of the labels' losses."""
    logits_NV = batch.places.pick(model.logits(batch)).float()
    return float(torch.nn.functional.cross_entropy(logits_NV, batch.places.pick(batch.labels_BT), reduction="sum"))


def is_alike(late: Without, recorded: Recorded, batch: TokenBatch) -> bool:
    """Whether a model computes the same where its first layers do not: none of them leaves later ones anything else."""
    with recorded.given_again(late.model.module, late.below):
        shortened = hard_loss(late.model, batch)
    return math.isclose(shortened, hard_loss(late.model, batch), rel_tol=1e-4)


def finite(loss: float) -> float:
    """A loss; as bad as one can be where it is not a number."""
    return loss if math.isfinite(loss) else sys.float_info.max
