"""Losses: their parts, the tokens they are means over, and the moment of a training."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import torch


@attrs.frozen(kw_only=True)
class Moment:
    """The moment of a training, for losses that change during it.

    Attributes:
        share: 0 at the first step, 1 at the last.
        epoch: Epochs that are done.
    """

    share: float
    epoch: int


END = Moment(share=1.0, epoch=sys.maxsize)
"""The end of a training, however many epochs it has."""


@attrs.frozen(kw_only=True)
class TokenCounts:
    """Over how many tokens the terms of a loss are averaged.

    Attributes:
        hard: Label tokens.
        soft: Those of them for which the teacher has a row.
    """

    hard: int = 0
    soft: int = 0

    def __add__(self, other: TokenCounts) -> TokenCounts:
        """The sum of both."""
        return TokenCounts(hard=self.hard + other.hard, soft=self.soft + other.soft)


@attrs.frozen(kw_only=True, eq=False)
class LossParts:
    """A loss and its parts, each a scalar tensor: `total` is differentiable, the others are not.

    Of some of the tokens of a step they are these tokens' contribution: what the parts of all add up to is the loss.

    Attributes:
        total: The loss, in nats a token.
        hard: Against the labels, in nats a token.
        soft: Against the teacher, in nats a token; NaN where there is no teacher.
        feature: The distance of the hidden states from the teacher's (see `FeatureLoss`); NaN where they are not
            compared.
    """

    total: torch.Tensor
    hard: torch.Tensor
    soft: torch.Tensor
    feature: torch.Tensor = attrs.field(
        default=attrs.Factory(lambda self: self.hard.new_full((), float("nan")), takes_self=True)
    )
