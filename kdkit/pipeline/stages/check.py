"""Check: whether teacher, student, metrics and disk fit, before hours are spent on finding out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.pipeline.estimate import check_space, estimate
from kdkit.runs.stage import Planned, Stage

if TYPE_CHECKING:
    from kdkit.api.values import Corpus
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.runs.stage_facts import Estimate


def fit_together(run: Run) -> Estimate:
    """Refuse what cannot end well.

    Of the disk only what every run writes is asked here. Teacher and logits may be in the store already; their own
    stages ask, once they know.

    Raises:
        Mismatch: See `kdkit.pipeline.estimate.estimate`.
        UsageError: A metric does not exist, or the disk is too small.
    """
    found = estimate(run.recipe, run.read_corpus())
    check_space({run.path: found.student_bytes})
    return found


def plan(_recipe: Recipe, _corpus: Corpus, _found: Estimate) -> Planned:
    """What is compared."""
    return Planned(work="tokenizers, vocabularies, metrics and free disk")


STAGE = Stage(name="check", work=fit_together, plan=plan)
