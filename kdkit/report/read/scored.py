"""A run as a report on several needs it: its scores, row by row too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import MissingInput
from kdkit.evaluation import record
from kdkit.evaluation.row_scores import FILE, RowKey, RowScores
from kdkit.report.read.files import recipe_of
from kdkit.runs.record import read_record
from kdkit.system.reading import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdkit.api.values import Cost, Score

SEED = "training.seed"
NO_TABLE = ("name", "description", "reference", "track")
"""What a recipe says that changes no number of its run."""


@attrs.frozen(kw_only=True, eq=False)
class ScoredRun:
    """A run with an evaluation.

    Attributes:
        folder: Its folder.
        recipe: The resolved recipe as keys with dots, `loss.alpha`; what changes no number left out.
        record: `run.json`.
        split: The split that was scored.
        row_count: How many of its rows.
        scores: Every score, by model, reference, suite and metric.
        validation: The student's scores on the validation rows; empty where these are what was scored.
        costs: What "teacher" and "student" cost, where that was measured.
        rows: Each row's value of each score; None where an older run has none.
        headline: The metric that its verdict is about; empty where an older kdkit did not decide it.
    """

    folder: Path
    recipe: Mapping[str, Any]
    record: Mapping[str, Any]
    split: str
    row_count: int
    scores: Mapping[RowKey, Score]
    validation: Mapping[RowKey, Score]
    costs: Mapping[str, Cost]
    rows: RowScores | None
    headline: str = ""

    @property
    def name(self) -> str:
        """What the run is called: its folder."""
        return self.folder.name

    def facts(self, stage: str) -> Mapping[str, Any]:
        """What a finished stage noted."""
        facts: Mapping[str, Any] = self.record.get("stages", {}).get(stage, {}).get("facts", {})
        return facts

    @property
    def needs_teacher(self) -> bool:
        """Whether the student learnt anything from the teacher: the evaluation of one that did not has no `soft`."""
        return any((key.model, key.suite, key.metric) == ("student", "loss", "soft") for key in self.scores)


def read_scored(folder: Path) -> ScoredRun:
    """Read a run folder that holds an evaluation.

    Raises:
        MissingInput: It is no run folder, or has no evaluation yet.
        DamagedData: A file in it is not what was written.
    """
    if not (folder / "run.json").is_file():
        raise MissingInput(
            f"{folder} is not a run folder: it has no run.json; give folders that `kdkit run` wrote (runs/NAME)"
        )
    found = record.read(folder)
    return ScoredRun(
        folder=folder,
        recipe=read_recipe(folder),
        record=read_record(folder),
        split=found.split,
        row_count=found.row_count,
        scores={key_of(score): score for score in found.scores},
        validation={key_of(score): score for score in found.validation_scores},
        costs=found.costs,
        rows=RowScores.read(folder) if (folder / FILE).is_file() else None,
        headline=found.headline,
    )


def read_recipe(folder: Path) -> Mapping[str, Any]:
    """The resolved recipe of a run folder as keys with dots, without what changes no number.

    Raises:
        DamagedData: It is no TOML.
    """
    path = folder / "recipe.toml"
    table = recipe_of(path, read_text(path)) if path.is_file() else {}
    return flat({key: value for key, value in table.items() if key not in NO_TABLE})


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A table's values by keys with dots."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def key_of(score: Score) -> RowKey:
    """Which score it is."""
    return RowKey(score.model, score.against, score.suite, score.metric)
