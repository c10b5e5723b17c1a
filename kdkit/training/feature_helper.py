"""What a loss compares hidden states with (see `FeatureLoss`): the projection, and the teacher's scale.

Letters: C tokens of a chunk, M those of them that the teacher has a row for, D and R the widths of the student's and
the teacher's states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

from kdkit.api.interfaces import FeatureLoss

if TYPE_CHECKING:
    from kdkit.api.interfaces import LossMixer
    from kdkit.api.values import LossParts, TeacherRows, TokenCounts
    from kdkit.training.teacher_states import TeacherSpace


@attrs.frozen(kw_only=True, eq=False)
class FeatureHelper:
    """The helper of one training.

    Attributes:
        projection: From the student's states to the teacher's; trained with the student, and no part of it.
        space: That of the teacher's states.
        scale: What they are multiplied by, for a mean square length of 1.
    """

    projection: torch.nn.Module
    space: TeacherSpace
    scale: float

    def add(
        self,
        loss: LossMixer,
        parts: LossParts,
        states_CD: torch.Tensor,
        teacher: TeacherRows | None,
        counts: TokenCounts,
    ) -> LossParts:
        """The parts of some tokens, with what their states add.

        Args:
            loss: The loss of the step.
            parts: What it gives of these tokens.
            states_CD: What goes into the student's head.
            teacher: The teacher's rows of these tokens.
            counts: The denominators.

        Raises:
            Mismatch: The teacher's states are not available, or cannot be compared with those of other rows.
        """
        assert isinstance(loss, FeatureLoss), "only a loss that compares states has a helper"
        assert teacher is not None, "a loss that compares states needs a teacher"
        states_MD = teacher.shared(states_CD)
        if states_MD.dtype in (torch.bfloat16, torch.float16):
            states_MD = states_MD.float()
        projected_MR = self.projection(states_MD)
        teacher_MR = self.space.states(teacher).to(projected_MR) * self.scale
        return loss.with_features(parts, projected_MR, teacher_MR, counts)
