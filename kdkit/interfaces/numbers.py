"""What is done with numbers and texts: losses and metric suites.

Letters in names of tensors: N label tokens, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from kdkit.align import TeacherRows
    from kdkit.values import Example, LossParts, Moment, TokenCounts


@runtime_checkable
class LossMixer(Protocol):
    """A loss (`[loss]`): mixes the hard loss (against the labels) with a soft one (against the teacher).

    It sees some label tokens at a time, so that a whole batch's logits never need to be. Whoever has more to offer adds
    a method, and kdkit finds it: `ScheduledLoss`, `TemperedLoss`, `SampledLoss`.
    """

    @property
    def needs_teacher(self) -> bool:
        """Whether it reads teacher logits at all (False at alpha = 0 throughout)."""
        ...

    def __call__(
        self, student_logits_NV: torch.Tensor, labels_N: torch.Tensor, teacher: TeacherRows | None, counts: TokenCounts
    ) -> LossParts:
        """What some label tokens add to the loss of a step.

        Each term is a sum over these tokens, over the count of all tokens of the step. So the parts of all chunks of
        tokens, of all micro-batches, add up to the loss, and neither chunks nor accumulation change it.

        Args:
            student_logits_NV: The student's logits; a row of its own for each token.
            labels_N: The tokens.
            teacher: The teacher's rows of these tokens, for `kdkit.align.align`; None where `needs_teacher` is False.
            counts: The denominators.
        """
        ...


@runtime_checkable
class ScheduledLoss(LossMixer, Protocol):
    """A loss that may change in the course of the training. Itself it is a value: it counts no steps."""

    def at(self, moment: Moment) -> LossMixer:
        """The loss of a step. Validation and evaluation use that of `kdkit.values.END`, to be comparable."""
        ...


@runtime_checkable
class TemperedLoss(LossMixer, Protocol):
    """A loss that divides logits by temperatures; of sparse logits only some are known exactly (see `SparseCodec`)."""

    @property
    def temperatures(self) -> tuple[float, ...] | None:
        """What it divides logits by, in some step or other; None where that cannot be listed."""
        ...


@runtime_checkable
class SampledLoss(LossMixer, Protocol):
    """A loss that may be right for a teacher of whose distributions there are samples only (see `SampledCodec`)."""

    @property
    def takes_samples(self) -> bool:
        """Whether its gradient is linear in the teacher's probabilities: then that of a sample of them is unbiased."""
        ...


@runtime_checkable
class MetricSuite(Protocol):
    """A metric suite (`[evaluation] suites`): compares texts with references."""

    def score(
        self, generated: Sequence[str], references: Sequence[str], examples: Sequence[Example]
    ) -> Mapping[str, Sequence[float | None]]:
        """Values of each metric, one a row; None where a row does not count for a metric.

        A metric's value is the mean over the rows that count. Metric names may have a slash for a part of the rows:
        `f1/equals`. The references are the ground truth or the teacher's texts.

        Args:
            generated: A model's texts.
            references: What they are compared with, in the same order.
            examples: The rows themselves, for their `meta`.
        """
        ...
