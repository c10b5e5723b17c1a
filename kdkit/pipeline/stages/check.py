"""Check: tests whether teacher, student, metrics and disk fit, before hours are spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.api.interfaces import CheckedSuite
from kdkit.pipeline.estimate import check_space, estimate
from kdkit.pipeline.model_folders import student_weights
from kdkit.pipeline.store_access import check_store
from kdkit.runs.stage import Planned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.api.suites import NamedSuite
    from kdkit.api.values import Corpus, Example
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.runs.stage import RowsPlanned
    from kdkit.runs.stage_facts import Estimate

_TRIED = 3
"""Rows that each suite scores before anything is trained."""


def fit_together(run: Run) -> Estimate:
    """Refuse a run that cannot succeed.

    Of the disk only what every run writes is asked here. Teacher and logits may be in the store already; their own
    stages ask, once they know.

    Raises:
        Mismatch: See `kdkit.pipeline.estimate.estimate`.
        UsageError: A metric does not exist, the disk is too small, or the store cannot be written.
        MissingInput: The folder that the student starts from holds no weights.
        KdkitError: A metric suite will not be able to score here.
    """
    corpus = run.read_corpus()
    found = estimate(run.recipe, corpus, run.store)
    check_space({run.path: found.student_bytes})
    check_store(run, corpus, found)
    notes = tuple(suite_notes(run.recipe, corpus))
    if found.vocabulary is not None:
        run.progress.note(f"check: of the teacher's vocabulary {found.vocabulary.in_words}")
    for note in (*(found.doubts or ()), *notes):
        run.progress.note(f"check: {note}")
    return attrs.evolve(found, notes=notes or None, student_weights=student_weights(run.recipe))


def suite_notes(recipe: Recipe, corpus: Corpus) -> Iterator[str]:
    """Notes of metric suites about the rows that they will score, and about this machine.

    Raises:
        KdkitError: A metric suite will not be able to score here.
    """
    rows = recipe.evaluation.rows or None
    examples = [*corpus.test[:rows], *corpus.validation[:rows]]
    for named in recipe.evaluation.suites:
        _try(named, examples[:_TRIED])
        if isinstance(named.suite, CheckedSuite):
            yield from (f'suite "{named.name}": {note}' for note in named.suite.check(examples))


def _try(named: NamedSuite, examples: Sequence[Example]) -> None:
    """Score a few rows: a suite that fails should do so now, and not when all models are trained."""
    own = [example.target for example in examples]
    for texts, references in ((own, own), ([*own[1:], ""], own)):
        for metric in named.score(texts, references, examples):
            named.direction_of(metric)


def plan(_recipe: Recipe, _rows: RowsPlanned, _found: Estimate) -> Planned:
    """The checks of the stage."""
    return Planned(work="tokenizers, vocabularies, metrics, free disk space, and whether the store can be written")
