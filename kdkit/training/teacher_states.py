"""A teacher's hidden states, from targets that are coordinates in the space of logits that its output head can reach.

Letters: M label tokens that the teacher has a row for, R coordinates, S those of other targets, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

from kdkit.api.values import FactoredTargets
from kdkit.errors import Mismatch

if TYPE_CHECKING:
    from kdkit.api.values import Targets, TeacherRows

CHUNK = 8192
"""Entries of the vocabulary that are looked at together, in float64."""

APART = 0.02
"""How much of the logits' variation may lie outside of the space; rounding to half precision takes far less there."""


@attrs.frozen(kw_only=True, eq=False)
class TeacherSpace:
    """The space in which a teacher's states are compared.

    A cache may hold coordinates in several: parts of it that were captured on different machines, or at different
    times, have learnt a space each. As all are of one head's states, one goes over into the other by a linear map.

    Attributes:
        basis_RV: See `FactoredTargets`.
        offset_V: The same.
    """

    basis_RV: torch.Tensor
    offset_V: torch.Tensor
    _changes: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = attrs.field(factory=list, init=False)

    @classmethod
    def of(cls, targets: Targets | None) -> TeacherSpace:
        """That of some targets.

        Raises:
            Mismatch: They are no coordinates.
        """
        factored = _factored(targets)
        return cls(basis_RV=factored.basis_RV, offset_V=factored.offset_V)

    @property
    def width(self) -> int:
        """How many coordinates there are, R."""
        return len(self.basis_RV)

    def states(self, teacher: TeacherRows) -> torch.Tensor:
        """The coordinates `[M, R]` of the tokens that the teacher has a row for.

        Raises:
            Mismatch: The targets are no coordinates, or of states that this space does not hold.
        """
        targets = _factored(teacher.targets)
        known_MS = teacher.known(targets.coordinates_BTR)
        if targets.basis_RV is self.basis_RV:
            return known_MS
        if not len(known_MS):  # nothing to judge the other space by
            return known_MS.new_zeros((0, self.width))
        for basis_SV, turn_SR, shift_R in self._changes:
            if basis_SV is targets.basis_RV:
                return known_MS @ turn_SR + shift_R
        turn_SR, shift_R = (tensor.to(known_MS) for tensor in self._change(targets))
        states_MR = known_MS @ turn_SR + shift_R
        self._check_near(targets, known_MS, states_MR)
        self._changes.append((targets.basis_RV, turn_SR, shift_R))
        return states_MR

    def _change(self, targets: FactoredTargets) -> tuple[torch.Tensor, torch.Tensor]:
        """The coordinates here of what others have, by least squares over the logits: `others @ turn_SR + shift_R`.

        Softmax does not see a constant of a row, and so it is left out.
        """
        rows, others = self.width, len(targets.basis_RV)
        gram_RR, cross_XR = torch.zeros(rows, rows).double(), torch.zeros(others + 1, rows).double()
        mean_R1, mean_S1 = (each.mean(-1, keepdim=True).cpu().double() for each in (self.basis_RV, targets.basis_RV))
        moved_V = (targets.offset_V - self.offset_V).cpu().double()
        moved_V -= moved_V.mean()
        for start in range(0, self.basis_RV.shape[1], CHUNK):
            part = slice(start, start + CHUNK)
            flat_RV = self.basis_RV[:, part].cpu().double() - mean_R1
            flat_SV = targets.basis_RV[:, part].cpu().double() - mean_S1
            gram_RR += flat_RV @ flat_RV.T
            cross_XR += torch.cat([flat_SV, moved_V[None, part]]) @ flat_RV.T
        change_XR = cross_XR @ torch.linalg.pinv(gram_RR, rtol=1e-13, hermitian=True)
        return change_XR[:-1], change_XR[-1]

    def _check_near(self, targets: FactoredTargets, known_MS: torch.Tensor, states_MR: torch.Tensor) -> None:
        wanted_MV = known_MS @ targets.basis_RV + targets.offset_V - self.offset_V
        left_MV = wanted_MV - states_MR @ self.basis_RV
        apart = float(left_MV.std(-1).norm() / wanted_MV.std(-1).norm().clamp_min(1e-12))
        if not apart <= APART:
            raise Mismatch(
                f"the teacher's states of some rows lie {apart:.0%} outside the space of the first row's, so "
                "one projection cannot fit both; capture all rows again into another store.dir, or leave "
                "loss.features out"
            )


def _factored(targets: Targets | None) -> FactoredTargets:
    if not isinstance(targets, FactoredTargets):
        raise Mismatch(
            "the loss compares hidden states, but the teacher's are not available in this cache; "
            'set codec.name = "subspace", or leave loss.features out'
        )
    return targets
