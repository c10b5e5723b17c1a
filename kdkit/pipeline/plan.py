"""Plans a run: which stages are done, what the others will compute, and what they will write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import SPLITS
from kdkit.pipeline.kept import finished_plan_key, plan_key, rows_key
from kdkit.pipeline.prepared import Prepared
from kdkit.pipeline.stages import stages_of
from kdkit.recipe.inputs import check_inputs
from kdkit.recipe.placing import placed
from kdkit.runs.facts_table import facts_in
from kdkit.runs.folders import check_folders
from kdkit.runs.record import check_no_evaluation, check_recipe, read_record
from kdkit.runs.resume import is_done
from kdkit.runs.stage import Planned, RowsPlanned
from kdkit.runs.stage_facts import DataRead, Estimate, TeacherMade
from kdkit.store import inputs, store_of
from kdkit.system.folders import free_bytes

if TYPE_CHECKING:
    from kdkit.recipe import Recipe
    from kdkit.system.progress import Progress


@attrs.frozen(kw_only=True)
class PlannedStage(Planned):
    """One stage of a plan.

    Attributes:
        name: Its name.
        done: Whether the run folder holds its result.
        seconds: How long it will take; None where nothing tells, or nobody asked.
    """

    name: str
    done: bool
    seconds: float | None = None


@attrs.frozen(kw_only=True)
class Plan:
    """What a run would do.

    Attributes:
        run_dir: The run folder.
        store: The folder that runs share.
        stages: Its stages, in order.
        bytes: What the stages that are not done write at most.
        free: Free bytes on the run folder's and the store's disk.
        notes: Which rows are left out, and what the models will not learn, or learn wrong: a sentence each.
        timed_by: By what the times of its stages are estimated, in words; "" where they are not.
    """

    run_dir: Path
    store: Path
    stages: tuple[PlannedStage, ...]
    bytes: int
    free: dict[str, int]
    notes: tuple[str, ...] = ()
    timed_by: str = ""

    @property
    def seconds(self) -> float | None:
        """How long the stages will take that are not done; None where of one of them nothing tells."""
        left = [stage.seconds for stage in self.stages if not stage.done]
        return None if not self.timed_by or None in left else sum(each for each in left if each is not None)


@placed
def make_plan(recipe: Recipe, run_dir: Path | None, progress: Progress, prepared: Prepared | None = None) -> Plan:
    """Plan a run. Reads the data set unless the run folder holds it; loads tokenizers and configurations, no weights.

    Args:
        recipe: The recipe.
        run_dir: The run folder; by default `runs/NAME`.
        progress: Where progress is shown.
        prepared: Its rows, where they are wanted for more than the plan.

    Raises:
        Mismatch: The run folder belongs to another recipe, or parts of the recipe do not fit each other.
        MissingInput: The data set has not been fetched yet, or a model that is named is not there.
        UsageError: See `kdkit.pipeline.estimate`.
    """
    path = run_dir if run_dir is not None else Path("runs") / recipe.name
    prepared = prepared if prepared is not None else Prepared(recipe, run_dir, progress)
    check_folders(recipe, path)
    check_no_evaluation(path)
    check_recipe(path, recipe)
    record = read_record(path)
    done: dict[str, bool] = {}
    for stage in (every := stages_of(recipe)):  # after a stage that is done again, all are
        done[stage.name] = all(done.values()) and is_done(record, path, recipe, stage, every)
    data = facts_in(record, DataRead, path) if done["data"] else None
    found = facts_in(record, Estimate, path) if all(done.values()) else None
    store = store_of(recipe.store.dir, path)
    if data is not None and found is not None and found.student_tokens:  # not so in records of an earlier kdkit
        size = sum(file.stat().st_size for file in (path / "data").glob("*.jsonl"))
        planned, notes = _planned_again(recipe, RowsPlanned(counts=data.rows, bytes=size), found, store, progress)
    elif data is not None:
        planned, notes = _estimated(prepared, store)
    else:
        check_inputs(recipe)
        planned, notes = _planned_once(prepared, store, progress)
    made = facts_in(record, TeacherMade, path) if done["teacher"] else None
    if made is not None and made.pruning is not None:
        notes = (*notes, f"the student is made of the teacher's {made.pruning.in_words()}")
    stages = tuple(PlannedStage(name=name, done=done[name], **attrs.asdict(each)) for name, each in planned.items())
    return Plan(
        run_dir=path,
        store=store,
        stages=stages,
        bytes=sum(stage.bytes for stage in stages if not stage.done),
        free={"run_dir": free_bytes(path), "store": free_bytes(store)},
        notes=notes,
    )


def _planned_once(prepared: Prepared, store: Path, progress: Progress) -> tuple[dict[str, Planned], tuple[str, ...]]:
    """The plan that is kept for a recipe's inputs; else made and, where all of them are known, kept."""
    rows = rows_key(prepared.recipe)
    key = plan_key(prepared.recipe, rows)
    kept = _kept(key, store, progress) if key is not None else None
    if kept is not None:
        return kept
    # Of rows that nothing keeps, a plan leaves nothing.
    planned, notes = _estimated(prepared, store if rows is not None else None)
    if key is not None:
        _keep(key, store, planned, notes)
    return planned, notes


