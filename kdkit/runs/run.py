"""An open run: what its stages need, and the record that it keeps in its folder.

runs/NAME/
recipe.toml       the recipe with every default filled in
run.json          status, digests, seeds, versions, and of each stage: status, seconds, facts
metrics.jsonl     training and validation, teacher and student
data/  written/  teacher/  student/best/  student/final/  predictions/  evaluation.json  rows.npz  report.html, .md
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import KdkitError
from kdkit.runs.facts_table import facts_in
from kdkit.runs.folders import RECIPE, STUDENT
from kdkit.runs.record import now
from kdkit.runs.stage_facts import DataRead, TargetsWritten, TeacherMade
from kdkit.runs.tracking import UNTRACKED
from kdkit.system.files import reserve, write_atomically, write_json
from kdkit.system.team import ALONE, Team
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.values import Corpus
    from kdkit.recipe import Recipe
    from kdkit.runs.facts_table import F
    from kdkit.runs.tracking import Tracking
    from kdkit.system.progress import Progress

RESERVE, RESERVED = ".reserve", 2**16
"""A file that takes this much room while a run is at work: on a full disk its record can still say how it ended."""


@attrs.define(kw_only=True)
class Run:
    """An open run: what its stages need.

    Attributes:
        recipe: The recipe.
        path: The run folder.
        store: The folder of what runs share: teachers, logits, baselines and texts.
        device: "cpu", "cuda", ...; this process's own.
        progress: Where progress is shown.
        team: The processes that do this run.
        tracking: Where the numbers of its trainings are sent.
        record: What `run.json` holds.
        began: When it was opened here, by the monotonic clock.
    """

    recipe: Recipe
    path: Path
    store: Path
    device: str
    progress: Progress
    team: Team = ALONE
    tracking: Tracking = UNTRACKED
    record: dict[str, Any] = attrs.field(factory=dict)
    began: float = attrs.field(factory=time.monotonic)
    _claim: dict[str, Any] = attrs.field(factory=dict)

    @property
    def alone(self) -> Run:
        """The same run, for work of the lead while the others wait."""
        return attrs.evolve(self, team=ALONE) if self.team.size > 1 else self

    def told(self, kind: type[F], *, stage: str | None = None) -> F:
        """The facts of a finished stage.

        Args:
            kind: What is asked for.
            stage: The stage's name, where several stages tell the like.

        Raises:
            DamagedData: The record is not what a run writes.
        """
        found = facts_in(self.record, kind, self.path, stage=stage)
        assert found is not None, f"{kind.__name__} is used before its stage is finished"
        return found

    @property
    def teacher_folder(self) -> Path | None:
        """The folder of the run's teacher; None if it is not a model."""
        named = self.told(TeacherMade).folder
        return self.path / named if named is not None else None  # an absolute path stays as it is

    @property
    def student_folder(self) -> Path:
        """The student of the best epoch."""
        return self.path / STUDENT

    def read_corpus(self) -> Corpus:
        """The rows that the data stage wrote.

        Raises:
            DamagedData: They are not what was written.
        """
        from kdkit.store import rows

        return rows.read(self.path / "data", self.told(DataRead).digest, self.store, self.progress)

    def read_taught(self) -> Corpus:
        """The rows that student and baselines learn from and are scored on: training targets as the teacher wrote them.

        Raises:
            DamagedData: They are not what was written.
        """
        corpus = self.read_corpus()
        if self.recipe.writing is None:
            return corpus
        from kdkit.store import rows

        written = rows.read(self.path / "written", self.told(TargetsWritten).digest, self.store, self.progress)
        return attrs.evolve(corpus, train=written.train)

    def own_targets(self, taught: Corpus) -> Corpus:
        """The rows of `read_corpus`, given those of `read_taught`: a tokenizer may have been trained on them."""
        return taught if self.recipe.writing is None else self.read_corpus()

    def leave_as(self, status: str) -> None:
        """Note the status that the run had when it was opened: none of its stages was done."""
        self.record["status"] = status
        self.save()

    def claim(self) -> None:
        """Note who works here. A finished run is not claimed, and so not touched, before a part of it is done again.

        The record comes first: a folder that holds it is ours, whatever else a kill leaves there.
        """
        before, now_has = self.record.get("threads"), self._claim.get("threads")
        if before not in {None, now_has} and now_has is not None:
            self.progress.note(
                f"this run began with {plural(before, 'thread')} and resumes with "
                f"{plural(now_has, 'thread')}: its weights and scores will differ in their last bits from a "
                f"run that was never stopped; set OMP_NUM_THREADS={before} to avoid that"
            )
        self.record |= self._claim
        self.save()
        write_atomically(self.path / RECIPE, self.recipe.to_toml().encode())
        reserve(self.path / RESERVE, RESERVED)

    def fail_as(self, status: str) -> None:
        """Note how the run ended; the file reserved for that is deleted first, in case the disk is full."""
        self.record["status"] = status
        (self.path / RESERVE).unlink(missing_ok=True)
        # The error that led here says what is wrong. That nobody works in the folder is seen by its lock.
        with suppress(KdkitError, OSError):
            self.save()

    def finish(self) -> None:
        """Every stage is done."""
        if self.record["status"] == "done" or not self.team.leads:
            return
        self.record |= {"status": "done", "finished": now()}
        self.save()

    def save(self) -> None:
        """Write the record to the run folder."""
        write_json(self.path / "run.json", self.record)
