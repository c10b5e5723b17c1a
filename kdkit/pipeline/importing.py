"""Imports another tool's log-probabilities into the cache of a recipe, which `kdkit run` then finds there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kdkit.api.interfaces import LimitedTeacher
from kdkit.errors import UsageError
from kdkit.pipeline.open_teachers import open_teacher
from kdkit.pipeline.run import do_all, open_here
from kdkit.pipeline.stages import capture, stages_of
from kdkit.recipe.placing import placed
from kdkit.runs.stage import Stage
from kdkit.runs.stage_facts import Captured, Estimate
from kdkit.system.digests import digest_of

if TYPE_CHECKING:
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.system.progress import Progress

_STAGE = "import"


@attrs.frozen(kw_only=True)
class Imported:
    """Log-probabilities that were imported.

    Attributes:
        in_words: Whose they are, and what is known of them.
        captured: The cache that they are in.
    """

    in_words: str
    captured: Captured


@placed
def import_logits(recipe: Recipe, run_dir: Path | None, *, fresh: bool, progress: Progress) -> Imported:
    """Do the stages of `run` up to the capture, without texts; the same call resumes.

    Args:
        recipe: A recipe whose teacher has its logits from elsewhere.
        run_dir: A run folder of its own; by default `runs/NAME-import-DIGITS`.
        fresh: Delete what an earlier import left in that folder first; what is in the store stays.
        progress: Where progress is shown.

    Raises:
        UsageError: The teacher is a model, or the loss needs none.
        KdkitError: See `kdkit.errors` for what else can go wrong.
    """
    if not isinstance(recipe.teacher, LimitedTeacher):
        raise UsageError(
            f'teacher.name is "{recipe.names["teacher"]}", whose logits kdkit captures itself (`kdkit capture`); set '
            'teacher.name = "imported" and name the files with teacher.logits'
        )
    if not recipe.loss.needs_teacher:
        raise UsageError("the loss of this recipe needs no teacher, so there are no logits to import")
    digits = digest_of([recipe.digested["teacher"], recipe.digested["codec"]])[:6]
    path = run_dir if run_dir is not None else Path("runs") / f"{recipe.name}-import-{digits}"
    before = [stage.name for stage in stages_of(recipe)].index(Captured.stage)
    last = Stage(name=_STAGE, work=_fill, plan=capture.plan, restore=_fill)
    with open_here(recipe, path, fresh=fresh, progress=progress) as opened:
        do_all(opened, (*stages_of(recipe)[:before], last))
        return Imported(in_words=opened.told(Estimate).imported or "", captured=opened.told(Captured, stage=_STAGE))


def _fill(run: Run) -> Captured:
    corpus = run.read_taught()
    with open_teacher(run, corpus) as teacher:
        return capture.filling_of(run, teacher, corpus).fill()
