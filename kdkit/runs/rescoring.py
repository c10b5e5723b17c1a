"""A finished run whose student is scored again, on its own held-out rows or others, in a folder of its own.

Its `run.json` is like that of a run. The entries of the stages that trained are those of the run, and `scored` says
which run that is and what was laid over its recipe. `data/` has the rows that are scored, and no training rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import attrs

from kdkit.runs.run import Run
from kdkit.runs.stage_facts import DataRead

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.values import Corpus

FORMAT = 1


@attrs.define(kw_only=True)
class Rescoring(Run):
    """An open evaluation of a finished run.

    Attributes:
        scored: The run, of which nothing is changed.
    """

    scored: Run

    @classmethod
    def of(cls, opened: Run, scored: Run) -> Self:
        """The evaluation in a folder that is open.

        Args:
            opened: The folder.
            scored: The run.
        """
        same: dict[str, Any] = {str(field.alias): getattr(opened, field.name) for field in attrs.fields(Run)}
        return cls(**{**same, "store": scored.store, "recipe": scored.recipe}, scored=scored)

    @property
    def student_folder(self) -> Path:
        """The run's student."""
        return self.scored.student_folder

    def read_corpus(self) -> Corpus:
        """The run's training rows, and the rows that are scored."""
        return self._scoring(self.scored.read_corpus())

    def read_taught(self) -> Corpus:
        """The same with the training targets that the student learnt from."""
        return self._scoring(self.scored.read_taught())

    def own_targets(self, taught: Corpus) -> Corpus:  # noqa: ARG002 - which may be of the rows that are scored alone
        """The rows of `read_corpus`: a tokenizer may have been trained on them."""
        return self.read_corpus()

    def _scoring(self, corpus: Corpus) -> Corpus:
        from kdkit.store import rows

        held_out = rows.read(self.path / "data", self.told(DataRead).digest, self.store, self.progress)
        return attrs.evolve(corpus, validation=held_out.validation, test=held_out.test)
