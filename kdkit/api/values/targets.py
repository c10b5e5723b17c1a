"""The teacher's targets for a batch, as a loss sees them, and the part that belongs to some label tokens.

Targets of some of a batch's examples each are joined to targets of all, kind by kind (`joined`): a cache may hold
records of several codec states, and a batch of such records is decoded state by state.

Letters: B batch, T target, V vocabulary, R coordinates, K entries kept, N label tokens, M those that the teacher has
rows for, X whatever a row holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from kdkit.api.values.batches import LabelPlaces, joined_rows, sent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from kdkit.api.values.batches import Places

    Memory = Callable[[tuple[int, int], torch.Tensor], torch.Tensor]


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
        """How many rows an example has room for, T."""
        return self.logits_BTV.shape[1]

    def logits(self, rows: TeacherRows) -> torch.Tensor:
        """The logits of the rows that are known, `[M, V]`, in float32 or wider; do not change them in place."""
        return widened(rows.known(self.logits_BTV))

    @classmethod
    def joined(cls, parts: Sequence[DenseTargets], places: Places) -> DenseTargets:
        """Join the targets of parts, each of which has the examples at its places; in the widest of their floats."""
        return cls(
            logits_BTV=joined_rows([each.logits_BTV for each in parts], places),
            lengths_B=joined_rows([each.lengths_B for each in parts], places),
        )


@attrs.frozen(kw_only=True, eq=False)
class QuantizedTargets:
    """A batch of teacher logits as codes on even grids: `(code - zero_point) * scale`, one operation after the other.

    Where a row has a tail, code 0 stands for it, and each other code for `((code - 1) - zero_point) * scale`.

    Attributes:
        codes_BTV: uint8; rows from `lengths_B[b]` on are padding and never read.
        scale_BT: float32, the step of each row's grid.
        zero_point_BT: float32, the code of logit 0 on it, which may lie between codes or beyond them.
        tail_BT: float32, what code 0 stands for in each row; NaN in a row where it is a code like any other, and None
            where it is one in all rows.
        lengths_B: How many rows of each example are real, on the CPU.
    """

    codes_BTV: torch.Tensor
    scale_BT: torch.Tensor
    zero_point_BT: torch.Tensor
    tail_BT: torch.Tensor | None = None
    lengths_B: torch.Tensor

    @property
    def width(self) -> int:
        """How many rows an example has room for, T."""
        return self.codes_BTV.shape[1]

    def logits(self, rows: TeacherRows) -> torch.Tensor:
        """The logits of the rows that are known, `[M, V]`, in float32 or wider."""
        import torch

        codes_MV = rows.known(self.codes_BTV)
        logits_MV = codes_MV.to(self.scale_BT.dtype)
        zero_point_M1, scale_M1 = rows.known(self.zero_point_BT)[:, None], rows.known(self.scale_BT)[:, None]
        if self.tail_BT is None:
            logits_MV -= zero_point_M1
            logits_MV *= scale_M1
            return logits_MV
        tail_M1 = rows.known(self.tail_BT)[:, None]
        has_tail_M1 = ~tail_M1.isnan()
        logits_MV -= has_tail_M1.to(logits_MV.dtype)
        logits_MV -= zero_point_M1
        logits_MV *= scale_M1
        return torch.where((codes_MV == 0) & has_tail_M1, tail_M1, logits_MV)

    @classmethod
    def joined(cls, parts: Sequence[QuantizedTargets], places: Places) -> QuantizedTargets:
        """Join the targets of parts, each of which has the examples at its places."""
        none = float("nan")
        tails = [
            each.scale_BT.new_full((), none).expand_as(each.scale_BT) if each.tail_BT is None else each.tail_BT
            for each in parts
        ]
        return cls(
            codes_BTV=joined_rows([each.codes_BTV for each in parts], places),
            scale_BT=joined_rows([each.scale_BT for each in parts], places),
            zero_point_BT=joined_rows([each.zero_point_BT for each in parts], places),
            tail_BT=None if all(each.tail_BT is None for each in parts) else joined_rows(tails, places),
            lengths_B=joined_rows([each.lengths_B for each in parts], places),
        )


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
        """How many rows an example has room for, T."""
        return self.coordinates_BTR.shape[1]

    def logits(self, rows: TeacherRows, out: torch.Tensor | None = None) -> torch.Tensor:
        """The logits of the rows that are known, `[M, V]`, in float32; in the memory of `out`, if that is given."""
        import torch

        return torch.addmm(self.offset_V, rows.known(self.coordinates_BTR), self.basis_RV, out=out)

    @classmethod
    def joined(cls, parts: Sequence[FactoredTargets], places: Places) -> FactoredTargets:
        """Join the targets of parts, each of which has the examples at its places; all over one basis."""
        first = parts[0]
        assert all(each.basis_RV is first.basis_RV and each.offset_V is first.offset_V for each in parts)
        return cls(
            coordinates_BTR=joined_rows([each.coordinates_BTR for each in parts], places),
            basis_RV=first.basis_RV,
            offset_V=first.offset_V,
            lengths_B=joined_rows([each.lengths_B for each in parts], places),
        )


@attrs.frozen(kw_only=True, eq=False)
class SparseTargets:
    """A batch of teacher distributions: some entries, and the mass of the others together.

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
        """How many rows an example has room for, T."""
        return self.ids_BTK.shape[1]

    @classmethod
    def joined(cls, parts: Sequence[SparseTargets], places: Places) -> SparseTargets | None:
        """Join the targets of parts, each of which has the examples at its places.

        None if the parts know the mass of the entries that are not kept at different temperatures.
        """
        temperatures = parts[0].log_tail_BT.keys()
        if any(each.log_tail_BT.keys() != temperatures for each in parts):
            return None
        nothing = float("-inf")
        return cls(
            ids_BTK=joined_rows([each.ids_BTK for each in parts], places, fill=-1),
            values_BTK=joined_rows([each.values_BTK for each in parts], places, fill=nothing),
            log_tail_BT={
                temperature: joined_rows([each.log_tail_BT[temperature] for each in parts], places, fill=nothing)
                for temperature in temperatures
            },
            vocab_size=parts[0].vocab_size,
            lengths_B=joined_rows([each.lengths_B for each in parts], places),
        )


