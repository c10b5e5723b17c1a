"""The time of a plan: by what earlier runs left (see `kdkit.pipeline.times`), else by a trial.

A trial is a run of the recipe with a few steps and rows, in a folder that is deleted.
"""

from __future__ import annotations

import math
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.data.rows import more_of
from kdkit.data.splitting import drawn
from kdkit.errors import Interrupted
from kdkit.pipeline.run import run
from kdkit.pipeline.stages import stages_of
from kdkit.pipeline.times import RUN, TRIAL, WHAT, seconds_of, times_file, units
from kdkit.pipeline.tokenizers import tokenizer_of
from kdkit.recipe import load_recipe
from kdkit.recipe.sections import OPTIONAL_SECTIONS
from kdkit.store import tables
from kdkit.store.rows import rows_of
from kdkit.system import devices
from kdkit.system.files import make_folder
from kdkit.system.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.api.values import Corpus
    from kdkit.pipeline.plan import Plan
    from kdkit.pipeline.prepared import Prepared
    from kdkit.recipe import Recipe
    from kdkit.runs.stage_facts import Estimate
    from kdkit.system.progress import Progress, StageShown, Task

_BY = {
    RUN: "the last run of this kind on this machine",
    TRIAL: "a few steps and rows on this machine",
}
FEWEST, MOST, WORK = 3, 30, 1e12
"""Steps of each training of a trial, of which the first does not count: for so many floating-point operations, some
seconds of a processor. A few steps of a small model are over before they are as fast as later ones."""
_SHARED = ("data", "rows", "tokenizers")
"""What a trial takes from the store: the work of these is done, or will be kept for the run."""


@attrs.frozen(kw_only=True)
class PlannedTime:
    """Seconds that a stage will take.

    Attributes:
        seconds: How many.
        by: What says so: a run, or a trial.
    """

    seconds: float
    by: str


def with_times(plan: Plan, prepared: Prepared, progress: Progress, *, at_most: int | None = None) -> Plan:
    """A plan with the time of each stage that is not done; as it is where that would take too large a trial.

    Args:
        plan: The plan.
        prepared: Its recipe and rows.
        progress: Where it is told that the recipe is tried.
        at_most: Parameters of a model that is tried; by default a model of any size is.

    Raises:
        KdkitError: Nothing is kept for such runs, and the recipe cannot be tried.
    """
    if all(stage.done for stage in plan.stages):
        return attrs.evolve(plan, timed_by=_BY[RUN])
    found = planned_times(prepared, prepared.estimate(plan.store), plan.store, progress, at_most=at_most)
    if found is None:
        return plan
    seconds = {name: each.seconds for name, each in found.items()}
    stages = tuple(
        attrs.evolve(stage, seconds=None if stage.done else seconds.get(stage.name)) for stage in plan.stages
    )
    by = {found[stage.name].by for stage in stages if stage.seconds is not None}
    return attrs.evolve(plan, stages=stages, timed_by=_BY[TRIAL if TRIAL in by else RUN])


def planned_times(
    prepared: Prepared, found: Estimate, store: Path, progress: Progress, *, at_most: int | None = None
) -> dict[str, PlannedTime] | None:
    """The time of each stage that something tells of; None where only too large a trial would tell.

    Args:
        prepared: The recipe and its rows.
        found: Its estimate.
        store: The folder that runs share.
        progress: Where it is told that the recipe is tried.
        at_most: Parameters of a model that is tried; by default a model of any size is.

    Raises:
        KdkitError: Nothing is kept for such runs, and the recipe cannot be tried.
    """
    recipe = prepared.recipe
    path = times_file(store, recipe, devices.pick(recipe.device))
    planned = units(recipe, found)
    kept = tables.read(path, WHAT, progress) or {}
    if not planned.keys() - {"write"} <= kept.keys():
        if at_most is not None and largest(found) > at_most:
            return None
        progress.note("trying a few steps of each training and a batch of other rows, to measure times")
        kept = {**_tried(prepared, found, store, progress), **kept}
        tables.write(path, WHAT, kept)
    return {
        name: PlannedTime(seconds=seconds_of(each, planned.get(name, {})), by=each["by"]) for name, each in kept.items()
    }


def largest(found: Estimate) -> int:
    """Parameters of the larger model."""
    return max(size.parameters for size in (found.teacher, found.student) if size is not None)


