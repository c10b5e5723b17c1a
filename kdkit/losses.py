"""The distillation loss: alpha * soft + (1 - alpha) * hard.

    hard = mean over label tokens of -log q(label)
    soft = mean over label tokens of D(softmax(teacher / T), softmax(student / T)) * T^2

T^2, masking, averaging and alpha live here; temperature and support in `kdkit.align`; D in `kdkit.divergences`.
Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

from kdkit.align import align, label_mask, student_rows, target_mask
from kdkit.divergences import DIVERGENCES
from kdkit.errors import Mismatch, UsageError
from kdkit.values import DenseTargets, LossParts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.values import Targets


class HardLoss:
    """A loss mixer without a teacher: cross-entropy on the labels. What fine-tuning a teacher uses."""

    needs_teacher = False

    def counts(self, labels_BT: torch.Tensor, targets: Targets | None) -> dict[str, int]:
        """Label tokens behind the mean."""
        return token_counts(labels_BT, targets)

    def __call__(
        self,
        student_logits_BTV: torch.Tensor,
        labels_BT: torch.Tensor,
        targets: Targets | None,
        counts: Mapping[str, int] | None = None,
    ) -> LossParts:
        """Mean cross-entropy over the label tokens."""
        return mix(
            student_logits_BTV, labels_BT, targets, alpha=0.0, temperature=1.0, divergence="forward-kl", counts=counts
        )


def distillation_loss(
    student_logits_BTV: torch.Tensor,
    teacher_logits_BTV: torch.Tensor,
    labels_BT: torch.Tensor,
    *,
    alpha: float,
    temperature: float,
    divergence: str = "forward-kl",
) -> LossParts:
    """The loss of a batch from dense teacher logits.

    Row i of both logits is the distribution of label i: for causal models shift before calling. Where the teacher's
    target axis is shorter, the shorter counts for the soft loss; where vocabularies differ in width, the first
    min(V_s, V_t) entries.

    Args:
        student_logits_BTV: `[B, T, V_s]`, floating point.
        teacher_logits_BTV: `[B, T_t, V_t]`; no gradient flows into it.
        labels_BT: `[B, T]`, integers, -100 where masked.
        alpha: Share of the soft loss, 0 to 1.
        temperature: T > 0.
        divergence: Name in `kdkit.divergences.DIVERGENCES`.

    Returns:
        Scalars `total`, `hard` and `soft`, in nats a label token.

    Raises:
        UsageError: alpha, temperature or divergence is out of range.
        Mismatch: The shapes do not fit each other.
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha must be from 0 to 1, is {alpha}")
    if not temperature > 0:
        raise UsageError(f"temperature must be greater than 0, is {temperature}")
    if divergence not in DIVERGENCES:
        raise UsageError(f'unknown divergence "{divergence}"; there are: {", ".join(DIVERGENCES)}')
    rows = teacher_logits_BTV.shape[1]
    targets = DenseTargets(
        logits_BTV=teacher_logits_BTV.detach(),
        lengths_B=torch.full((teacher_logits_BTV.shape[0],), rows, device=labels_BT.device),
    )
    return mix(student_logits_BTV, labels_BT, targets, alpha=alpha, temperature=temperature, divergence=divergence)


def mix(
    student_logits_BTV: torch.Tensor,
    labels_BT: torch.Tensor,
    targets: Targets | None,
    *,
    alpha: float,
    temperature: float,
    divergence: str,
    counts: Mapping[str, int] | None = None,
) -> LossParts:
    """Hard loss, soft loss and their mixture.

    Args:
        student_logits_BTV: `[B, T, V]`.
        labels_BT: `[B, T]`, -100 where masked.
        targets: The teacher's rows; None leaves the soft loss out (it is then NaN in the parts, and alpha must be 0).
        alpha: Share of the soft loss.
        temperature: T.
        divergence: Its name.
        counts: Denominators of the means (see `token_counts`); by default those of this batch.
    """
    _check_shapes(student_logits_BTV, labels_BT, targets)
    counts = counts if counts is not None else token_counts(labels_BT, targets)
    student = student_rows(student_logits_BTV, labels_BT)
    with torch.set_grad_enabled(torch.is_grad_enabled() and alpha < 1):
        hard = -student.logp_NV.gather(-1, labels_BT[student.mask_BT][:, None]).sum() / max(counts["hard"], 1)
    if targets is None:
        assert alpha == 0, "a loss with alpha above 0 needs teacher targets"
        return LossParts(total=hard, hard=hard.detach(), soft=hard.new_tensor(float("nan")))
    with torch.set_grad_enabled(torch.is_grad_enabled() and alpha > 0):
        aligned = align(student, labels_BT, targets, temperature=temperature)
        per_token_N = DIVERGENCES[divergence](aligned.teacher_logp_NV, aligned.student_logp_NV)
        soft = per_token_N.sum() * temperature**2 / max(counts["soft"], 1)
    return LossParts(total=_mixture(alpha, soft, hard), hard=hard.detach(), soft=soft.detach())


def token_counts(labels_BT: torch.Tensor, targets: Targets | None) -> dict[str, int]:
    """How many label tokens each term is a mean over."""
    return {
        "hard": int(label_mask(labels_BT).sum()),
        "soft": int(target_mask(labels_BT, targets).sum()) if targets is not None else 0,
    }


def _mixture(alpha: float, soft: torch.Tensor, hard: torch.Tensor) -> torch.Tensor:
    """At the ends only one term, so that a term without weight cannot spoil the sum (0 * inf)."""
    if alpha == 0:
        return hard
    if alpha == 1:
        return soft
    return alpha * soft + (1 - alpha) * hard


def _check_shapes(student_logits_BTV: torch.Tensor, labels_BT: torch.Tensor, targets: Targets | None) -> None:
    if student_logits_BTV.ndim != 3 or student_logits_BTV.shape[:2] != labels_BT.shape:
        raise Mismatch(
            f"student logits of shape {tuple(student_logits_BTV.shape)} do not fit labels of shape "
            f"{tuple(labels_BT.shape)}: they must be [B, T, V] and [B, T]"
        )
    if targets is None:
        return
    rows = next(tensor for tensor in attrs.astuple(targets, recurse=False) if isinstance(tensor, torch.Tensor))
    if rows.ndim != 3 or rows.shape[0] != labels_BT.shape[0]:
        raise Mismatch(
            f"teacher logits of shape {tuple(rows.shape)} do not fit labels of shape "
            f"{tuple(labels_BT.shape)}: they must be [B, T, V] and [B, T]"
        )
