"""What a finished run must still have so that its student can be scored again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import DamagedData, Mismatch, MissingInput, UsageError
from kdkit.models import find_folder, weights_digest
from kdkit.runs.facts_table import as_facts, facts_in
from kdkit.runs.folders import LOCK, RECIPE, STUDENT
from kdkit.runs.record import SCORED, read_record
from kdkit.runs.run import Run
from kdkit.runs.stage_facts import BaselineMade, TeacherMade
from kdkit.store import store_of
from kdkit.system.locks import is_held

if TYPE_CHECKING:
    from kdkit.recipe import Recipe
    from kdkit.system.progress import Progress

_MADE_AGAIN = "run its recipe again, which makes it again"


def record_of(run_dir: Path) -> dict[str, Any]:
    """The record of a finished run.

    Raises:
        MissingInput: There is no run.
        UsageError: It is not finished, or another process works there, or it is an evaluation itself.
    """
    record = read_record(run_dir)
    if not record or not (run_dir / RECIPE).is_file():
        raise MissingInput(
            f"there is no run in {run_dir} (no run.json); give the folder of a finished run, or of a sweep"
        )
    if SCORED in record:
        raise UsageError(f"{run_dir} is an evaluation itself; give the folder of the run that it scored")
    if is_held(run_dir / LOCK):
        raise UsageError(f"another kdkit process works in {run_dir}; wait for it, and score its student then")
    if record["status"] != "done":
        raise UsageError(
            f"the run in {run_dir} is not finished ({record['status']}); finish it first: "
            f"kdkit run {run_dir / RECIPE} --run-dir {run_dir}"
        )
    return record


def finished(run_dir: Path, recipe: Recipe, record: dict[str, Any], *, device: str, progress: Progress) -> Run:
    """A finished run to read from.

    Args:
        run_dir: Its folder.
        recipe: The recipe of its evaluation.
        record: Its record.
        device: Where models are opened.
        progress: Where progress is shown.

    Raises:
        MissingInput: Its rows are gone.
    """
    run = Run(
        recipe=recipe,
        path=run_dir,
        store=store_of(recipe.store.dir, run_dir),
        device=device,
        progress=progress,
        record=record,
    )
    for name in ("data/train.jsonl", *(["written/train.jsonl"] if recipe.writing is not None else [])):
        if not (run_dir / name).is_file():
            raise MissingInput(f"the rows of {run_dir} are gone: there is no {run_dir / name}; {_MADE_AGAIN}")
    return run


def student_weights(run_dir: Path) -> str:
    """Digest of the weights and configuration of a run's student.

    Raises:
        MissingInput: It is gone.
    """
    folder = run_dir / STUDENT
    try:
        if not folder.is_dir():
            raise MissingInput(f"there is no folder {folder}")  # noqa: TRY301
        return weights_digest(find_folder(str(folder), weights=True))
    except (MissingInput, DamagedData) as error:
        raise MissingInput(f"the student of {run_dir} is gone: {error}; {_MADE_AGAIN}") from error


def trained_stages(run: Run) -> dict[str, Any]:
    """The entries of a finished run's record for the stages that trained, with whole paths to what they made.

    Raises:
        MissingInput: A model that they made is gone.
        Mismatch: It has other weights.
    """
    stages = run.record["stages"]
    entries = {name: copy.deepcopy(stages[name]) for name in ("teacher", "write", "distill") if name in stages}
    entries["teacher"]["facts"] = as_facts(_with_teacher(run))
    told = facts_in(run.record, BaselineMade, run.path) or BaselineMade(folder=None)  # which older runs have not
    entries["baseline"] = {**stages.get("baseline", {"status": "done", "seconds": 0.0}), "facts": as_facts(told)}
    if run.recipe.evaluation.baselines and told.folder is not None and not Path(told.folder).is_dir():
        raise MissingInput(
            f"the labels-only student of {run.path} is gone: there is no folder {told.folder}; {_MADE_AGAIN}, or score "
            "without baselines: -o evaluation.baselines=false"
        )
    return entries


def _with_teacher(run: Run) -> TeacherMade:
    """What the run tells of its teacher, with the folder where it is now."""
    told = run.told(TeacherMade)
    if told.folder is None:
        return told
    places = [run.path / told.folder, *([Path(told.store)] if told.made and told.store else [])]
    there = next((place.absolute() for place in places if (place / "config.json").is_file()), None)
    if there is None:
        raise MissingInput(
            f"the teacher of {run.path} is gone: there is no {' and no '.join(map(str, places))}; {_MADE_AGAIN}"
        )
    if told.weights not in {None, weights_digest(there)}:
        raise Mismatch(
            f"the teacher in {there} has other weights or another configuration than when {run.path} was run; put the "
            "former files back, or run the recipe again"
        )
    return attrs.evolve(told, folder=str(there))
