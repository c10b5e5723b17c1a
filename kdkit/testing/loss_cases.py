"""Random batches to try losses on, in float64, and what a loss says of them.

Letters: B batch, T target tokens, V vocabulary, N label tokens.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from kdkit.api.interfaces import LossMixer
    from kdkit.api.values import (
        DenseTargets,
        FactoredTargets,
        LossParts,
        QuantizedTargets,
        SparseTargets,
        Targets,
        TeacherRows,
        TokenCounts,
    )

NEAR = 1e-8
"""How near two numbers must be that should be the same: everything is tried in float64."""

# Of a grid of four bits.
_STEPS = 15


@attrs.frozen(kw_only=True, eq=False)
class Case:
    """A batch: logits of both models, labels, and how many rows the teacher has of each example."""

    student_BTV: torch.Tensor
    teacher_BTV: torch.Tensor
    labels_BT: torch.Tensor
    lengths_B: torch.Tensor

    @property
    def dense(self) -> DenseTargets:
        """The teacher's logits as they are."""
        from kdkit.api.values import DenseTargets

        return DenseTargets(logits_BTV=self.teacher_BTV, lengths_B=self.lengths_B)

    @property
    def factored(self) -> FactoredTargets:
        """The same, as a product."""
        import torch

        from kdkit.api.values import FactoredTargets

        vocab_size = self.teacher_BTV.shape[-1]
        return FactoredTargets(
            coordinates_BTR=self.teacher_BTV / 2,
            basis_RV=torch.eye(vocab_size, dtype=self.teacher_BTV.dtype) * 2,
            offset_V=self.teacher_BTV.new_zeros(vocab_size),
            lengths_B=self.lengths_B,
        )

    @property
    def quantized(self) -> QuantizedTargets:
        """The same but for rounding: four bits on a grid of each row's own, and a tail below it."""
        import torch

        from kdkit.api.values import QuantizedTargets

        low_BT1, high_BT1 = self.teacher_BTV.aminmax(dim=-1, keepdim=True)
        scale_BT1 = (high_BT1 - low_BT1).clamp(min=1e-3) / _STEPS
        zero_point_BT1 = -low_BT1 / scale_BT1
        codes_BTV = (self.teacher_BTV / scale_BT1 + zero_point_BT1).round().clamp(0, _STEPS) + 1
        codes_BTV[codes_BTV == 1] = 0
        return QuantizedTargets(
            codes_BTV=codes_BTV.to(torch.uint8),
            scale_BT=scale_BT1[..., 0],
            zero_point_BT=zero_point_BT1[..., 0],
            tail_BT=low_BT1[..., 0] - 1,
            lengths_B=self.lengths_B,
        )

    @property
    def rounded(self) -> Case:
        """The case with logits that `quantized` holds without another rounding."""
        import torch

        codes = self.quantized
        assert codes.tail_BT is not None
        above_BTV = (codes.codes_BTV - 1.0 - codes.zero_point_BT[..., None]) * codes.scale_BT[..., None]
        teacher_BTV = torch.where(codes.codes_BTV == 0, codes.tail_BT[..., None], above_BTV)
        return attrs.evolve(self, teacher_BTV=teacher_BTV)

    def sparse(self, temperatures: Sequence[float]) -> SparseTargets:
        """The same, with every entry kept, the greatest first."""
        import torch

        from kdkit.api.values import SparseTargets

        values_BTK, ids_BTK = self.teacher_BTV.sort(dim=-1, descending=True)
        nothing_BT = torch.full(values_BTK.shape[:2], -torch.inf, dtype=values_BTK.dtype)
        return SparseTargets(
            ids_BTK=ids_BTK,
            values_BTK=values_BTK,
            log_tail_BT=dict.fromkeys(temperatures, nothing_BT),
            vocab_size=values_BTK.shape[-1],
            lengths_B=self.lengths_B,
        )


