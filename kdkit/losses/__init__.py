"""The distillation loss: aligns teacher and student, computes a divergence, and mixes soft and hard loss.

A loss of your own needs little more: `align` gives two log-probability tensors over one vocabulary at one
temperature, a divergence compares them token by token, and `mix` puts soft and hard terms together.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdkit.losses.alignment import Aligned, StudentRows, align, log_softmax, student_rows, teacher_rows
    from kdkit.losses.divergences import (
        Divergence,
        divergence_of,
        forward_kl,
        jensen_shannon,
        reverse_kl,
        skew_forward_kl,
        skew_reverse_kl,
        total_variation,
    )
    from kdkit.losses.hidden_states import linear_projection, with_distance
    from kdkit.losses.mixture import HardLoss, distillation_loss, loss_at, mix, token_counts

__all__ = [
    "Aligned",
    "Divergence",
    "HardLoss",
    "StudentRows",
    "align",
    "distillation_loss",
    "divergence_of",
    "forward_kl",
    "jensen_shannon",
    "linear_projection",
    "log_softmax",
    "loss_at",
    "mix",
    "reverse_kl",
    "skew_forward_kl",
    "skew_reverse_kl",
    "student_rows",
    "teacher_rows",
    "token_counts",
    "total_variation",
    "with_distance",
]
_PLACES = {
    "kdkit.losses.alignment": ("Aligned", "StudentRows", "align", "log_softmax", "student_rows", "teacher_rows"),
    "kdkit.losses.divergences": (
        "Divergence",
        "divergence_of",
        "forward_kl",
        "jensen_shannon",
        "reverse_kl",
        "skew_forward_kl",
        "skew_reverse_kl",
        "total_variation",
    ),
    "kdkit.losses.hidden_states": ("linear_projection", "with_distance"),
    "kdkit.losses.mixture": ("HardLoss", "distillation_loss", "loss_at", "mix", "token_counts"),
}


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: torch takes seconds, and recipes only name a loss."""
    for module, names in _PLACES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'kdkit.losses' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
