"""Captures a part of a recipe's logits, in a process that works independently."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kdkit.errors import UsageError
from kdkit.logits.cache.manifest import MANIFEST
from kdkit.pipeline.open_teachers import open_teacher
from kdkit.pipeline.run import do_all, open_here
from kdkit.pipeline.stages import capture, stages_of
from kdkit.recipe.placing import placed
from kdkit.runs.record import check_no_evaluation
from kdkit.runs.stage import Stage
from kdkit.runs.stage_facts import Captured, PartCaptured
from kdkit.system.digests import digest_of
from kdkit.system.progress import Silent

if TYPE_CHECKING:
    from os import PathLike

    from kdkit.logits.cache import Part
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.system.progress import Progress


@placed
def capture_part(
    recipe: Recipe,
    part: Part,
    run_dir: str | PathLike[str] | None = None,
    *,
    fresh: bool = False,
    progress: Progress | None = None,
) -> PartCaptured:
    """Capture a part of a recipe's logits: the stages of `run` up to there, without generating texts.

    The other parts are captured by other processes, on this machine or others; none waits for another. `run` takes all
    finished parts that lie in its store, and captures what is missing.

    Args:
        recipe: See `kdkit.load_recipe`.
        part: Which part of how many.
        run_dir: A run folder of its own; by default `runs/NAME-capture-i-of-n-CODEC-digest`, with digits made of
            the codec's options, so that captures for several codecs stand side by side.
        fresh: Delete what an earlier capture left in that folder first; what is in the store stays.
        progress: Where progress is shown; by default nowhere.

    Returns:
        Where the part lies, and how big it is.

    Raises:
        KdkitError: See `kdkit.errors` for what can go wrong.
    """
    if not recipe.loss.needs_teacher:
        raise UsageError("the loss of this recipe needs no teacher, so there are no logits to capture")
    path = Path(run_dir) if run_dir is not None else Path("runs") / _folder_of(recipe, part)
    stages = part_stages(recipe, part)
    check_no_evaluation(path)
    with open_here(recipe, path, fresh=fresh, progress=progress or Silent()) as opened:
        do_all(opened, stages)
        return opened.told(PartCaptured, stage=stages[-1].name)


def _folder_of(recipe: Recipe, part: Part) -> str:
    digest = digest_of(recipe.digested["codec"])[:6]
    return f"{recipe.name}-capture-{part.suffix}-{recipe.names['codec']}-{digest}"


def part_stages(recipe: Recipe, part: Part) -> tuple[Stage, ...]:
    """The stages of a part's capture: those of a run before its own, and the part's."""
    name = f"capture-{part.suffix}"
    last = Stage(
        name=name,
        work=lambda run: _fill(run, part),
        plan=capture.plan,
        restore=lambda run: _restore(run, part, name),
    )
    before = [stage.name for stage in stages_of(recipe)].index(Captured.stage)
    return (*stages_of(recipe)[:before], last)


def _fill(run: Run, part: Part) -> PartCaptured:
    corpus = run.read_taught()
    with open_teacher(run, corpus) as teacher:
        return capture.filling_of(run, teacher, corpus).fill_part(part)


def _restore(run: Run, part: Part, stage: str) -> PartCaptured:
    """Capture a part again whose folder was deleted, unless the cache has taken it.

    Raises:
        Mismatch: The teacher is not the one of that capture.
    """
    told, corpus = run.told(PartCaptured, stage=stage), run.read_taught()
    shared = Path(told.shared)
    if capture.covers(run, shared, told, corpus):
        return attrs.evolve(told, cache=str(shared), outputs=(str(shared / MANIFEST),))
    with open_teacher(run, corpus) as teacher:
        capture.check_teacher(run, teacher, told)
        return capture.filling_of(run, teacher, corpus).fill_part(part)