def widened(logits_NV: torch.Tensor) -> torch.Tensor:
    """Logits in float32 where they are in half precision."""
    import torch

    return logits_NV.float() if logits_NV.dtype in (torch.bfloat16, torch.float16) else logits_NV


Targets: TypeAlias = DenseTargets | QuantizedTargets | FactoredTargets | SparseTargets


@attrs.frozen(kw_only=True, eq=False)
class TeacherRows:
    """The teacher's targets for N label tokens: which rows of a batch's targets are theirs.

    Rows are picked, and made into logits, only when a loss asks for them: for a chunk of tokens, not for all.
    What says which rows is in the memory of the CPU, as in `LabelPlaces`.

    Attributes:
        targets: The batch's targets.
        example_N: The example of each token.
        position_N: Its place among the example's target tokens.
        known_N: Whether the targets have a row for it.
    """

    targets: Targets
    example_N: torch.Tensor
    position_N: torch.Tensor
    known_N: torch.Tensor

    def between(self, start: int, stop: int) -> TeacherRows:
        """The targets of some of the tokens."""
        chosen = slice(start, stop)
        return attrs.evolve(
            self,
            example_N=self.example_N[chosen],
            position_N=self.position_N[chosen],
            known_N=self.known_N[chosen],
        )

    def multiplied(self, memory: Memory | None = None) -> TeacherRows:
        """The same rows with factored targets multiplied out: one matrix product for all is the quickest.

        Args:
            memory: Gives a tensor of a shape, and of the type and device of another, to put them into.
        """
        import torch

        if not isinstance(self.targets, FactoredTargets):
            return self
        basis_RV = self.targets.basis_RV
        shape = int(self.known_N.sum()), basis_RV.shape[1]
        logits_MV = self.targets.logits(self, out=memory(shape, basis_RV) if memory is not None else None)
        return TeacherRows(
            targets=DenseTargets(logits_BTV=logits_MV[None], lengths_B=torch.tensor([len(logits_MV)])),
            example_N=torch.zeros_like(self.example_N),
            position_N=(self.known_N.cumsum(0) - 1).clamp(min=0),
            known_N=self.known_N,
        )

    def known(self, rows_BTX: torch.Tensor) -> torch.Tensor:
        """The known rows of the targets, `[M, X]`, on the targets' device; do not change them in place.

        Rows that lie one after the other are not copied.
        """
        import torch

        places = LabelPlaces(example_N=self.example_N[self.known_N], position_N=self.position_N[self.known_N])
        width = rows_BTX.shape[1]
        if rows_BTX.stride(0) != width * rows_BTX.stride(1):  # not one row after the other in memory
            return places.pick(rows_BTX)
        # Several times as quick as by example and position, on the CPU most of all.
        row_M = places.example_N * width + places.position_N
        first = int(row_M[0]) if len(row_M) else 0
        if torch.equal(row_M, torch.arange(first, first + len(row_M))):
            return rows_BTX.flatten(0, 1)[first : first + len(row_M)]
        return rows_BTX.flatten(0, 1).index_select(0, sent(row_M, rows_BTX.device))

    def shared(self, rows_NX: torch.Tensor) -> torch.Tensor:
        """The rows of the tokens that the teacher knows, `[M, X]`, out of rows of all tokens, such as the student's."""
        if bool(self.known_N.all()):
            return rows_NX
        return rows_NX[sent(self.known_N.nonzero()[:, 0], rows_NX.device)]
