"""Teacher targets and student logits -> two log-probability tensors on one support, at one temperature.

Everything that can differ between the two is settled here and nowhere else:
rows (label tokens for which the teacher has a row), vocabulary (the first min(V_s, V_t) entries; model vocabularies are
padded to round widths, so the wider one's tail holds no token) and temperature.

Letters: B batch, T target tokens, V vocabulary, K entries kept, N label tokens that count.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import torch

from kdkit.errors import UsageError
from kdkit.values import DenseTargets, SparseTargets

if TYPE_CHECKING:
    from kdkit.values import FactoredTargets, Targets

IGNORED = -100


@attrs.frozen(kw_only=True, eq=False)
class Aligned:
    """Log-probabilities of the same N tokens over the same V entries."""

    teacher_logp_NV: torch.Tensor
    student_logp_NV: torch.Tensor


def label_mask(labels_BT: torch.Tensor) -> torch.Tensor:
    """Where there is a label: bool `[B, T]`."""
    return labels_BT != IGNORED


def target_mask(labels_BT: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Where there is a label and the teacher has a row for it: bool `[B, T]`."""
    positions_T = torch.arange(labels_BT.shape[1], device=labels_BT.device)
    rows_B = targets.lengths_B.to(labels_BT.device).clamp(max=targets.width)
    return label_mask(labels_BT) & (positions_T < rows_B[:, None])


@attrs.frozen(kw_only=True, eq=False)
class StudentRows:
    """The student's logits of the label tokens, picked out once for both terms of a loss, and their log-softmax.

    Attributes:
        mask_BT: Where there is a label.
        logits_NV: The rows there.
        logp_NV: Their log-probabilities at temperature 1, for the hard loss.
    """

    mask_BT: torch.Tensor
    logits_NV: torch.Tensor
    logp_NV: torch.Tensor


def student_rows(student_logits_BTV: torch.Tensor, labels_BT: torch.Tensor) -> StudentRows:
    """The student's side of a batch."""
    mask_BT = label_mask(labels_BT)
    logits_NV = student_logits_BTV[mask_BT]
    return StudentRows(mask_BT=mask_BT, logits_NV=logits_NV, logp_NV=log_softmax(logits_NV))


def align(student: StudentRows, labels_BT: torch.Tensor, targets: Targets, *, temperature: float) -> Aligned:
    """Log-softmax of both at the temperature, over the label tokens that the teacher has rows for.

    Of sparse targets the support is the K entries kept and one more, which stands for all others together: the
    divergence of these K + 1 is never more than that of all V, and equals it at K = V.
    With a large vocabulary these tensors are what a step's memory goes to, so what is the same is not made twice.

    Args:
        student: The student's rows.
        labels_BT: Labels, -100 where masked.
        targets: The teacher's rows.
        temperature: Divides both logits.

    Raises:
        UsageError: The targets are sparse, and not known at this temperature.
    """
    mask_BT = target_mask(labels_BT, targets)
    if isinstance(targets, SparseTargets):
        return _align_sparse(student, mask_BT, targets, temperature)
    teacher_NV = _teacher_logits(targets, mask_BT)
    width = min(student.logits_NV.shape[-1], teacher_NV.shape[-1])
    teacher_NV = teacher_NV[:, :width]
    if temperature == 1 and width == student.logits_NV.shape[-1]:
        student_logp_NV = _shared_rows(student.logp_NV, student, mask_BT)
    else:
        student_logp_NV = log_softmax(_shared_rows(student.logits_NV, student, mask_BT)[:, :width], temperature)
    return Aligned(teacher_logp_NV=log_softmax(teacher_NV, temperature), student_logp_NV=student_logp_NV)


def _align_sparse(student: StudentRows, mask_BT: torch.Tensor, targets: SparseTargets, temperature: float) -> Aligned:
    if temperature not in targets.log_tail_BT:
        known = ", ".join(f"{each:g}" for each in targets.log_tail_BT)
        raise UsageError(f"these logits are known at temperature {known} only, and not at {temperature:g}")
    logits_NV = _shared_rows(student.logits_NV, student, mask_BT)[:, : targets.vocab_size].float()
    width = logits_NV.shape[-1]
    ids_NK, values_NK = _picked(targets.ids_BTK, mask_BT), _picked(targets.values_BTK, mask_BT)
    log_tail_N1 = _picked(targets.log_tail_BT[temperature], mask_BT)[:, None]
    kept_NK = (ids_NK >= 0) & (ids_NK < width)
    # Entries that the student has no token for go, and the others take their mass, as with dense targets.
    gone_NK = torch.log_softmax(values_NK / temperature, dim=-1).masked_fill(kept_NK | (ids_NK < 0), -math.inf)
    left_N1 = torch.log1p(-gone_NK.logsumexp(-1, keepdim=True).exp().clamp(max=1 - 2**-20))
    log_tail_N1 = log_tail_N1 - torch.logaddexp(log_tail_N1, torch.log1p(-log_tail_N1.exp()) + left_N1)
    values_NK = (values_NK / temperature).masked_fill(~kept_NK, -math.inf)
    kept_logp_NK = torch.log_softmax(values_NK, dim=-1) + torch.log1p(-log_tail_N1.exp())
    tempered_NV = logits_NV / temperature
    total_N1 = tempered_NV.logsumexp(-1, keepdim=True)
    ids_NK = ids_NK.clamp(min=0, max=width - 1)
    student_NK = (tempered_NV.gather(-1, ids_NK) - total_N1).masked_fill(~kept_NK, -math.inf)
    others_NV = tempered_NV.scatter(-1, _own_or_first(ids_NK, kept_NK), -math.inf)
    return Aligned(
        teacher_logp_NV=torch.cat([kept_logp_NK, log_tail_N1], dim=-1),
        student_logp_NV=torch.cat([student_NK, others_NV.logsumexp(-1, keepdim=True) - total_N1], dim=-1),
    )


def _own_or_first(ids_NK: torch.Tensor, kept_NK: torch.Tensor) -> torch.Tensor:
    """The ids, where one that is not kept repeats one that is: what is done to the entries is done to no other."""
    first_N1 = ids_NK.gather(-1, kept_NK.int().argmax(-1, keepdim=True))
    return torch.where(kept_NK, ids_NK, first_N1)


def _teacher_logits(targets: DenseTargets | FactoredTargets, mask_BT: torch.Tensor) -> torch.Tensor:
    """The teacher's logits `[N, V]` of the tokens of a mask."""
    if isinstance(targets, DenseTargets):
        return _picked(targets.logits_BTV, mask_BT)
    return torch.addmm(targets.offset_V, _picked(targets.coordinates_BTR, mask_BT), targets.basis_RV)


def _picked(rows_BTX: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """The rows of a mask that may be longer or shorter than they are."""
    length = min(mask_BT.shape[1], rows_BTX.shape[1])
    return rows_BTX[:, :length].to(mask_BT.device)[mask_BT[:, :length]]


def _shared_rows(rows_NV: torch.Tensor, student: StudentRows, mask_BT: torch.Tensor) -> torch.Tensor:
    """Of the student's rows those of a mask: the tokens that the teacher has rows for are some of the student's."""
    chosen_N = mask_BT[student.mask_BT]
    return rows_NV if bool(chosen_N.all()) else rows_NV[chosen_N]


def log_softmax(logits_NV: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Log-probabilities at a temperature; half precision is widened first."""
    if logits_NV.dtype in (torch.bfloat16, torch.float16):
        logits_NV = logits_NV.float()
    return torch.log_softmax(logits_NV if temperature == 1 else logits_NV / temperature, dim=-1)
