"""Losses and metric suites.

Letters in names of tensors: N label tokens, M those that the teacher has a row for, V vocabulary, D and R the widths of
the student's and the teacher's hidden states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from kdkit.api.values import Example, LossParts, Moment, TeacherRows, TokenCounts


@runtime_checkable
class LossMixer(Protocol):
    """A loss (`[loss]`): mixes the hard loss (against the labels) with a soft one (against the teacher).

    It sees some label tokens at a time, so that a whole batch's logits never need to be. Whoever has more to offer adds
    a method, and kdkit finds it: `ScheduledLoss`, `TemperedLoss`, `SampledLoss`, `FeatureLoss`.
    """

    @property
    def needs_teacher(self) -> bool:
        """Whether it reads teacher logits at all (False at alpha = 0 throughout)."""
        ...

    def __call__(
        self, student_logits_NV: torch.Tensor, labels_N: torch.Tensor, teacher: TeacherRows | None, counts: TokenCounts
    ) -> LossParts:
        """The share of some label tokens in the loss of a step.

        Each term is a sum over these tokens, over the count of all tokens of the step. So the parts of all chunks of
        tokens, of all micro-batches, add up to the loss, and neither chunks nor accumulation change it.

        Args:
            student_logits_NV: The student's logits; a row of its own for each token.
            labels_N: The tokens.
            teacher: The teacher's rows of these tokens, for `kdkit.losses.align`; None where `needs_teacher` is False.
            counts: The denominators.
        """
        ...


@runtime_checkable
class ScheduledLoss(LossMixer, Protocol):
    """A loss that may change during the training. The loss itself is a value and does not count steps."""

    def at(self, moment: Moment) -> LossMixer:
        """The loss of a step. Validation and evaluation use that of `kdkit.api.END`, to be comparable."""
        ...


@runtime_checkable
class TemperedLoss(LossMixer, Protocol):
    """A loss that divides logits by temperatures, of which a `SparseCodec` knows only some."""

    @property
    def temperatures(self) -> tuple[float, ...] | None:
        """Every temperature that it uses in some step; None if they cannot be listed."""
        ...


@runtime_checkable
class SampledLoss(LossMixer, Protocol):
    """A loss that may be unbiased when only samples of the teacher's distributions are kept (see `SampledCodec`)."""

    @property
    def takes_samples(self) -> bool:
        """Whether its gradient is linear in the teacher's probabilities: then that of a sample of them is unbiased."""
        ...


@runtime_checkable
class FeatureLoss(LossMixer, Protocol):
    """A loss that may compare hidden states too: the student's, through a projection, with its teacher's.

    A student's states are what goes into its output head, a teacher's are as the codec keeps them: an invertible linear
    map of what went into its head. The projection is trained with the student and thrown away. So the term is one of
    the training: validation and evaluation, which have no projection, call the loss alone.
    """

    @property
    def needs_states(self) -> bool:
        """Whether any step compares hidden states; the loss then needs a teacher, and a codec that keeps states."""
        ...

    def projection(self, student_width: int, teacher_width: int, *, seed: int) -> torch.nn.Module:
        """A new projection, on the CPU: of states `[M, D]` it makes what is compared with the teacher's `[M, R]`.

        It is the same for the same arguments, and takes no numbers from torch's own random generator.

        Args:
            student_width: D.
            teacher_width: R.
            seed: Of what is random in it.
        """
        ...

    def with_features(
        self, parts: LossParts, projected_MR: torch.Tensor, teacher_MR: torch.Tensor, counts: TokenCounts
    ) -> LossParts:
        """The parts of some label tokens, with what their hidden states add: to `total`, and as `feature`.

        As of the other terms it is a sum over tokens, over the count of all tokens of the step.

        Args:
            parts: What the loss itself gives of these tokens.
            projected_MR: The student's states of those that the teacher has a row for, projected.
            teacher_MR: The teacher's of the same tokens, scaled by one number, so that their mean square length over a
                sample of the training's tokens is 1; no gradient flows into them.
            counts: The denominators.
        """
        ...


@runtime_checkable
class MetricSuite(Protocol):
    """A metric suite (`[evaluation] suites`): compares texts with references.

    Of its metrics more is better. A suite of which this is not so says it with an attribute: see `DirectedSuite`.
    """

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


@runtime_checkable
class CheckedSuite(MetricSuite, Protocol):
    """A metric suite that can tell before a training whether it will be able to score after it."""

    def check(self, examples: Sequence[Example]) -> Sequence[str]:
        """Refuse what `score` would refuse: rows, or the machine. It is called in the stage `check`.

        Args:
            examples: The rows that are to be scored.

        Returns:
            Sentences that whoever starts the run, and whoever reads its report, should know.

        Raises:
            KdkitError: With what to do about it.
        """
        ...


@runtime_checkable
class DirectedSuite(MetricSuite, Protocol):
    """A metric suite with metrics whose higher values are not better."""

    @property
    def directions(self) -> Mapping[str, str]:
        """For each metric whose higher values are not better: "lower" where lower values are, else "neither".

        What is said of a metric holds for its parts too: of `errors` for `errors/equals`.
        """
        ...
