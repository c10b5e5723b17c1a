"""`kd`: soft loss against the teacher, hard loss against the labels, mixed by alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs import validators

from kdkit.options import one_of, option, share

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from kdkit.values import LossParts, Targets


@attrs.frozen(kw_only=True)
class KD:
    """`alpha * T^2 * D(teacher, student) + (1 - alpha) * cross-entropy`, token means (Hinton et al., 2015)."""

    alpha: float = option(
        "Share of the soft loss; 0 trains on the labels alone and needs no logits, 1 on the teacher alone.",
        default=0.5,
        check=share,
    )
    temperature: float = option("Divides teacher's and student's logits.", default=1.0, check=validators.gt(0))
    divergence: str = option("What the soft loss measures.", default="forward-kl", check=one_of("forward-kl"))

    @property
    def needs_teacher(self) -> bool:
        """Whether there is a soft loss."""
        return self.alpha > 0

    def counts(self, labels_BT: torch.Tensor, targets: Targets | None) -> Mapping[str, int]:
        """Label tokens behind each mean."""
        from kdkit.losses import token_counts

        return token_counts(labels_BT, targets)

    def __call__(
        self,
        student_logits_BTV: torch.Tensor,
        labels_BT: torch.Tensor,
        targets: Targets | None,
        counts: Mapping[str, int] | None = None,
    ) -> LossParts:
        """The loss of a batch (see `kdkit.losses.mix`)."""
        from kdkit.losses import mix

        return mix(
            student_logits_BTV,
            labels_BT,
            targets,
            alpha=self.alpha,
            temperature=self.temperature,
            divergence=self.divergence,
            counts=counts,
        )
