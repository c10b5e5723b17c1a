"""Targets of some of a batch's examples each, made targets of them all.

A cache may hold records of several codec states: parts of it that were captured at different times or in different
places have learnt one each. A batch of such records is decoded state by state.

Letters: B batch, T target tokens, R coordinates, K entries kept, V vocabulary, X whatever a row holds.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, TypeAlias

import attrs
import torch

from kdkit.api.values import DenseTargets, FactoredTargets, QuantizedTargets, SparseTargets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import Targets

    # Which examples of the batch, and what is theirs.
    Part: TypeAlias = tuple[list[int], Targets]
    Rows: TypeAlias = tuple[list[int], torch.Tensor]


@attrs.frozen(eq=False)
class Joiner:
    """Joins targets, and keeps the basis that it makes: it is that of all states which have been met so far."""

    _known: list[FactoredTargets] = attrs.field(factory=list, init=False)
    _joint: list[torch.Tensor] = attrs.field(factory=list, init=False)

    def __call__(self, parts: Sequence[Part]) -> Targets | None:
        """The targets of all examples; None of kinds that do not go together."""
        if len(parts) == 1:
            return parts[0][1]
        lengths_B = _lengths(parts)
        dense = [(places, each) for places, each in parts if isinstance(each, DenseTargets)]
        if len(dense) == len(parts):
            return DenseTargets(logits_BTV=_rows([(p, each.logits_BTV) for p, each in dense]), lengths_B=lengths_B)
        quantized = [(places, each) for places, each in parts if isinstance(each, QuantizedTargets)]
        if len(quantized) == len(parts):
            return _quantized(quantized, lengths_B)
        sparse = [(places, each) for places, each in parts if isinstance(each, SparseTargets)]
        if len(sparse) == len(parts):
            return _sparse(sparse, lengths_B)
        factored = [(places, each) for places, each in parts if isinstance(each, FactoredTargets)]
        return self._factored(factored, lengths_B) if len(factored) == len(parts) else None

    def _factored(self, parts: Sequence[tuple[list[int], FactoredTargets]], lengths_B: torch.Tensor) -> FactoredTargets:
        """Over all bases together: each example has its part's coordinates, and a 1.

        The ones stand for the offsets, which are rows of the joint basis too.
        """
        joint_RV = self._joint_basis([each for _, each in parts])
        ranks = [len(each.basis_RV) for each in self._known]
        width = max(each.width for _, each in parts)
        coordinates_BTR = parts[0][1].coordinates_BTR.new_zeros((len(lengths_B), width, len(joint_RV)))
        for places, each in parts:
            number = next(i for i, known in enumerate(self._known) if known.basis_RV is each.basis_RV)
            start = sum(ranks[:number])
            coordinates_BTR[places, : each.width, start : start + ranks[number]] = each.coordinates_BTR
            coordinates_BTR[places, :, sum(ranks) + number] = 1
        return FactoredTargets(
            coordinates_BTR=coordinates_BTR,
            basis_RV=joint_RV,
            offset_V=torch.zeros_like(parts[0][1].offset_V),
            lengths_B=lengths_B,
        )

    def _joint_basis(self, parts: Sequence[FactoredTargets]) -> torch.Tensor:
        """Bases, then offsets, one below the other, of all states that were met so far."""
        new = [part for part in parts if self._met(part) is None]
        if new:
            # Of a batch's examples nothing is kept.
            self._known.extend(attrs.evolve(part, coordinates_BTR=part.coordinates_BTR[:0]) for part in new)
            bases, offsets = ([getattr(each, name) for each in self._known] for name in ("basis_RV", "offset_V"))
            self._joint[:] = [torch.cat([*bases, torch.stack(offsets)])]
        return self._joint[0]

    def _met(self, part: FactoredTargets) -> FactoredTargets | None:
        """What is kept of its state, if that was met before."""
        return next((each for each in self._known if each.basis_RV is part.basis_RV), None)


def _quantized(parts: Sequence[tuple[list[int], QuantizedTargets]], lengths_B: torch.Tensor) -> QuantizedTargets | None:
    tails = [(places, each.tail_BT) for places, each in parts if each.tail_BT is not None]
    if len(tails) not in (0, len(parts)):
        return None
    return QuantizedTargets(
        codes_BTV=_rows([(places, each.codes_BTV) for places, each in parts]),
        scale_BT=_rows([(places, each.scale_BT) for places, each in parts]),
        zero_point_BT=_rows([(places, each.zero_point_BT) for places, each in parts]),
        tail_BT=_rows(tails) if tails else None,
        lengths_B=lengths_B,
    )


def _sparse(parts: Sequence[tuple[list[int], SparseTargets]], lengths_B: torch.Tensor) -> SparseTargets | None:
    first = parts[0][1]
    if any(each.log_tail_BT.keys() != first.log_tail_BT.keys() for _, each in parts):
        return None
    return SparseTargets(
        ids_BTK=_rows([(places, each.ids_BTK) for places, each in parts], fill=-1),
        values_BTK=_rows([(places, each.values_BTK) for places, each in parts], fill=-torch.inf),
        log_tail_BT={
            temperature: _rows([(places, each.log_tail_BT[temperature]) for places, each in parts], fill=-torch.inf)
            for temperature in first.log_tail_BT
        },
        vocab_size=first.vocab_size,
        lengths_B=lengths_B,
    )


def _lengths(parts: Sequence[Part]) -> torch.Tensor:
    lengths_B = torch.zeros(sum(len(places) for places, _ in parts), dtype=torch.int64)
    for places, each in parts:
        lengths_B[places] = each.lengths_B
    return lengths_B


def _rows(parts: Sequence[Rows], *, fill: float = 0) -> torch.Tensor:
    """The rows `[B, T, X]` of all examples, T and X being the greatest of those given, in the widest of their types."""
    first_BTX = parts[0][1]
    kind = reduce(torch.promote_types, (rows_BTX.dtype for _, rows_BTX in parts))
    size = sum(len(places) for places, _ in parts)
    shape = [max(sizes) for sizes in zip(*(rows_BTX.shape[1:] for _, rows_BTX in parts), strict=True)]
    joined_BTX = first_BTX.new_full((size, *shape), fill, dtype=kind)
    for places, rows_BTX in parts:
        index: list[torch.Tensor | slice] = [torch.tensor(places), *map(slice, rows_BTX.shape[1:])]
        joined_BTX[tuple(index)] = rows_BTX.to(kind)
    return joined_BTX
