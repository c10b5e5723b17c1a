"""`kd`: soft loss against the teacher, hard loss against the labels, mixed by alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from attrs import validators

from kdkit.divergences import DIVERGENCES, divergence_of, parameter_refusal
from kdkit.errors import UsageError
from kdkit.options import EachValue, Schedule, one_of, option, share, value_at, values_of

if TYPE_CHECKING:
    import torch

    from kdkit.align import TeacherRows
    from kdkit.values import LossParts, Moment, TokenCounts


def _belongs(loss: KD, field: attrs.Attribute[Any], _value: float) -> None:
    """A parameter that the divergence does not have is a mistake, and not ignored."""
    found = DIVERGENCES.get(loss.divergence)
    if found is not None and found.parameter != field.name:
        raise ValueError(parameter_refusal(field.name, loss.divergence))


_parameter = validators.optional(validators.and_(validators.gt(0.0), validators.lt(1.0), _belongs))


@attrs.frozen(kw_only=True)
class KD:
    """`alpha * T^2 * D(teacher, student) + (1 - alpha) * cross-entropy`, token means (Hinton et al., 2015)."""

    alpha: float | Schedule = option(
        "Share of the soft loss; 0 trains on the labels alone and needs no logits, 1 on the teacher alone.",
        default=0.5,
        check=EachValue(share),
    )
    temperature: float | Schedule = option(
        "Divides teacher's and student's logits.", default=1.0, check=EachValue(validators.gt(0))
    )
    divergence: str = option("What the soft loss measures.", default="forward-kl", check=one_of(*DIVERGENCES))
    beta: float | None = option(
        "Of jensen-shannon: the teacher's weight, between 0 and 1; 0.5 if left out.", default=None, check=_parameter
    )
    skew: float | None = option(
        "Of skew-forward-kl and skew-reverse-kl: the share of the first distribution in the second, between 0 and 1; "
        "0.1 if left out.",
        default=None,
        check=_parameter,
    )

    @property
    def needs_teacher(self) -> bool:
        """Whether there is a soft loss in any step."""
        return any(value > 0 for value in values_of(self.alpha))

    @property
    def temperatures(self) -> tuple[float, ...] | None:
        """The temperatures of all steps; None where they lie on a line."""
        if isinstance(self.temperature, Schedule) and self.temperature.is_line:
            return None
        return tuple(dict.fromkeys(values_of(self.temperature)))

    @property
    def takes_samples(self) -> bool:
        """Whether the divergence does."""
        return DIVERGENCES[self.divergence].takes_samples

    def at(self, moment: Moment) -> KD:
        """The loss of a step."""
        return attrs.evolve(self, alpha=value_at(self.alpha, moment), temperature=value_at(self.temperature, moment))

    def __call__(
        self, student_logits_NV: torch.Tensor, labels_N: torch.Tensor, teacher: TeacherRows | None, counts: TokenCounts
    ) -> LossParts:
        """The loss of some label tokens (see `kdkit.losses.mix`).

        Raises:
            UsageError: alpha or temperature follows a schedule, and `at` has not been called.
        """
        from kdkit.losses import mix

        if isinstance(self.alpha, Schedule) or isinstance(self.temperature, Schedule):
            raise UsageError("this loss follows a schedule: call its `at` with a moment of the training first")
        return mix(
            student_logits_NV,
            labels_N,
            teacher,
            alpha=self.alpha,
            temperature=self.temperature,
            divergence=divergence_of(self.divergence, beta=self.beta, skew=self.skew),
            counts=counts,
        )
