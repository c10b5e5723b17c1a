"""Teacher targets and student logits -> two log-probability tensors on one support, at one temperature.

Everything that can differ between the two is settled here and nowhere else:
rows (label tokens for which the teacher has a row), vocabulary (the first min(V_s, V_t) entries; model vocabularies are
padded to round widths, so the wider one's tail holds no token) and temperature.

Letters: B batch, T target tokens, V vocabulary, K entries kept, N label tokens, M those that the teacher has rows for,
X whatever a row holds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import torch

from kdkit.api.values import IGNORED, LabelPlaces, SparseTargets, TeacherRows
from kdkit.api.values.targets import widened
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from kdkit.api.values import Targets


@attrs.frozen(kw_only=True, eq=False)
class Aligned:
    """Log-probabilities of the same M tokens over the same V entries."""

    teacher_logp_MV: torch.Tensor
    student_logp_MV: torch.Tensor


def label_mask(labels_BT: torch.Tensor) -> torch.Tensor:
    """Where there is a label: bool `[B, T]`."""
    return labels_BT != IGNORED


def teacher_rows(targets: Targets, places: LabelPlaces) -> TeacherRows:
    """The rows of a batch's label tokens, example by example."""
    rows_B = _rows_of_examples(targets)
    return TeacherRows(
        targets=targets,
        example_N=places.example_N,
        position_N=places.position_N,
        known_N=places.position_N < rows_B[places.example_N],
    )


def all_rows(targets: Targets) -> TeacherRows:
    """Every row that a batch's targets have, example by example."""
    real_BT = torch.arange(targets.width) < _rows_of_examples(targets)[:, None]
    example_N, position_N = real_BT.nonzero(as_tuple=True)
    return TeacherRows(
        targets=targets,
        example_N=example_N,
        position_N=position_N,
        known_N=torch.ones_like(example_N, dtype=torch.bool),
    )


def _rows_of_examples(targets: Targets) -> torch.Tensor:
    return targets.lengths_B.cpu().clamp(max=targets.width)


@attrs.frozen(kw_only=True, eq=False)
class StudentRows:
    """The student's logits of N label tokens, and their log-softmax, which both terms of a loss may need.

    Attributes:
        logits_NV: The logits.
        logp_NV: Their log-probabilities at temperature 1, for the hard loss.
    """

    logits_NV: torch.Tensor
    logp_NV: torch.Tensor


def student_rows(logits_NV: torch.Tensor) -> StudentRows:
    """The student's logits of some tokens, with their log-softmax."""
    return StudentRows(logits_NV=logits_NV, logp_NV=log_softmax(logits_NV))


def align(student: StudentRows, teacher: TeacherRows, *, temperature: float) -> Aligned:
    """Log-probabilities of teacher and student at the temperature, over the M tokens that the teacher has rows for.

    Of sparse targets the support is the K entries kept and one more, which stands for all others together: the
    divergence of these K + 1 is never more than that of all V, and equals it at K = V.
    With a large vocabulary these tensors are what a step's memory goes to, so what is the same is not made twice.

    Args:
        student: The student's rows of N tokens.
        teacher: The teacher's of the same tokens.
        temperature: Divides both logits.

    Raises:
        UsageError: The targets are sparse, and not known at this temperature.
    """
    if isinstance(teacher.targets, SparseTargets):
        return _align_sparse(student, teacher, teacher.targets, temperature)
    teacher_MV = teacher.targets.logits(teacher)
    width = min(student.logits_NV.shape[-1], teacher_MV.shape[-1])
    teacher_logp_MV = log_softmax(teacher_MV[:, :width].to(student.logits_NV.device), temperature)
    del teacher_MV
    return Aligned(teacher_logp_MV=teacher_logp_MV, student_logp_MV=_student_logp(student, teacher, width, temperature))


