"""The learning rate at each step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdkit.api.options import Training


def learning_rate(step: int, total: int, options: Training) -> float:
    """The rate of step `step` (from 0) of `total`.

    Warm-up rises linearly from 0 over the first `warmup_ratio` of the steps; then the rate falls to 0 along a line or
    half a cosine, or stays.
    """
    warmup = int(options.warmup_ratio * total)
    if step < warmup:
        return options.learning_rate * step / warmup
    done = (step - warmup) / max(total - warmup, 1)
    factor = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "constant": 1.0}[options.schedule]
    return options.learning_rate * factor
