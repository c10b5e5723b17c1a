"""The stages of a run: what each leaves, and the module that does it, imported when it is first needed.

A stage reads what earlier ones left in the run folder and told, and calls none of them. What says whether a run is
finished is here, so that a finished run is known without torch and all that trains and evaluates.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kdkit.evaluation import baselines
from kdkit.runs.stage import STAGE_NAMES, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from kdkit.recipe import Recipe

WORKSHOP = "teacher-training"
"""The folder in which a teacher is trained."""

WRITTEN = ("student", "student-validation", *baselines.NAMES)
"""Of the files of texts, those that the evaluation writes."""


def _in(module: str, function: str) -> Callable[..., Any]:
    """A function of a stage's module, which is imported when it is called."""

    def call(*arguments: Any) -> Any:
        return getattr(import_module(f"{__name__}.{module}"), function)(*arguments)

    return call


def _stage(name: str, work: str, *, restore: bool = False, seconds: bool = False, **leaves: Any) -> Stage:
    if seconds:
        leaves["seconds"] = _in(name, "seconds")
    return Stage(
        name=name,
        work=_in(name, work),
        plan=_in(name, "plan"),
        restore=_in(name, "restore") if restore else None,
        **leaves,
    )


WRITE = _stage(
    "write",
    "fill",
    outputs=("predictions/targets.jsonl", "written/train.jsonl"),
    leftovers=("predictions/targets.jsonl.*partial*", "written"),
    restore=True,
    together=True,
)
"""The stage of runs whose teacher writes the targets of the training rows."""

STAGES: tuple[Stage, ...] = (
    _stage(
        "data",
        "load",
        outputs=("data/train.jsonl", "data/validation.jsonl", "data/report.json"),
        restore=True,
    ),
    _stage("check", "fit_together"),
    _stage("teacher", "fit", leftovers=("teacher", ".teacher.partial", WORKSHOP), restore=True, together=True),
    _stage(
        "capture",
        "fill",
        outputs=("predictions/teacher.jsonl",),
        leftovers=("predictions/teacher.jsonl.*partial*",),
        restore=True,
        together=True,
    ),
    _stage(
        "distill",
        "fit",
        outputs=("student/best/config.json", "student/final/config.json"),
        leftovers=("student",),
        together=True,
    ),
    _stage("baseline", "fit", leftovers=(baselines.LABELS_ONLY,), restore=True, together=True, seconds=True),
    _stage(
        "evaluate",
        "score",
        outputs=("predictions/student.jsonl", "evaluation.json", "rows.npz"),
        leftovers=tuple(f"predictions/{name}.jsonl*" for name in WRITTEN),
        together=True,
        seconds=True,
    ),
    _stage("report", "write_pages", outputs=("report.html", "report.md"), seconds=True),
)
"""The stages of every run, in order."""


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of a recipe's run, in order."""
    if recipe.writing is None:
        return STAGES
    before = STAGE_NAMES.index(WRITE.name)
    return (*STAGES[:before], WRITE, *STAGES[before:])
