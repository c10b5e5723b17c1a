"""KL(p || q) towards a teacher that is not trained: the soft loss of most trainings, its gradient written out.

Autograd would keep and make five more tensors of the size of the vocabulary, and making those is what such a loss takes
its time for.
"""

from __future__ import annotations

from typing import Any

import torch


class ForwardKL(torch.autograd.Function):
    """Of two aligned log-probability tensors `[..., V]`, one value a token; see `kdkit.losses.forward_kl`."""

    @staticmethod
    def forward(ctx: Any, teacher_logp_V: torch.Tensor, student_logp_V: torch.Tensor) -> torch.Tensor:
        """The sum over v of p (log p - log q - 1) + q: `kl` says what p and q are added for, which sum to 0.

        Here they are added entry by entry, not as two sums: what is left of two sums is their rounding.
        """
        teacher_p_V = teacher_logp_V.exp()
        ctx.save_for_backward(teacher_p_V)
        between_V = (teacher_logp_V - student_logp_V).sub_(1).masked_fill_(teacher_p_V == 0, 0.0)
        return student_logp_V.exp().addcmul_(teacher_p_V, between_V).sum(-1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[None, torch.Tensor]:
        """-p for the student's log-probabilities, since the sum of q is always 1; none for the teacher's."""
        (teacher_p_V,) = ctx.saved_tensors
        return None, teacher_p_V * -grads[0][..., None]
