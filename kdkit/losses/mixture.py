"""The distillation loss: alpha * soft + (1 - alpha) * hard.

    hard = mean over label tokens of -log q(label)
    soft = mean over label tokens of D(softmax(teacher / T), softmax(student / T)) * T^2

T^2, averaging and alpha live here; rows, support and temperature in `alignment`; D in `divergences`.
Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015).

Letters: B batch, T target, V vocabulary, N label tokens, M those of them that the teacher has rows for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

from kdkit.api.interfaces import ScheduledLoss
from kdkit.api.values import DenseTargets, LabelPlaces, LossParts, TokenCounts
from kdkit.errors import Mismatch, UsageError
from kdkit.losses.alignment import align, label_mask, student_rows, teacher_rows
from kdkit.losses.divergences import divergence_of

if TYPE_CHECKING:
    from kdkit.api.interfaces import LossMixer
    from kdkit.api.values import Moment, Targets, TeacherRows
    from kdkit.losses.divergences import PerToken


@attrs.frozen
class HardLoss:
    """A loss without a teacher: cross-entropy on the labels. Fine-tuning a teacher uses it."""

    @property
    def needs_teacher(self) -> bool:
        """Never."""
        return False

    def __call__(
        self,
        student_logits_NV: torch.Tensor,
        labels_N: torch.Tensor,
        teacher: TeacherRows | None,  # noqa: ARG002 - it is a LossMixer's
        counts: TokenCounts,
    ) -> LossParts:
        """Mean cross-entropy over the label tokens."""
        hard = -student_rows(student_logits_NV).logp_NV.gather(-1, labels_N[:, None]).sum() / max(counts.hard, 1)
        return LossParts(total=hard, hard=hard.detach(), soft=hard.new_tensor(float("nan")))


def distillation_loss(
    student_logits_BTV: torch.Tensor,
    teacher: torch.Tensor | Targets,
    labels_BT: torch.Tensor,
    *,
    alpha: float,
    temperature: float,
    divergence: str = "forward-kl",
    beta: float | None = None,
    skew: float | None = None,
) -> LossParts:
    """The loss of a batch, for a training loop of your own.

    Row i of both logits is the distribution of label i: for causal models shift before calling. Where the teacher's
    target axis is shorter, the shorter counts for the soft loss; where vocabularies differ in width, the first
    min(V_s, V_t) entries.

    Args:
        student_logits_BTV: `[B, T, V_s]`, floating point.
        teacher: Its logits `[B, T_t, V_t]`, into which no gradient flows; or targets as a codec gives them.
        labels_BT: `[B, T]`, integers, -100 where masked.
        alpha: Share of the soft loss, 0 to 1.
        temperature: T > 0.
        divergence: Name in `kdkit.losses.divergences.DIVERGENCES`.
        beta: Of "jensen-shannon" (see there).
        skew: Of "skew-forward-kl" and "skew-reverse-kl".

    Returns:
        Scalars `total`, `hard` and `soft`, in nats a label token.

    Raises:
        UsageError: alpha, temperature, divergence or its parameter is out of range.
        Mismatch: The shapes do not fit each other.
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha must be from 0 to 1, is {alpha}")
    if not temperature > 0:
        raise UsageError(f"temperature must be greater than 0, is {temperature}")
    per_token = divergence_of(divergence, beta=beta, skew=skew)
    targets = _dense(teacher) if isinstance(teacher, torch.Tensor) else teacher
    _check_shapes(student_logits_BTV, labels_BT, targets)
    mask_BT = label_mask(labels_BT)
    return mix(
        student_logits_BTV[mask_BT],
        labels_BT[mask_BT],
        teacher_rows(targets, LabelPlaces.of(labels_BT)),
        alpha=alpha,
        temperature=temperature,
        divergence=per_token,
        counts=token_counts(labels_BT, targets),
    )


def mix(
    student_logits_NV: torch.Tensor,
    labels_N: torch.Tensor,
    teacher: TeacherRows | None,
    *,
    alpha: float,
    temperature: float,
    divergence: PerToken,
    counts: TokenCounts,
) -> LossParts:
    """Hard loss, soft loss and their mixture, of some label tokens.

    Args:
        student_logits_NV: `[N, V]`.
        labels_N: `[N]`.
        teacher: The teacher's rows; None leaves the soft loss out (it is then NaN in the parts, and alpha must be 0).
        alpha: Share of the soft loss.
        temperature: T.
        divergence: D, of two aligned log-probability tensors `[M, V]`.
        counts: Denominators of the means.
    """
    student = student_rows(student_logits_NV)
    with torch.set_grad_enabled(torch.is_grad_enabled() and alpha < 1):
        hard = -student.logp_NV.gather(-1, labels_N[:, None]).sum() / max(counts.hard, 1)
    if teacher is None:
        assert alpha == 0, "a loss with alpha above 0 needs the teacher's targets"
        return LossParts(total=hard, hard=hard.detach(), soft=hard.new_tensor(float("nan")))
    with torch.set_grad_enabled(torch.is_grad_enabled() and alpha > 0):
        aligned = align(student, teacher, temperature=temperature)
        per_token_M = divergence(aligned.teacher_logp_MV, aligned.student_logp_MV)
        soft = per_token_M.sum() * temperature**2 / max(counts.soft, 1)
    return LossParts(total=_mixture(alpha, soft, hard), hard=hard.detach(), soft=soft.detach())


def token_counts(labels_BT: torch.Tensor, targets: Targets | None) -> TokenCounts:
    """How many label tokens of a batch each term is a mean over."""
    places = LabelPlaces.of(labels_BT)
    soft = int(teacher_rows(targets, places).known_N.sum()) if targets is not None else 0
    return TokenCounts(hard=len(places), soft=soft)


def loss_at(loss: LossMixer, moment: Moment) -> LossMixer:
    """The loss to use in a step: one that follows a schedule, with its values at that step."""
    return loss.at(moment) if isinstance(loss, ScheduledLoss) else loss


def _mixture(alpha: float, soft: torch.Tensor, hard: torch.Tensor) -> torch.Tensor:
    """At the ends only one term, so that a term without weight cannot spoil the sum (0 * inf)."""
    if alpha == 0:
        return hard
    if alpha == 1:
        return soft
    return alpha * soft + (1 - alpha) * hard


def _dense(teacher_logits_BTV: torch.Tensor) -> DenseTargets:
    batch, rows = teacher_logits_BTV.shape[:2]
    return DenseTargets(
        logits_BTV=teacher_logits_BTV.detach(),
        lengths_B=torch.full((batch,), rows),
    )


def _check_shapes(student_logits_BTV: torch.Tensor, labels_BT: torch.Tensor, targets: Targets) -> None:
    if student_logits_BTV.ndim != 3 or student_logits_BTV.shape[:2] != labels_BT.shape:
        raise Mismatch(
            f"student logits of shape {tuple(student_logits_BTV.shape)} do not match labels of shape "
            f"{tuple(labels_BT.shape)}: they must be [B, T, V] and [B, T]"
        )
    # Of targets of any kind, what has a row for each token comes first.
    rows = next(tensor for tensor in attrs.astuple(targets, recurse=False) if isinstance(tensor, torch.Tensor))
    if rows.ndim != 3 or rows.shape[0] != labels_BT.shape[0]:
        raise Mismatch(
            f"teacher logits of shape {tuple(rows.shape)} do not match labels of shape "
            f"{tuple(labels_BT.shape)}: they must be [B, T, V] and [B, T]"
        )