def _planned_again(
    recipe: Recipe, rows: RowsPlanned, found: Estimate, store: Path, progress: Progress
) -> tuple[dict[str, Planned], tuple[str, ...]]:
    """The plan of a finished run, of what it noted; kept, since to say it takes the stages and with them torch."""
    key = finished_plan_key(recipe, rows, found)
    kept = _kept(key, store, progress)
    if kept is not None:
        return kept
    planned, notes = _planned(recipe, rows, found)
    _keep(key, store, planned, notes)
    return planned, notes


def _kept(key: str, store: Path, progress: Progress) -> tuple[dict[str, Planned], tuple[str, ...]] | None:
    table = inputs.table(key, store, progress)
    if table is None:
        return None
    return {name: Planned(**each) for name, each in table["stages"].items()}, tuple(table["notes"])


def _keep(key: str, store: Path, planned: dict[str, Planned], notes: tuple[str, ...]) -> None:
    stages = {name: attrs.asdict(each) for name, each in planned.items()}
    inputs.keep_table(key, store, {"stages": stages, "notes": list(notes)})


def _estimated(prepared: Prepared, store: Path | None) -> tuple[dict[str, Planned], tuple[str, ...]]:
    """What each stage will do with some rows, and what the models will not learn of them."""
    from kdkit.data.given import reason_of
    from kdkit.data.text_rows import TextRows

    corpus = prepared.corpus
    size = sum(TextRows.of(corpus.split(split)).text_bytes for split in SPLITS)
    found = prepared.estimate(store)
    counts: dict[str, int] = {split: len(corpus.split(split)) for split in SPLITS}
    planned, notes = _planned(prepared.recipe, RowsPlanned(counts=counts, bytes=size), found)
    return planned, (*(f"of the rows {reason_of(drop)}" for drop in corpus.drops), *notes)


def _planned(recipe: Recipe, rows: RowsPlanned, found: Estimate) -> tuple[dict[str, Planned], tuple[str, ...]]:
    return {stage.name: stage.plan(recipe, rows, found) for stage in stages_of(recipe)}, found.doubts or ()


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON."""
    return {
        "run_dir": str(plan.run_dir),
        "store": str(plan.store),
        "stages": [_stage_as_json(stage) for stage in plan.stages],
        "bytes": plan.bytes,
        "free": plan.free,
        "notes": list(plan.notes),
        "fits": plan.bytes <= min(plan.free.values()),
        **({"seconds": plan.seconds, "timed_by": plan.timed_by} if plan.timed_by else {}),
    }


def _stage_as_json(stage: PlannedStage) -> dict[str, Any]:
    """A stage, with its time if it has one."""
    table = {"name": stage.name, "done": stage.done, **attrs.asdict(stage)}
    return table if stage.seconds is not None else {key: value for key, value in table.items() if key != "seconds"}
