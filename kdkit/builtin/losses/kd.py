"""`kd`: soft loss against the teacher, hard loss against the labels, mixed by alpha; hidden states, if asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from attrs import validators

from kdkit.api.options import not_negative, one_of, option, share
from kdkit.api.schedules import EachValue, Schedule, value_at, values_of
from kdkit.errors import UsageError
from kdkit.losses.divergences import DIVERGENCES, divergence_of, parameter_refusal
from kdkit.losses.hidden_states import DISTANCES, linear_projection, with_distance

if TYPE_CHECKING:
    import torch

    from kdkit.api.values import LossParts, Moment, TeacherRows, TokenCounts


def _fits_divergence(loss: KD, field: attrs.Attribute[Any], value: float) -> None:
    """Refuse a parameter that the divergence does not have."""
    if loss.divergence in DIVERGENCES:
        refusal = parameter_refusal(field.name, value, loss.divergence)
        if refusal is not None:
            raise ValueError(refusal)


_SCHEDULED = "this loss follows a schedule; first call its `at` with a moment of the training"
_parameter = validators.optional(_fits_divergence)


@attrs.frozen(kw_only=True)
class Features:
    """`features`: adds the distance between the student's hidden states, through a projection, and the teacher's."""

    distance: str = option(
        'Distance between two states: "mse", their squared difference over the teacher\'s mean square, or '
        '"cosine", 1 - cosine.',
        default="mse",
        check=one_of(*DISTANCES),
    )
    weight: float | Schedule = option(
        "Weight of the distance, which begins at about 1.", default=0.5, check=EachValue(not_negative)
    )


@attrs.frozen(kw_only=True)
class KD:
    """`alpha * T^2 * D(teacher, student) + (1 - alpha) * cross-entropy`, token means (Hinton et al., 2015)."""

    alpha: float | Schedule = option(
        "Share of the soft loss: 0 trains on labels only and needs no logits, 1 on the teacher only.",
        default=0.5,
        check=EachValue(share),
    )
    temperature: float | Schedule = option(
        "Divides the logits of teacher and student before softmax; above 1 it flattens both.",
        default=1.0,
        check=EachValue(validators.gt(0)),
    )
    divergence: str = option(
        "Divergence that the soft loss measures.", default="forward-kl", check=one_of(*DIVERGENCES)
    )
    beta: float | None = option(
        "For jensen-shannon: the teacher's weight, greater than 0 and less than 1; default 0.5.",
        default=None,
        check=_parameter,
    )
    skew: float | None = option(
        "For skew-forward-kl and skew-reverse-kl: the share of the first distribution in the second, greater "
        "than 0 and less than 1; default 0.1.",
        default=None,
        check=_parameter,
    )
    features: Features | None = option(
        "Adds the distance of hidden states to the student's loss; needs a codec that keeps them (subspace).",
        default=None,
    )

    @property
    def needs_teacher(self) -> bool:
        """Whether there is a soft loss in any step, or states are compared."""
        return any(value > 0 for value in values_of(self.alpha)) or self.needs_states

    @property
    def needs_states(self) -> bool:
        """Whether states are compared in any step."""
        return self.features is not None and any(value > 0 for value in values_of(self.features.weight))

    @property
    def temperatures(self) -> tuple[float, ...] | None:
        """The temperatures of all steps; None where they lie on a line."""
        if isinstance(self.temperature, Schedule) and self.temperature.is_line:
            return None
        return tuple(dict.fromkeys(values_of(self.temperature)))

    @property
    def takes_samples(self) -> bool:
        """Whether the divergence is linear."""
        return DIVERGENCES[self.divergence].takes_samples

    def at(self, moment: Moment) -> KD:
        """The loss of a step."""
        features = self.features
        if features is not None:
            features = attrs.evolve(features, weight=value_at(features.weight, moment))
        return attrs.evolve(
            self,
            alpha=value_at(self.alpha, moment),
            temperature=value_at(self.temperature, moment),
            features=features,
        )

    def __call__(
        self, student_logits_NV: torch.Tensor, labels_N: torch.Tensor, teacher: TeacherRows | None, counts: TokenCounts
    ) -> LossParts:
        """The loss of some label tokens (see `kdkit.losses.mix`).

        Raises:
            UsageError: alpha or temperature follows a schedule, and `at` has not been called.
        """
        from kdkit.losses import mix

        if isinstance(self.alpha, Schedule) or isinstance(self.temperature, Schedule):
            raise UsageError(_SCHEDULED)
        return mix(
            student_logits_NV,
            labels_N,
            teacher,
            alpha=self.alpha,
            temperature=self.temperature,
            divergence=divergence_of(self.divergence, beta=self.beta, skew=self.skew),
            counts=counts,
        )

    def projection(self, student_width: int, teacher_width: int, *, seed: int) -> torch.nn.Module:
        """A linear one (see `kdkit.losses.hidden_states.linear_projection`)."""
        return linear_projection(student_width, teacher_width, seed=seed)

    def with_features(
        self, parts: LossParts, projected_MR: torch.Tensor, teacher_MR: torch.Tensor, counts: TokenCounts
    ) -> LossParts:
        """`features.weight` times the distance more (see `kdkit.losses.hidden_states.with_distance`).

        Raises:
            UsageError: The weight follows a schedule, and `at` has not been called.
        """
        assert self.features is not None, "this loss does not compare hidden states"
        weight = self.features.weight
        if isinstance(weight, Schedule):
            raise UsageError(_SCHEDULED)
        return with_distance(
            parts, projected_MR, teacher_MR, distance=self.features.distance, weight=weight, counts=counts
        )