def _tried(prepared: Prepared, found: Estimate, store: Path, progress: Progress) -> dict[str, Any]:
    """What each stage takes of a run of a few steps and rows."""
    recipe = prepared.recipe
    make_folder(store / "times")
    with tempfile.TemporaryDirectory(dir=store / "times", prefix="trial-") as name:
        folder = Path(name)
        make_folder(folder / "store")
        for shared in _SHARED:
            make_folder(store / shared)
            (folder / "store" / shared).symlink_to((store / shared).absolute(), target_is_directory=True)
        few = {key: value for key, value in recipe.resolved.items() if key not in OPTIONAL_SECTIONS}
        overrides = [f"{key}={value}" for key, value in _fewer(prepared, found, store)]
        trial = load_recipe(few, [*overrides, f'store.dir="{folder / "store"}"'])
        try:
            with progress.task("trial", total=len(stages_of(trial)), unit="stages") as task:
                run(trial, folder / "run", progress=_Stages(task))
        except Interrupted as stopped:  # it names what it saved in a folder that is deleted now
            raise Interrupted(
                "stopped while times were measured; nothing of that trial is kept",
                signal_exit_code=stopped.signal_exit_code,
            ) from stopped
        made = tables.read(times_file(folder / "store", trial, devices.pick(trial.device)), WHAT, Silent())
        return {stage: {**each, "by": TRIAL} for stage, each in (made or {}).items()}


class _Stages(Silent):
    """Of a trial only which stage it is in: its notes and bars would be taken for those of the run."""

    def __init__(self, task: Task) -> None:
        self._task = task

    @contextmanager
    def stage(self, stage: StageShown) -> Iterator[None]:
        self._task.advance(0, stage=stage.name)
        yield
        self._task.advance()


def _fewer(prepared: Prepared, found: Estimate, store: Path) -> Iterator[tuple[str, Any]]:
    """The overrides of a trial: rows for so many steps, and a batch of held-out ones.

    A row of a data set may be a text of many blocks or a conversation of many turns: a batch may be less than one row.
    """
    recipe, corpus = prepared.recipe, prepared.corpus
    tuning, blocks = recipe.teacher.fine_tune, _encoded_a_row(recipe, corpus, found)
    rows = len(drawn(corpus.train, recipe.training.rows))
    trained = [("training", recipe.training, found.student_tokens / max(rows, 1), found.student.parameters)]
    if tuning is not None:
        tuned = len(drawn(recipe.with_targets(corpus.train), tuning.rows))
        size = found.teacher.parameters if found.teacher is not None else found.student.parameters
        trained.append(("teacher.fine_tune", tuning, found.teacher_tokens / max(tuned, 1), size))
    batch = recipe.generation.batch_size
    checked = math.ceil(batch / blocks["validation"])
    for section, training, tokens, parameters in trained:
        a_batch = (
            training.batch_tokens / max(tokens, 1) if training.batch_tokens else training.batch_size / blocks["train"]
        )
        steps = _steps(parameters, tokens * a_batch * training.accumulation)
        few = math.ceil(steps * training.accumulation * a_batch)
        yield f"{section}.epochs", steps  # short texts may be drawn, which fill fewer batches than others
        if few < len(corpus.train) and (not training.rows or few < training.rows):
            yield f"{section}.rows", few
        yield f"{section}.max_steps", steps
        yield f"{section}.validation_rows", min(checked, training.validation_rows or checked)
    scored = math.ceil(batch / blocks["test" if corpus.test else "validation"])
    yield "evaluation.rows", min(scored, recipe.evaluation.rows or scored)
    made = recipe.resolved["student"].get("from_teacher")
    if isinstance(made, dict) and ("keep" in made or "width" in made):
        yield "student.from_teacher.tokens", max(1, made["tokens"] // 8)
    if recipe.evaluation.wants_texts:  # models that have hardly learned do not end their texts
        ready = prepared.settled
        tokenizer = tokenizer_of(ready, corpus, store)
        read = rows_of(corpus.held_out, tokenizer, ready.encoding, at_most=scored)
        longest = int(read.encoded.target_lengths.max())
        fewest = recipe.generation.min_new_tokens + 1
        yield "generation.max_new_tokens", max(min(longest, recipe.generation.max_new_tokens), fewest)


def _steps(parameters: int, tokens: float) -> int:
    """How many steps of so many tokens a trial takes: six operations for each parameter and token."""
    return max(FEWEST, min(MOST, math.ceil(WORK / (6 * max(parameters, 1) * max(tokens, 1)))))


def _encoded_a_row(recipe: Recipe, corpus: Corpus, found: Estimate) -> dict[str, float]:
    """By split, as how many rows the models read a row of the data set on the average; 1 or more."""
    tuning, validated, scored = recipe.teacher.fine_tune, recipe.training.validation_rows, recipe.evaluation.rows
    limits = {
        "train": more_of(recipe.training.rows, tuning.rows) if tuning is not None else recipe.training.rows,
        "validation": validated if corpus.test else more_of(validated, scored),
        "test": scored,
    }
    rows = {split: len(getattr(corpus, split)) for split in limits}
    read = {split: min(rows[split], most) if most else rows[split] for split, most in limits.items()}
    return {split: max(1.0, found.rows[split] / max(count, 1)) for split, count in read.items()}
