"""What a teacher says of a batch, as a loss sees it.

Letters: B batch, T target, V vocabulary, R coordinates, K entries kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch


@attrs.frozen(kw_only=True, eq=False)
class DenseTargets:
    """A batch of teacher logits: every entry of the vocabulary.

    Attributes:
        logits_BTV: Floats of any width, half precision being widened where a loss asks for a row; rows from
            `lengths_B[b]` on are padding and never read.
        lengths_B: How many rows of each example are real, on the CPU.
    """

    logits_BTV: torch.Tensor
    lengths_B: torch.Tensor

    @property
    def width(self) -> int:
        """How many rows there is room for, T."""
        return self.logits_BTV.shape[1]


@attrs.frozen(kw_only=True, eq=False)
class QuantizedTargets:
    """A batch of teacher logits as codes on even grids: `(code - zero_point) * scale`, one operation after the other.

    Where a row has a tail, code 0 stands for it, and each other code for `((code - 1) - zero_point) * scale`.

    Attributes:
        codes_BTV: uint8; rows from `lengths_B[b]` on are padding and never read.
        scale_BT: float32, the step of each row's grid.
        zero_point_BT: float32, the code of logit 0 on it, which may lie between codes or beyond them.
        tail_BT: float32, what code 0 stands for in each row; None where it is a code like any other.
        lengths_B: How many rows of each example are real, on the CPU.
    """

    codes_BTV: torch.Tensor
    scale_BT: torch.Tensor
    zero_point_BT: torch.Tensor
    tail_BT: torch.Tensor | None = None
    lengths_B: torch.Tensor

    @property
    def width(self) -> int:
        """How many rows there is room for, T."""
        return self.codes_BTV.shape[1]


@attrs.frozen(kw_only=True, eq=False)
class FactoredTargets:
    """A batch of teacher logits as coordinates in a space that all share: `coordinates_BTR @ basis_RV + offset_V`.

    Attributes:
        coordinates_BTR: float32; rows from `lengths_B[b]` on are padding and never read.
        basis_RV: float32.
        offset_V: float32.
        lengths_B: How many rows of each example are real, on the CPU.
    """

    coordinates_BTR: torch.Tensor
    basis_RV: torch.Tensor
    offset_V: torch.Tensor
    lengths_B: torch.Tensor

    @property
    def width(self) -> int:
        """How many rows there is room for, T."""
        return self.coordinates_BTR.shape[1]


@attrs.frozen(kw_only=True, eq=False)
class SparseTargets:
    """A batch of teacher distributions of which some entries are kept, and of the others only their mass.

    At temperature t the kept entries share the probability `1 - exp(log_tail_BT[t])` in the proportions of
    `softmax(values_BTK / t)`.

    Attributes:
        ids_BTK: int32 or int64, the entries kept, none twice in a row; -1 where a row keeps fewer than K.
        values_BTK: float32, their logits up to a constant of the row; -inf where there is no entry.
        log_tail_BT: By temperature, the logarithm of the mass of all other entries, float32; -inf for none.
        vocab_size: Width V of the distributions.
        lengths_B: How many rows of each example are real, on the CPU.
    """

    ids_BTK: torch.Tensor
    values_BTK: torch.Tensor
    log_tail_BT: Mapping[float, torch.Tensor]
    vocab_size: int
    lengths_B: torch.Tensor

    @property
    def width(self) -> int:
        """How many rows there is room for, T."""
        return self.ids_BTK.shape[1]


Targets: TypeAlias = DenseTargets | QuantizedTargets | FactoredTargets | SparseTargets
