"""Divergences between two distributions, each written once, over aligned log-probabilities.

A divergence takes the teacher's and the student's log-probabilities, both `[..., V]`, and gives one value a token,
`[...]`, in nats. It knows nothing of temperatures, masks, averages or alpha. D(p, p) = 0 and D >= 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def forward_kl(teacher_logp_V: torch.Tensor, student_logp_V: torch.Tensor) -> torch.Tensor:
    """KL(teacher || student) = sum_v p (log p - log q), where p = 0 contributes nothing (Hinton et al., 2015)."""
    teacher_p_V = teacher_logp_V.exp()
    terms_V = teacher_p_V * (teacher_logp_V - student_logp_V)
    return torch.where(teacher_p_V > 0, terms_V, terms_V.new_zeros(())).sum(-1)


DIVERGENCES: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {"forward-kl": forward_kl}
