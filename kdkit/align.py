"""Teacher targets and student logits -> two log-probability tensors on one support, at one temperature.

Everything that can differ between the two is settled here and nowhere else:
rows (label tokens for which the teacher has a row), vocabulary (the first min(V_s, V_t) entries; model vocabularies are
padded to round widths, so the wider one's tail holds no token) and temperature.

Letters: B batch, T target tokens, V vocabulary, N label tokens that count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

if TYPE_CHECKING:
    from kdkit.values import Targets

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
    rows_B = targets.lengths_B.to(labels_BT.device).clamp(max=targets.logits_BTV.shape[1])
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

    With a large vocabulary these tensors are what a step's memory goes to, so what is the same is not made twice.

    Args:
        student: The student's rows.
        labels_BT: Labels, -100 where masked.
        targets: The teacher's rows.
        temperature: Divides both logits.
    """
    mask_BT = target_mask(labels_BT, targets)
    width = min(student.logits_NV.shape[-1], targets.logits_BTV.shape[-1])
    length = min(labels_BT.shape[1], targets.logits_BTV.shape[1])
    teacher_NV = targets.logits_BTV.to(labels_BT.device)[:, :length][mask_BT[:, :length]][:, :width]
    same_rows = len(teacher_NV) == len(student.logits_NV)  # the teacher's tokens are some of the student's
    if temperature == 1 and width == student.logits_NV.shape[-1]:
        student_logp_NV = student.logp_NV if same_rows else student.logp_NV[mask_BT[student.mask_BT]]
    else:
        student_NV = student.logits_NV if same_rows else student.logits_NV[mask_BT[student.mask_BT]]
        student_logp_NV = log_softmax(student_NV[:, :width], temperature)
    return Aligned(teacher_logp_NV=log_softmax(teacher_NV, temperature), student_logp_NV=student_logp_NV)


def log_softmax(logits_NV: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Log-probabilities at a temperature; half precision is widened first."""
    if logits_NV.dtype in (torch.bfloat16, torch.float16):
        logits_NV = logits_NV.float()
    return torch.log_softmax(logits_NV if temperature == 1 else logits_NV / temperature, dim=-1)
