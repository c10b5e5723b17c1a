"""Hidden states of a student and its teacher, compared token by token: distances, and the projection that they need.

The student's states have another width than the teacher's, and nothing says which number of one goes with which of the
other. So a projection is trained with the student, and thrown away when it is done (Romero et al., "FitNets: Hints for
Thin Deep Nets", 2015). The teacher's states come scaled, so that their mean square length over a sample of tokens is 1.

Letters: M label tokens that the teacher has states for, D and R the widths of the student's and the teacher's states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from kdkit.api.values import LossParts, TokenCounts

    PerState = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

SHORTEST = 1e-3
"""Shorter states than this have less of a direction, down to none at 0: so the cosine's gradient has a bound."""


BEGINS = 0.1
"""Root mean square length of what a new projection gives."""


def squared_error(projected_MR: torch.Tensor, teacher_MR: torch.Tensor) -> torch.Tensor:
    """`|projected - teacher|^2`: the share of the teacher's mean square that is not explained."""
    return (projected_MR - teacher_MR).square().sum(-1)


def cosine_distance(projected_MR: torch.Tensor, teacher_MR: torch.Tensor) -> torch.Tensor:
    """`1 - cos(projected, teacher)`, from 0 to 2, as half the square between unit vectors: it is never below 0."""
    from torch.nn.functional import normalize

    between_MR = normalize(projected_MR, dim=-1, eps=SHORTEST) - normalize(teacher_MR, dim=-1, eps=SHORTEST)
    return between_MR.square().sum(-1) / 2


DISTANCES: Mapping[str, PerState] = {"mse": squared_error, "cosine": cosine_distance}


def linear_projection(student_width: int, teacher_width: int, *, seed: int) -> torch.nn.Module:
    """A layer norm without weights, then a linear map.

    The norm makes the size of the model's own states (T5's are small) of no matter. What the map gives is at first
    about a tenth as long as the teacher's states: so the squared error begins at 1, and hardly moves the student before
    the map has learnt something; and an optimizer's steps, of the size of its learning rate, change the weights soon.

    Args:
        student_width: D.
        teacher_width: R.
        seed: Of the initial weights; torch's own random generator is left alone.
    """
    import torch

    linear = torch.nn.Linear(student_width, teacher_width, device="meta").to_empty(device="cpu")
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(linear.weight.shape, generator=draw) * BEGINS / linear.weight.numel() ** 0.5)
        linear.bias.zero_()
    norm = torch.nn.LayerNorm(student_width, eps=1e-8, elementwise_affine=False)  # far below the size of any states
    return torch.nn.Sequential(norm, linear)


def with_distance(
    parts: LossParts,
    projected_MR: torch.Tensor,
    teacher_MR: torch.Tensor,
    *,
    distance: str,
    weight: float,
    counts: TokenCounts,
) -> LossParts:
    """The parts of a loss, with `weight * distance` more in their total, and the distance as `feature`.

    Args:
        parts: Those of some label tokens.
        projected_MR: The student's states of the same tokens, projected.
        teacher_MR: The teacher's, scaled.
        distance: Name in `DISTANCES`.
        weight: 0 or more; of a weight of 0 there is no gradient.
        counts: `soft` is the denominator of the mean.

    Raises:
        UsageError: There is no such distance, or the weight is below 0.
    """
    import torch

    if distance not in DISTANCES:
        raise UsageError(f'unknown distance "{distance}"; available: {", ".join(DISTANCES)}')
    if not weight >= 0:
        raise UsageError(f"the weight of a distance must be at least 0, is {weight:g}")
    with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
        feature = DISTANCES[distance](projected_MR, teacher_MR).sum() / max(counts.soft, 1)
    # Without weight it cannot spoil the sum (0 * inf).
    total = parts.total + weight * feature if weight > 0 else parts.total
    return attrs.evolve(parts, total=total, feature=feature.detach())
