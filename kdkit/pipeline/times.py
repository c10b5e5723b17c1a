"""How long the stages of a run will take: by the last run of the same shape on this machine, else by a trial.

A run leaves in the store's `times/KEY.json` what each stage took: its work as units and seconds a unit (steps, rows of
logits, texts, rows of losses), and the rest, which hardly depends on how much work there is. KEY is a digest of what a
unit costs: models, batches, lengths, codec, device, threads, machine. It leaves out how many units there are, and
options that cost nothing, such as a seed. A plan takes the units of its own run times these seconds (see
`kdkit.pipeline.plan_time`).
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
from typing import TYPE_CHECKING, Any

from kdkit.evaluation.timing import BATCHES
from kdkit.pipeline.kept import rows_key
from kdkit.recipe.sections import OPTIONAL_SECTIONS
from kdkit.runs.stage_facts import Estimate
from kdkit.store import tables
from kdkit.system import devices
from kdkit.system.digests import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdkit.api.options import Training
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.system.progress import Measured, MeasuredStage

WHAT = "times"
RUN, TRIAL = "run", "trial"
_COUNTS: Mapping[str, tuple[str, ...]] = {
    "training": (
        *("epochs", "rows", "max_steps", "validation_rows", "seed", "learning_rate", "weight_decay", "warmup_ratio"),
        *("schedule", "max_grad_norm", "log_every", "checkpoint_every"),
    ),
    "generation": ("max_new_tokens", "seed"),
    "evaluation": ("rows", "bootstrap", "examples", "headline"),
    "loss": ("alpha", "temperature"),
}
"""Options that say how much there is to do, or cost nothing."""


def times_key(recipe: Recipe, device: str) -> str:
    """Of what a unit of work costs."""
    sections = {
        name: _without_counts(name, table) for name, table in recipe.digested.items() if isinstance(table, dict)
    }
    sections.pop("store", None)
    for name in OPTIONAL_SECTIONS:
        sections.pop(name, None)
    depends = {
        "sections": sections,
        "reads the teacher": recipe.loss.needs_teacher,
        "machine": [platform.node(), platform.machine(), os.cpu_count()],
        "device": device,
        "threads": devices.threads(),
        "versions": {name: importlib.metadata.version(name) for name in ("kdkit", "torch", "transformers")},
    }
    return digest_of(depends)[:32]


def _without_counts(section: str, table: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in table.items() if name not in _COUNTS.get(section, ())}
    for name, like in (("fine_tune", "training"), ("write_targets", "generation")):
        if isinstance(kept.get(name), dict):
            kept[name] = _without_counts(like, kept[name])
    if isinstance(made := kept.get("from_teacher"), dict):
        kept["from_teacher"] = {name: value for name, value in made.items() if name != "tokens"}
    return kept


def units(recipe: Recipe, found: Estimate) -> dict[str, dict[str, float]]:
    """By stage and name of work, how much there will be; work that is not named is the same in all runs.

    "score" stands for all work whose name begins with it.
    """
    training, tuning = recipe.training, recipe.teacher.fine_tune
    checked = found.rows["validation"]
    held_out = found.rows["test"] or min(checked, recipe.evaluation.rows or checked)
    judged = _validated(training, found.student_steps, checked)
    tuned = _validated(tuning, found.teacher_steps, checked) if tuning is not None else {}
    texts = found.generated_rows
    made = recipe.resolved["student"].get("from_teacher", {})
    ranked = float(made.get("tokens", 0)) if isinstance(made, dict) else 0.0
    return {
        "teacher": {
            "train teacher": found.teacher_steps,
            **tuned,
            "rank layers": ranked,
            "leave out layers": ranked,
            "rank heads and channels": ranked,
        },
        "write": {"teacher on training rows writes": found.written_rows},
        "capture": {"capture": found.capture_rows, "teacher writes": texts},
        "distill": {"train student": found.student_steps, **judged},
        "baseline": {"train labels-only student": found.baseline_steps, **judged},
        "evaluate": {
            "score": held_out,
            "score student on validation rows": min(checked, recipe.evaluation.rows or checked),
            "time texts": min(held_out, BATCHES * recipe.generation.batch_size),
            "student writes": texts,
            "labels-only writes": texts if found.baseline_steps else 0,
            "untouched writes": texts if recipe.evaluation.baselines else 0,
            "student on validation rows writes": found.picking_rows,
        },
    }


def _validated(training: Training, steps: int, rows: int) -> dict[str, float]:
    """About how many rows a training is judged on: those of each epoch."""
    epochs = training.epochs
    if training.max_steps and steps >= training.max_steps and training.rows and not training.batch_tokens:
        epochs = math.ceil(steps * training.accumulation * training.batch_size / training.rows)
    count = epochs * min(rows, training.validation_rows or rows)
    return {"validate": count}


def _planned(units_of_stage: Mapping[str, float], name: str) -> float:
    return units_of_stage.get(name, units_of_stage.get(name.partition(" ")[0], 0))


def keep(run: Run, measured: Measured) -> None:
    """Keep what the stages of a run took that were done here, for later plans."""
    found, path = run.told(Estimate), times_file(run.store, run.recipe, run.device)
    planned = units(run.recipe, found)
    stages = {
        name: _as_table(work, planned.get(name, {}))
        for name, work in measured.stages.items()
        if _is_whole(work, planned.get(name, {})) and not (name == "data" and _is_read_once(run.recipe, work))
    }
    before = tables.read(path, WHAT, run.progress) or {}
    try:
        tables.write(path, WHAT, {**before, **stages})
    except OSError as error:  # the run is done, whatever becomes of this
        run.progress.note(f"what the stages took is not kept: {error.strerror}")


def times_file(store: Path, recipe: Recipe, device: str) -> Path:
    """Where the times of such runs are kept."""
    return store / "times" / f"{times_key(recipe, device)}.json"


def _is_whole(done: MeasuredStage, planned: Mapping[str, float]) -> bool:
    """Whether a stage did what was planned, and did not find the result of some work in the store.

    Logits of rows that are equal are captured once, which counts as done before.
    """
    return not any(each.before for name, each in done.work.items() if name != "capture") and all(
        name in done.work and (done.work[name].units >= count or not name.startswith("train "))
        for name, count in planned.items()
        if count and (name.startswith(("train ", "score ")) or name.endswith((" writes", "capture")))
    )


def _is_read_once(recipe: Recipe, done: MeasuredStage) -> bool:
    """Whether rows were read that the store has kept since, so that another run will not take that long."""
    return "data" in done.work and rows_key(recipe) is not None


def _as_table(done: MeasuredStage, planned: Mapping[str, float]) -> dict[str, Any]:
    work = {
        name: {"units": each.units, "rate": each.rate, "planned": _planned(planned, name)}
        for name, each in done.work.items()
    }
    return {"seconds": done.seconds, "work": work, "by": RUN}


def seconds_of(kept: Mapping[str, Any], planned: Mapping[str, float]) -> float:
    """A stage's time: what it took besides its work, and its work, so many times as much as it was."""
    fixed, total = float(kept["seconds"]), 0.0
    for name, each in kept["work"].items():
        took = float(each["units"] * each["rate"])
        fixed -= took
        total += took * (_planned(planned, name) / each["planned"] if each["planned"] else 1)
    return max(fixed, 0.0) + total
