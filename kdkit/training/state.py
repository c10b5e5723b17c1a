"""The state of a training: everything in a checkpoint beside tensors."""

from __future__ import annotations

import math

import attrs

from kdkit.api.values import Direction


@attrs.define(kw_only=True)
class Sums:
    """Sums over the steps since the last log line.

    Attributes:
        steps: Steps.
        tokens: Tokens of sources and targets.
        places: The same with padding.
        loss: Losses, of every step the mean over its tokens.
        hard: Hard losses.
        soft: Soft losses; NaN where there is no teacher.
        feature: Distances of hidden states; NaN where they are not compared.
        grad_norm: Norms of the gradients before clipping.
        seconds: Wall time.
    """

    steps: int = 0
    tokens: int = 0
    places: int = 0
    loss: float = 0.0
    hard: float = 0.0
    soft: float = 0.0
    feature: float = 0.0
    grad_norm: float = 0.0
    seconds: float = 0.0


@attrs.frozen(kw_only=True)
class FitResult:
    """How a training ended: steps done, and the step and value of the best validation."""

    steps: int
    best_step: int
    best_value: float


@attrs.define(kw_only=True)
class State:
    """The position and sums of the loop.

    Attributes:
        epoch: Epochs that are done.
        position: Batches of this epoch that are done; all of them once its validation is all that is left to do.
        step: Steps that are done.
        best_step: The step of the best validation so far.
        best_value: Its value; None before the first.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    best_step: int = 0
    best_value: float | None = None

    def is_best(self, value: float, direction: Direction) -> bool:
        """Whether a validation beats the best so far; any number beats NaN, which means that no row counted."""
        best = self.best_value
        if best is None or math.isnan(best):
            return best is None or not math.isnan(value)
        return value < best if direction is Direction.LOWER else value > best

    def result(self) -> FitResult:
        """How the training ended, once it has."""
        assert self.best_value is not None
        return FitResult(steps=self.step, best_step=self.best_step, best_value=self.best_value)