def _align_sparse(student: StudentRows, teacher: TeacherRows, targets: SparseTargets, temperature: float) -> Aligned:
    if temperature not in targets.log_tail_BT:
        known = ", ".join(f"{each:g}" for each in targets.log_tail_BT)
        raise UsageError(f"these logits are known only at temperature {known}, not at {temperature:g}")
    width = min(student.logits_NV.shape[-1], targets.vocab_size)
    ids_MK, values_MK = teacher.known(targets.ids_BTK).long(), teacher.known(targets.values_BTK)
    log_tail_M1 = teacher.known(targets.log_tail_BT[temperature])[:, None]
    kept_MK = (ids_MK >= 0) & (ids_MK < width)
    # Entries that the student has no token for go, and the others take their mass, as with dense targets.
    kept_logp_MK = torch.log_softmax(values_MK / temperature, dim=-1).masked_fill(~kept_MK, -math.inf)
    left_M1 = kept_logp_MK.logsumexp(-1, keepdim=True)
    # Where the student has no other entry, all others are of tokens that it does not have.
    log_tail_M1 = log_tail_M1.masked_fill(kept_MK.sum(-1, keepdim=True) == width, -math.inf)
    log_tail_M1 = log_tail_M1 - torch.logaddexp(log_tail_M1, log_complement(log_tail_M1) + left_M1)
    # Where it has none of the kept ones, all that is left of the row is its tail, however little that was.
    log_tail_M1 = log_tail_M1.masked_fill(left_M1 == -math.inf, 0.0)
    kept_logp_MK = torch.where(kept_MK, kept_logp_MK - left_M1 + log_complement(log_tail_M1), -math.inf)
    logp_MV = _student_logp(student, teacher, width, temperature)
    student_MK, others_M1 = _KeptAndOthers.apply(logp_MV, ids_MK, kept_MK)  # type: ignore[no-untyped-call]
    return Aligned(
        teacher_logp_MV=torch.cat([kept_logp_MK, log_tail_M1], dim=-1),
        student_logp_MV=torch.cat([student_MK, others_M1], dim=-1),
    )


def _student_logp(student: StudentRows, teacher: TeacherRows, width: int, temperature: float) -> torch.Tensor:
    """Those of the rows that the teacher has, over so many entries; made once where the hard loss has the same."""
    if temperature == 1 and width == student.logits_NV.shape[-1]:
        return teacher.shared(student.logp_NV)
    return log_softmax(teacher.shared(student.logits_NV)[:, :width], temperature)


class _KeptAndOthers(torch.autograd.Function):
    """Log-probabilities of some entries, and of all others together.

    Written out, since autograd would keep and read half a dozen more tensors as large as the logits. The log-sum-exp of
    the others is over these alone: 1 minus the mass of the kept ones would round a small rest away.
    """

    @staticmethod
    def forward(
        ctx: Any, logp_MV: torch.Tensor, ids_MK: torch.Tensor, kept_MK: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives `[M, K]`, -inf where nothing is kept, and `[M, 1]`, -inf where nothing else is left."""
        # An entry that is not kept stands at the place of one that is.
        has_any_M1 = kept_MK.any(-1, keepdim=True)
        first_M1 = ids_MK.gather(-1, kept_MK.long().argmax(-1, keepdim=True))
        place_MK = torch.where(kept_MK, ids_MK, first_M1).where(has_any_M1, 0)
        others_MV = logp_MV.scatter(-1, place_MK, -math.inf)
        most_M1 = others_MV.amax(-1, keepdim=True)
        most_M1 = most_M1.masked_fill(most_M1 == -math.inf, 0)
        others_MV.sub_(most_M1).exp_()
        sum_M1 = others_MV.sum(-1, keepdim=True)
        ctx.save_for_backward(others_MV, sum_M1, place_MK, kept_MK)
        # Where none is kept, the others are all there is: 0, whatever the student says.
        others_M1 = (sum_M1.log() + most_M1).where(has_any_M1, 0)
        return logp_MV.gather(-1, place_MK).masked_fill(~kept_MK, -math.inf), others_M1

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The others have none where nothing else is left, or nothing is kept."""
        kept_gradient_MK, others_gradient_M1 = gradients
        others_MV, sum_M1, place_MK, kept_MK = ctx.saved_tensors
        has_M1 = (sum_M1 > 0) & kept_MK.any(-1, keepdim=True)
        gradient_MV = others_MV * (others_gradient_M1 / sum_M1).where(has_M1, 0)
        gradient_MV.scatter_add_(-1, place_MK, kept_gradient_MK.where(kept_MK, 0))
        return gradient_MV, None, None


def log_complement(logp: torch.Tensor) -> torch.Tensor:
    """log(1 - p) of log-probabilities, as exact for a p next to 1 as for one next to 0."""
    return torch.where(logp > -math.log(2), torch.log(-torch.expm1(logp)), torch.log1p(-logp.exp()))


def log_softmax(logits_NV: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Log-probabilities at a temperature; half precision is widened first."""
    logits_NV = widened(logits_NV)
    return torch.log_softmax(logits_NV if temperature == 1 else logits_NV / temperature, dim=-1)
