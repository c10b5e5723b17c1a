"""Check: whether teacher, student, metrics and disk fit, before hours are spent on finding out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.pipeline.estimate import check_space, estimate

if TYPE_CHECKING:
    from kdkit.runs.run import Run


def fit_together(run: Run) -> dict[str, Any]:
    """Refuse what cannot end well.

    Of the disk only what every run writes is asked here. Teacher and logits may be in the store already; their own
    stages ask, once they know.

    Raises:
        Mismatch: See `kdkit.pipeline.estimate.estimate`.
        UsageError: A metric does not exist, or the disk is too small.
    """
    found = estimate(run.recipe, run.read_corpus())
    check_space({run.path: found.student_bytes})
    return attrs.asdict(found)
