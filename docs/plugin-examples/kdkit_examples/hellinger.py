"""A loss: cross-entropy, mixed with the squared Hellinger distance of the teacher."""

import attrs

import kdkit
from kdkit.api import positive, share


@attrs.frozen(kw_only=True)
class Hellinger:
    """Cross-entropy, and the squared Hellinger distance of teacher and student."""

    alpha: float = kdkit.option("Share of the distance.", default=0.5, check=share)
    temperature: float = kdkit.option("Softens teacher and student.", default=1.0, check=positive)

    @property
    def needs_teacher(self):
        """Without a soft loss no logits are captured."""
        return self.alpha > 0

    @property
    def temperatures(self):
        """So that codecs that know some temperatures only can refuse others."""
        return (self.temperature,)

    def __call__(self, student_logits_NV, labels_N, teacher, counts):
        """What some label tokens add to the loss of the step: `mix` takes the means, and multiplies by T^2."""
        from kdkit.losses import mix  # imports torch

        return mix(
            student_logits_NV,
            labels_N,
            teacher,
            alpha=self.alpha,
            temperature=self.temperature,
            divergence=distance,
            counts=counts,
        )


def distance(teacher_logp_MV, student_logp_MV):
    """Of every token, from log-probabilities of teacher and student over one vocabulary."""
    return ((teacher_logp_MV / 2).exp() - (student_logp_MV / 2).exp()).square().sum(-1) / 2