def cases(*, count: int = 12, same_width: bool = False) -> Iterator[Case]:
    """Batches of random shapes, masks and spreads; the same at every call.

    Args:
        count: How many.
        same_width: Whether both vocabularies have one width; else the teacher's is wider, or narrower, or the same.
    """
    import torch

    for seed in range(count):
        draw = torch.Generator().manual_seed(seed)

        def number(low: int, high: int, draw: torch.Generator = draw) -> int:
            return int(torch.randint(low, high + 1, (), generator=draw))

        batch, tokens, vocab_size = number(1, 3), number(2, 6), number(5, 12)
        teacher_size = vocab_size if same_width else vocab_size + number(-2, 2)
        spread = (0.1, 1.0, 5.0)[seed % 3]
        labels_BT = torch.randint(0, vocab_size, (batch, tokens), generator=draw)
        labels_BT[torch.rand(labels_BT.shape, generator=draw) < (0.0, 0.3)[seed % 2]] = -100
        labels_BT[0, 0] = 1  # one label and one row of the teacher's, at least
        lengths_B = torch.randint(0, tokens + 1, (batch,), generator=draw)
        lengths_B[0] = max(int(lengths_B[0]), 1)
        yield Case(
            student_BTV=_normal((batch, tokens, vocab_size), draw) * spread,
            teacher_BTV=_normal((batch, tokens, teacher_size), draw) * spread,
            labels_BT=labels_BT,
            lengths_B=lengths_B,
        )


@attrs.frozen(kw_only=True, eq=False)
class Outcome:
    """What a loss says of some tokens: its parts, and the total's gradient with respect to the student's logits."""

    total: float
    hard: float
    soft: float
    grad_NV: torch.Tensor

    @property
    def values(self) -> tuple[float, float, float]:
        """Total, hard and soft."""
        return (self.total, self.hard, self.soft)


@attrs.frozen(kw_only=True, eq=False)
class Tokens:
    """The label tokens of a case, as a loss sees them."""

    student_NV: torch.Tensor
    labels_N: torch.Tensor
    teacher: TeacherRows | None
    counts: TokenCounts

    @classmethod
    def of(cls, case: Case, targets: Targets | None) -> Tokens:
        """All label tokens of a case."""
        from kdkit.api.values import LabelPlaces
        from kdkit.losses import token_counts
        from kdkit.losses.alignment import label_mask, teacher_rows

        mask_BT = label_mask(case.labels_BT)
        return cls(
            student_NV=case.student_BTV[mask_BT],
            labels_N=case.labels_BT[mask_BT],
            teacher=teacher_rows(targets, LabelPlaces.of(case.labels_BT)) if targets is not None else None,
            counts=token_counts(case.labels_BT, targets),
        )

    def between(self, start: int, stop: int) -> Tokens:
        """Some of them, with the counts of all."""
        return attrs.evolve(
            self,
            student_NV=self.student_NV[start:stop],
            labels_N=self.labels_N[start:stop],
            teacher=self.teacher.between(start, stop) if self.teacher is not None else None,
        )

    def outcome(self, loss: LossMixer) -> Outcome:
        """What a loss says of them."""
        import torch

        leaf_NV = self.student_NV.clone().requires_grad_()
        parts = self.parts(loss, leaf_NV)
        (grad_NV,) = torch.autograd.grad(parts.total, leaf_NV)
        return Outcome(
            total=float(parts.total.detach()), hard=float(parts.hard), soft=float(parts.soft), grad_NV=grad_NV
        )

    def parts(self, loss: LossMixer, student_NV: torch.Tensor) -> LossParts:
        """The loss of other logits for the same tokens."""
        return loss(student_NV, self.labels_N, self.teacher, self.counts)


def _normal(shape: tuple[int, ...], draw: torch.Generator) -> torch.Tensor:
    import torch

    return torch.randn(shape, generator=draw, dtype=torch.float64)


def near(loss: LossMixer, what: str, found: float, expected: float) -> None:
    """Check that a number of a loss is the one expected."""
    assert math.isclose(found, expected, rel_tol=NEAR, abs_tol=NEAR), (
        f"{loss!r}: {what} is {found:.12g}, and should be {expected:.12g}"
    )
