"""A recipe's rows, and the recipe once they are known: what a plan, its times and its shown rows are all made of."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kdkit.pipeline.kept import rows_key
from kdkit.pipeline.stages import stages_of
from kdkit.recipe.inputs import read_rows
from kdkit.runs.facts_table import facts_in
from kdkit.runs.record import read_record
from kdkit.runs.resume import is_done
from kdkit.runs.stage_facts import DataRead
from kdkit.store import inputs, store_of

if TYPE_CHECKING:
    from kdkit.api.values import Corpus
    from kdkit.recipe import Recipe
    from kdkit.runs.stage_facts import Estimate
    from kdkit.system.progress import Progress


class Prepared:
    """Reads a recipe's rows, settles the recipe and estimates a run, each once and when first asked.

    Attributes:
        recipe: The recipe as it was written.
    """

    def __init__(self, recipe: Recipe, run_dir: Path | None, progress: Progress) -> None:
        self.recipe = recipe
        self._run_dir = run_dir
        self._progress = progress
        self._estimate: Estimate | None = None

    @cached_property
    def corpus(self) -> Corpus:
        """The rows; see `corpus_of`."""
        return corpus_of(self.recipe, self._run_dir, self._progress)

    @cached_property
    def settled(self) -> Recipe:
        """The recipe with trimmed models in place of those that it names; see `kdkit.pipeline.vocabulary`."""
        from kdkit.pipeline.vocabulary import settled  # with torch
        from kdkit.recipe.compatibility import check_compatible

        check_compatible(self.recipe, self.corpus)
        return settled(self.recipe, self.corpus)

    def estimate(self, store: Path | None) -> Estimate:
        """What the run takes; the first who asks says which store keeps a tokenizer that is trained on the rows."""
        from kdkit.pipeline.estimate import estimate  # with torch

        if self._estimate is None:
            self._estimate = estimate(self.settled, self.corpus, store)
        return self._estimate


def corpus_of(recipe: Recipe, run_dir: Path | None, progress: Progress) -> Corpus:
    """The rows that a plan is about: those of the run folder where it holds them, else of the data set.

    Raises:
        MissingInput: The data set has not been fetched yet.
        UsageError: A row is broken.
    """
    path = run_dir if run_dir is not None else Path("runs") / recipe.name
    record, store = read_record(path), store_of(recipe.store.dir, path)
    stages = stages_of(recipe)
    data = facts_in(record, DataRead, path) if is_done(record, path, recipe, stages[0], stages) else None
    if data is not None:
        from kdkit.store import rows

        return rows.read(path / "data", data.digest, store, progress)
    key = rows_key(recipe)

    def read() -> Corpus:
        return read_rows(recipe, progress, when="before it can be planned with")

    return inputs.rows(key, store, read, progress) if key is not None else read()
