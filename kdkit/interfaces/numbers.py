"""What is done with numbers and texts: losses and metric suites.

Letters in names of tensors: B batch, T target, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from kdkit.values import Example, LossParts, Targets


@runtime_checkable
class LossMixer(Protocol):
    """A loss (`[loss]`): mixes the hard loss (against the labels) with a soft one (against the teacher)."""

    @property
    def needs_teacher(self) -> bool:
        """Whether it reads teacher logits at all (False at alpha = 0)."""
        ...

    def counts(self, labels_BT: torch.Tensor, targets: Targets | None) -> Mapping[str, int]:
        """Over how many label tokens each term of the loss is averaged: {"hard": n, "soft": m}."""
        ...

    def __call__(
        self,
        student_logits_BTV: torch.Tensor,
        labels_BT: torch.Tensor,
        targets: Targets | None,
        counts: Mapping[str, int] | None = None,
    ) -> LossParts:
        """The loss of a batch.

        Args:
            student_logits_BTV: The student's logits.
            labels_BT: Labels, -100 where masked.
            targets: The teacher's logits; None where `needs_teacher` is False.
            counts: Denominators of the token means; the batch's own by default. A training step over several
                micro-batches passes those of all of them together, so that accumulation does not change the loss.
        """
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
