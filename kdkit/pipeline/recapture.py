"""Fills the gaps of a repaired cache, with the teacher of a run that captured it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kdkit import plugins
from kdkit.errors import MissingInput, UsageError
from kdkit.logits.cache import LogitCache, Part
from kdkit.pipeline.capture_part import part_stages
from kdkit.pipeline.stages import stages_of
from kdkit.pipeline.vocabulary import settle
from kdkit.recipe import load_stored
from kdkit.runs.facts_table import facts_in
from kdkit.runs.folders import RECIPE
from kdkit.runs.opening import open_run
from kdkit.runs.record import check_no_evaluation, check_recipe, read_record
from kdkit.runs.resume import is_done, restore
from kdkit.runs.stage_facts import Captured, PartCaptured
from kdkit.system import devices

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from kdkit.recipe import Recipe
    from kdkit.runs.stage import Stage
    from kdkit.system.progress import Progress

_PART = re.compile(r"capture-(\d+)-of-(\d+)", re.ASCII)


def recapture(cache: Path, run_dir: Path, *, progress: Progress) -> LogitCache:
    """Capture the logits of a run's rows that a cache lacks; no finished stage of the run is done again.

    Args:
        cache: The cache.
        run_dir: The folder of a run that captured it; for the folder of a part, of the run that captured that part.
        progress: Where progress is shown.

    Returns:
        The cache, finished again.

    Raises:
        MissingInput: There is no such run.
        UsageError: The run's logits are not in that cache, or it has captured only a part of it, or has not finished.
        Mismatch: The teacher or the data are not those of that capture.
    """
    record, recipe = check_run(cache, run_dir)
    stages = _stages(cache, run_dir, record, recipe)
    before = _home(record, run_dir, stages[-1].name)
    loaded, device = dict(plugins.load().loaded), devices.pick(recipe.device)
    with open_run(recipe, run_dir, fresh=False, progress=progress, plugins=loaded, device=device) as opened:
        try:
            for stage in stages:
                with devices.enough_memory(f"stage {stage.name}"):
                    settle(opened)
                    if not restore(opened, stage):
                        raise UsageError(
                            f"the {stage.name} of {run_dir} cannot be recreated, so neither can its logits; "
                            "run the recipe again to redo everything"
                        )
        finally:
            if record["status"] != "done":
                opened.leave_as(record["status"])
    after = _home(opened.record, run_dir, stages[-1].name)
    if after != before:
        raise UsageError(
            f"{cache} has logits of entries without a token, which kdkit now leaves out: the logits of "
            f"{run_dir} are in {after}, so {cache} may be deleted"
        )
    return LogitCache.open(cache)


def check_run(cache: Path, run_dir: Path) -> tuple[dict[str, Any], Recipe]:
    """The record and the recipe of a run that can supply the missing logits of a cache.

    Raises:
        MissingInput: There is no such run.
        Mismatch: An earlier kdkit made it, with other names for some options.
    """
    record = read_record(run_dir)
    if not record:
        raise MissingInput(
            f"there is no run in {run_dir} (no run.json); give the folder of a run that captured {cache}"
        )
    check_no_evaluation(run_dir, advice="give that run")
    recipe = load_stored(run_dir / RECIPE)
    check_recipe(
        run_dir,
        recipe,
        advice="rename the options in its recipe.toml to today's names and run that in another --run-dir "
        "with the same store, which captures the missing logits",
    )
    return record, recipe


def _home(record: dict[str, Any], run_dir: Path, stage: str) -> str | None:
    """The cache that the logits of a capture belong in; of a part's, the one that takes all parts."""
    if _PART.fullmatch(stage):
        part = facts_in(record, PartCaptured, run_dir, stage=stage)
        return part.shared if part is not None else None
    captured = facts_in(record, Captured, run_dir)
    return captured.cache if captured is not None else None


def _stages(cache: Path, run_dir: Path, record: dict[str, Any], recipe: Recipe) -> Sequence[Stage]:
    """The stages of a run up to the one that captured a cache."""
    place = str(cache.absolute())
    for name in record["stages"]:
        captured: Captured | None = None
        if part := _PART.fullmatch(name):
            own = captured = facts_in(record, PartCaptured, run_dir, stage=name)
            if own is not None and own.shared == place:
                raise UsageError(
                    f"the run in {run_dir} captured only the part {part[1]}/{part[2]} of {cache}; give the "
                    "folder of a whole run (`kdkit run`) of its recipe"
                )
        elif name == Captured.stage and recipe.loss.needs_teacher:
            captured = facts_in(record, Captured, run_dir)
        if captured is None or captured.cache != place:
            continue
        its = Part(index=int(part[1]), count=int(part[2])) if part else None
        stages = part_stages(recipe, its) if its is not None else stages_of(recipe)
        upto = next(place for place, stage in enumerate(stages) if stage.name == name) + 1
        if all(is_done(record, run_dir, recipe, stage, stages) for stage in stages[:upto]):
            return stages[:upto]
    raise UsageError(
        f"the run in {run_dir} has not captured {cache}, or has not finished; give the folder of a run that "
        "has, or run its recipe again"
    )
