"""A run: the stages in order. The first file to read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kdkit import devices, plugins
from kdkit.progress import Silent
from kdkit.runfolder import Stage, open_run
from kdkit.runrecord import read_report
from kdkit.stages import capture, check, data, distill, evaluate, report, tune

if TYPE_CHECKING:
    from os import PathLike

    from kdkit.progress import Progress
    from kdkit.recipe import Recipe
    from kdkit.values import Report

STAGES = (
    Stage(
        name="data",
        work=data.load,
        outputs=("data/train.jsonl", "data/validation.jsonl", "data/report.json"),
        restore=data.restore,
    ),
    Stage(name="check", work=check.fit_together, outputs=()),
    Stage(
        name="teacher",
        work=tune.fit,
        outputs=(),
        leftovers=("teacher", ".teacher.partial", "teacher-training"),
        restore=tune.restore,
    ),
    Stage(
        name="capture",
        work=capture.fill,
        outputs=("predictions/teacher.jsonl",),
        leftovers=("predictions/teacher.jsonl.partial",),
        restore=capture.restore,
    ),
    Stage(
        name="distill",
        work=distill.fit,
        outputs=("student/best/config.json", "student/final/config.json"),
        leftovers=("student",),
    ),
    Stage(
        name="evaluate",
        work=evaluate.score,
        outputs=("predictions/student.jsonl", "evaluation.json"),
        leftovers=("predictions/student.jsonl.partial",),
    ),
    Stage(name="report", work=lambda run: report.write(run.path), outputs=("report.html", "report.md")),
)


def run(
    recipe: Recipe,
    run_dir: str | PathLike[str] | None = None,
    *,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Run a recipe from the first unfinished stage to the report.

    Args:
        recipe: See `kdkit.load_recipe`.
        run_dir: The run folder; by default `runs/NAME`.
        fresh: Delete what an earlier run left in the folder first.
        progress: Where progress is shown; by default nowhere.

    Returns:
        The scores, the costs, and where everything lies.

    Raises:
        KdkitError: See `kdkit.errors` for what can go wrong.
    """
    path = Path(run_dir) if run_dir is not None else Path("runs") / recipe.name
    device = devices.pick(recipe.device)
    loaded = dict(plugins.load().loaded)
    with open_run(recipe, path, fresh=fresh, progress=progress or Silent(), plugins=loaded, device=device) as opened:
        for stage in STAGES:
            with devices.enough_memory(f"stage {stage.name}"):
                opened.do(stage, STAGES)
        opened.finish()
    return read_report(path)
