"""What a run of a recipe would do: per stage what is done, what will be computed and what will be written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.interfaces import FetchedSource
from kdkit.api.interfaces.codecs import FittedCodec
from kdkit.data import corpus as corpora
from kdkit.errors import MissingInput
from kdkit.pipeline.estimate import estimate, free_bytes
from kdkit.pipeline.run import STAGES
from kdkit.recipe.inputs import check_inputs
from kdkit.runs.folders import check_folders
from kdkit.runs.record import check_recipe, read_record
from kdkit.runs.run import is_done
from kdkit.store import store_of
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from kdkit.api.values import Corpus
    from kdkit.pipeline.estimate import Estimate
    from kdkit.recipe import Recipe
    from kdkit.system.progress import Progress


@attrs.frozen(kw_only=True)
class PlannedStage:
    """One stage of a plan.

    Attributes:
        name: Its name.
        done: Whether the run folder holds its result.
        work: What it does, in a few words with numbers.
        tokens: Tokens that a model reads or writes in it; 0 where none does.
        bytes: What it writes at most: a teacher or logits that the store has already are not written again.
    """

    name: str
    done: bool
    work: str
    tokens: int
    bytes: int


@attrs.frozen(kw_only=True)
class Plan:
    """What a run would do.

    Attributes:
        run_dir: The run folder.
        store: The folder that runs share.
        stages: Its stages, in order.
        bytes: What the stages that are not done write at most.
        free: Free bytes on the run folder's and the store's disk.
    """

    run_dir: Path
    store: Path
    stages: tuple[PlannedStage, ...]
    bytes: int
    free: dict[str, int]


def make_plan(recipe: Recipe, run_dir: Path | None, progress: Progress) -> Plan:
    """Plan a run. Reads the data set unless the run folder holds it; loads tokenizers and configurations, no weights.

    Raises:
        Mismatch: The run folder belongs to another recipe, or parts of the recipe do not fit each other.
        MissingInput: The data set has not been fetched yet, or a model that is named is not there.
        UsageError: See `kdkit.pipeline.estimate`.
    """
    path = run_dir if run_dir is not None else Path("runs") / recipe.name
    check_folders(recipe, path)
    check_recipe(path, recipe)
    record = read_record(path)
    done: dict[str, bool] = {}
    for stage in STAGES:  # after a stage that is done anew, all are
        done[stage.name] = all(done.values()) and is_done(record, path, recipe, stage, STAGES)
    corpus = (
        corpora.read(path / "data", record["stages"]["data"]["facts"]["digest"])
        if done["data"]
        else _read(recipe, progress)
    )
    store = store_of(recipe, path)
    stages = tuple(
        attrs.evolve(planned, done=done[planned.name]) for planned in _stages(recipe, corpus, estimate(recipe, corpus))
    )
    return Plan(
        run_dir=path,
        store=store,
        stages=stages,
        bytes=sum(stage.bytes for stage in stages if not stage.done),
        free={"run_dir": free_bytes(path), "store": free_bytes(store)},
    )


def _read(recipe: Recipe, progress: Progress) -> Corpus:
    check_inputs(recipe)
    if isinstance(recipe.data, FetchedSource) and not recipe.data.is_here():
        raise MissingInput(
            f"data set {recipe.names['data']} has to be fetched before it can be planned with, which `kdkit run` does; "
            "or say with an option of [data] where a copy lies"
        )
    return recipe.data.load(progress)


def _stages(recipe: Recipe, corpus: Corpus, found: Estimate) -> list[PlannedStage]:
    text_bytes = sum(len(e.source) + len(e.target) for e in (*corpus.train, *corpus.validation, *corpus.test))
    trained = found.source_tokens["train"] + found.target_tokens["train"]
    held_out = "test" if corpus.test else "validation"
    fine_tune, training = recipe.teacher.fine_tune, recipe.training
    rows = ", ".join(f"{count:,} {split}" for split, count in found.rows.items() if count)
    generated = f"{plural(found.generated_rows, f'{held_out} row')} with {plural(recipe.generation.beams, 'beam')}"
    return [
        _stage("data", f"read {recipe.names['data']}: {rows} rows", size=text_bytes),
        _stage("check", "tokenizers, vocabularies, metrics and free disk"),
        _stage(
            "teacher",
            _teacher_work(recipe, found),
            tokens=trained * fine_tune.epochs if fine_tune is not None else 0,
            size=found.teacher_bytes,
        ),
        _stage(
            "capture",
            (
                f"logits of {found.capture_rows:,} rows by {recipe.names['codec']} (unless the store has them)"
                + (", without what the codec learns" if isinstance(recipe.codec, FittedCodec) else "")
                if found.capture_rows
                else "no logits: the loss needs none"
            )
            + f"; texts of {generated}",
            tokens=found.capture_tokens,
            size=found.capture_bytes,
        ),
        _stage(
            "distill",
            f"{_millions(found.student.parameters)} parameters, {found.student_steps:,} steps, "
            f"{plural(training.epochs, 'epoch')}, loss {recipe.names['loss']}",
            tokens=trained * training.epochs,
            size=found.student_bytes,
        ),
        _stage(
            "baseline",
            f"the same student, {found.baseline_steps:,} steps on the labels alone (unless the store has it)"
            if found.baseline_steps
            else "none to train",
            tokens=trained * training.epochs if found.baseline_steps else 0,
            size=found.baseline_bytes,
        ),
        _stage("evaluate", _evaluation_work(recipe, found, generated)),
        _stage("report", "report.html and report.md"),
    ]


def _evaluation_work(recipe: Recipe, found: Estimate, generated: str) -> str:
    writers = 1 + recipe.evaluation.baselines + bool(found.baseline_steps)
    by = f" by each of {writers} models" if writers > 1 else ""
    picking = f", of {plural(found.picking_rows, 'validation row')} by the student" if found.picking_rows else ""
    suites = ", ".join(named.name for named in recipe.evaluation.suites)
    return f"texts of {generated}{by}{picking}; {suites}"


def _teacher_work(recipe: Recipe, found: Estimate) -> str:
    if found.teacher is None:
        return f"{recipe.names['teacher']}: nothing to make"
    size = f"{_millions(found.teacher.parameters)} parameters"
    if recipe.teacher.fine_tune is not None:
        return f"{size}, {found.teacher_steps:,} steps on the ground truth (unless the store has it)"
    return (
        f"{size}, {'new and untrained (unless the store has it)' if recipe.teacher.is_made_here else 'used as it is'}"
    )


def _stage(name: str, work: str, *, tokens: int = 0, size: int = 0) -> PlannedStage:
    return PlannedStage(name=name, done=False, work=work, tokens=tokens, bytes=size)


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.1f} M"


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as a value that JSON can hold."""
    return {
        "run_dir": str(plan.run_dir),
        "store": str(plan.store),
        "stages": [attrs.asdict(stage) for stage in plan.stages],
        "bytes": plan.bytes,
        "free": plan.free,
        "fits": plan.bytes <= min(plan.free.values()),
    }
