"""Joins targets that each cover some of a batch's examples.

A cache may hold records of several codec states: parts of it that were captured at different times or in different
places have learnt one each. A batch of such records is decoded state by state.

Letters: B batch, T target tokens, R coordinates, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch

from kdkit.api.values import FactoredTargets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import Targets


@attrs.frozen(eq=False)
class Joiner:
    """Joins targets, and keeps the joint basis of all states met so far."""

    _known: list[FactoredTargets] = attrs.field(factory=list, init=False)
    _joint: list[torch.Tensor] = attrs.field(factory=list, init=False)

    def __call__(self, parts: Sequence[tuple[list[int], Targets]]) -> Targets | None:
        """The targets of all examples, given which of them each part is of; None of kinds that do not go together."""
        places, targets = [each for each, _ in parts], [each for _, each in parts]
        if len(targets) == 1:
            return targets[0]
        kind: Any = type(targets[0])
        if any(type(each) is not kind for each in targets):
            return None
        joined: Targets | None = kind.joined(self._over_one_basis(targets), places)
        return joined

    def _over_one_basis(self, parts: Sequence[Targets]) -> Sequence[Targets]:
        """Coordinates over all bases together, and a 1 for the offset, which is a row of the joint basis too."""
        factored = [each for each in parts if isinstance(each, FactoredTargets)]
        if not factored:
            return parts
        joint_RV = self._joint_basis(factored)
        ranks = [len(each.basis_RV) for each in self._known]
        offset_V = torch.zeros_like(factored[0].offset_V)
        moved = []
        for each in factored:
            number = next(i for i, known in enumerate(self._known) if known.basis_RV is each.basis_RV)
            start = sum(ranks[:number])
            coordinates_BTR = each.coordinates_BTR.new_zeros((*each.coordinates_BTR.shape[:2], len(joint_RV)))
            coordinates_BTR[..., start : start + ranks[number]] = each.coordinates_BTR
            coordinates_BTR[..., sum(ranks) + number] = 1
            moved.append(attrs.evolve(each, coordinates_BTR=coordinates_BTR, basis_RV=joint_RV, offset_V=offset_V))
        return moved

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
        """The kept entry of its state, if that was met before."""
        return next((each for each in self._known if each.basis_RV is part.basis_RV), None)
