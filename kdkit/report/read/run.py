"""Reads a run folder into frozen values: all that a report says comes from here.

Nothing is recomputed. A part that is not there is named in `RunFacts.missing`; a part that cannot be read is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import MissingInput
from kdkit.evaluation import record
from kdkit.report.read import rows
from kdkit.report.read.files import as_table, json_of, lines_of, object_of, recipe_of, text_of
from kdkit.runs.folders import LOCK
from kdkit.runs.record import SCORED
from kdkit.runs.stage import STAGE_NAMES
from kdkit.system.locks import is_held
from kdkit.system.reading import count_lines

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdkit.evaluation.record import Bin, EvaluationRecord
    from kdkit.report.read.rows import ScoredRow

STAGES = tuple(name for name in STAGE_NAMES if name != "report")  # which is the stage that writes the page
NOT_IN_EVERY = {"baseline", "write"}
"""Stages that not every run has: older ones have no baseline, and few teachers write targets."""
_MOST_LINES = 20_000
"""Lines of `metrics.jsonl` that are read one by one: more than any figure can show."""


@attrs.frozen(kw_only=True)
class RunFacts:
    """What a run folder holds.

    Attributes:
        folder: Name of the run folder.
        path: Where it is; None where that is not known.
        recipe: The resolved recipe as tables; empty when there is none.
        recipe_text: The same as text.
        run: `run.json`.
        data: `data/report.json`.
        metrics: The lines of `metrics.jsonl`.
        split: The split that was scored.
        evaluation: What `evaluation.json` says.
        rows: The rows that the student wrote a text for.
        missing: One sentence for each part that is not there.
    """

    folder: str
    recipe: Mapping[str, Any]
    recipe_text: str
    run: Mapping[str, Any]
    data: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    split: str
    evaluation: EvaluationRecord
    rows: tuple[ScoredRow, ...]
    missing: tuple[str, ...]
    path: Path | None = None

    @property
    def calibration(self) -> Mapping[str, tuple[Bin, ...]]:
        """Of each model, the bins that hold a token."""
        return {model: each.filled for model, each in self.evaluation.calibration.items()}

    def table(self, name: str) -> Mapping[str, Any]:
        """A table of the recipe; empty where there is none."""
        return as_table(self.recipe.get(name))

    def stage(self, name: str) -> Mapping[str, Any]:
        """What `run.json` says of a stage: its entry with its `facts` merged in."""
        entry = as_table(as_table(self.run.get("stages")).get(name))
        return {**entry, **as_table(entry.get("facts"))}

    @property
    def scored(self) -> Mapping[str, Any]:
        """Which run an evaluation of a finished run scored, and what was changed; empty for a run."""
        return as_table(self.run.get(SCORED))

    @property
    def name(self) -> str:
        """The recipe's name, else the folder's."""
        return str(self.run.get("name") or self.recipe.get("name") or self.folder)

    @property
    def scored_in(self) -> str:
        """What is scored one by one: rows, the blocks of texts, or the assistant's turns in conversations."""
        data = self.table("data")
        return "block" if data.get("text") else "turn" if data.get("messages") else "row"

    @property
    def seed(self) -> int:
        """The recipe's seed."""
        seed = self.recipe.get("seed")
        return seed if isinstance(seed, int) else 0


def read_run(folder: Path) -> RunFacts:
    """Read a run folder.

    Raises:
        MissingInput: The folder is not there, or holds neither `recipe.toml` nor `run.json`.
        DamagedData: A file in it cannot be read.
    """
    if not (folder / "recipe.toml").is_file() and not (folder / "run.json").is_file():
        raise MissingInput(
            f"{folder} is not a run folder: it holds neither recipe.toml nor run.json; "
            "give the folder that `kdkit run` wrote (runs/NAME by default)"
        )
    missing: list[str] = []
    recipe_text = text_of(folder / "recipe.toml", "The recipe", missing) or ""
    recipe = recipe_of(folder / "recipe.toml", recipe_text)
    run = json_of(folder / "run.json", "The record of the run", missing)
    stages = as_table(run.get("stages"))
    ended = None if is_held(folder / LOCK) else "its process ended before"
    for stage in STAGES:
        status = as_table(stages.get(stage)).get("status")
        status = ended or status if status == "running" else status  # a process that was killed could not note it
        if run and status not in {"done", "skipped"} and not (stage in NOT_IN_EVERY and stage not in stages):
            missing.append(f'Stage "{stage}" is not finished ({status or "not begun"}).')
    found = _evaluation(folder, missing)
    return RunFacts(
        folder=folder.resolve().name,
        recipe=recipe,
        recipe_text=recipe_text,
        run=run,
        data=json_of(folder / "data" / "report.json", "The account of the data", missing),
        metrics=() if SCORED in run else _metrics(folder / "metrics.jsonl", missing),
        split=found.split,
        evaluation=found,
        rows=rows.rows_of(folder, found.split, missing),
        missing=tuple(missing),
        path=folder,
    )


def _evaluation(folder: Path, missing: list[str]) -> EvaluationRecord:
    try:
        found = record.read(folder)
    except MissingInput:
        missing.append(f"The evaluation is left out: there is no {folder.name}/{record.FILE} yet.")
        return record.EvaluationRecord(split=rows.split_of(folder), row_count=0, scores=())
    missing += [
        f"Size and time of the {model} are left out: they were not measured."
        for model in ("teacher", "student")
        if model not in found.costs
    ]
    return found


def _metrics(path: Path, missing: list[str]) -> tuple[Mapping[str, Any], ...]:
    if not path.is_file():
        missing.append("The loss curves are left out: there is no metrics.jsonl yet.")
        return ()
    every = max(1, -(-count_lines(path) // _MOST_LINES))
    if every > 1:
        missing.append(f"Of each {every:,} lines of training in metrics.jsonl one is drawn, for there are very many.")
    found: list[Mapping[str, Any]] = []
    for index, line in lines_of(path):
        is_kept = index % every == 0 or ('"validation"' in line and len(found) < 2 * _MOST_LINES)
        if not line.endswith("\n"):
            # A run that was killed may leave half a line behind; every line before it is whole.
            missing.append(f"Line {index} of metrics.jsonl is left out: it ends in the middle.")
        elif is_kept:
            found.append(object_of(line, f"{path}:{index}"))
    return tuple(found)
