"""Finds the finished stages of a run, and does the others.

Where several processes do a run, only the lead keeps the record and decides what is to be done. The others follow, and
have the same record in memory.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kdkit.errors import Interrupted
from kdkit.runs.facts_table import as_facts
from kdkit.system.digests import digest_of
from kdkit.system.folders import delete
from kdkit.system.progress import StageShown
from kdkit.system.signals import SIGNAL, leaving

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.runs.stage import Stage


def do(run: Run, stage: Stage, stages: Sequence[Stage]) -> None:
    """Do a stage unless it is done; the stages after one that is done again are done again too."""
    begun, run.record = run.team.lead_does(lambda: (_begin(run, stage, stages), run.record))
    if not begun:
        return
    entry = run.record["stages"][stage.name]
    began, before = time.perf_counter(), entry["seconds"]
    try:
        with (
            leaving(f"stage {stage.name} is not finished, the stages before it are"),
            run.progress.stage(shown_stage(run, stage, stages, before=before)),
        ):
            entry["facts"] = _work(run, stage)
    except BaseException as error:
        stopped = isinstance(error, (Interrupted, KeyboardInterrupt)) or getattr(error, "signal_exit_code", 0) > SIGNAL
        entry["status"] = "interrupted" if stopped else "failed"
        entry["seconds"] = before + time.perf_counter() - began
        if run.team.leads:
            run.fail_as(entry["status"])
        raise
    entry["status"] = "done"
    entry["seconds"] = before + time.perf_counter() - began
    if run.team.leads:
        run.save()


def restore(run: Run, stage: Stage) -> bool:
    """Make again the lost files of a finished stage, whether or not anything needs them.

    Returns:
        Whether that is possible.
    """
    if stage.restore is None:
        return True
    with leaving(f"the lost files of stage {stage.name} are not complete yet"):
        told = stage.restore(run.alone)
    if told is None:
        return False
    run.record["stages"][stage.name]["facts"].update(as_facts(told))
    run.save()
    return True


def is_done(record: dict[str, Any], path: Path, recipe: Recipe, stage: Stage, stages: Sequence[Stage]) -> bool:
    """Whether a run folder with this record holds the finished stage.

    Its record and digest say so; and its files, unless the stage can restore those.
    """
    entry = record.get("stages", {}).get(stage.name, {})
    return (
        entry.get("status") == "done"
        and entry.get("digest") == _digest(recipe, stage, stages)
        and (stage.restore is not None or _has_outputs(record, path, stage))
    )


def are_done(run: Run, stages: Sequence[Stage]) -> bool:
    """Whether all stages of a run are finished."""
    return all(is_done(run.record, run.path, run.recipe, stage, stages) for stage in stages)


def shown_stage(run: Run, stage: Stage, stages: Sequence[Stage], *, before: float) -> StageShown:
    """A stage as it is shown, with what the stages that are finished tell of the time that is left."""
    number = stages.index(stage) + 1
    took = {name: entry["seconds"] for name, entry in run.record["stages"].items() if entry["status"] == "done"}

    def later(seconds: float) -> float | None:
        total = 0.0
        for each in stages[number:]:  # in order: what a stage after one of which nothing tells needs may not be there
            known = each.seconds(run, {**took, stage.name: seconds})
            if known is None:
                return None
            total += known
        return total

    return StageShown(
        name=stage.name,
        number=number,
        count=len(stages),
        began=run.began,
        before=before,
        expected=stage.seconds(run, took),
        later=later,
    )


def are_whole(record: dict[str, Any], path: Path, recipe: Recipe, stages: Sequence[Stage]) -> bool:
    """Whether a run folder with this record holds every stage finished, and all that they leave there."""
    return all(is_done(record, path, recipe, stage, stages) and _has_outputs(record, path, stage) for stage in stages)


def _begin(run: Run, stage: Stage, stages: Sequence[Stage]) -> bool:
    """Note that a stage is being done; whether it has to be."""
    later = stages[stages.index(stage) + 1 :]
    if is_done(run.record, run.path, run.recipe, stage, stages):
        if _is_whole(run, stage, stages) or restore(run, stage):
            run.progress.note(f"{stage.name}: done before")
            return False
        run.progress.note(f"{stage.name}: the lost files cannot be restored, so the stage is done again")
    kept = run.record["stages"]
    for other in later:
        if kept.pop(other.name, None) is not None:
            delete(file for name in (*other.outputs, *other.leftovers) for file in list(run.path.glob(name)))
    run.claim()
    before = kept.get(stage.name, {})
    entry = {
        "status": "running",
        "digest": _digest(run.recipe, stage, stages),
        "seconds": before.get("seconds", 0.0),
        "threads": [*before.get("threads", ()), run.record.get("threads")],  # of each try
        "facts": {},
    }
    run.record |= {"status": "running", "stages": {**kept, stage.name: entry}}
    run.save()
    return True


def _work(run: Run, stage: Stage) -> dict[str, Any]:
    """Do a stage; all processes wait for each other at its end, and get the lead's facts."""
    if stage.together:
        told = stage.work(run)
        return run.team.lead_does(lambda: as_facts(told))
    return run.team.lead_does(lambda: as_facts(stage.work(run.alone)))


def _is_whole(run: Run, stage: Stage, stages: Sequence[Stage]) -> bool:
    """Whether a finished stage has all its files in the run folder, and no later stage needs more."""
    later = stages[stages.index(stage) + 1 :]
    return _has_outputs(run.record, run.path, stage) and all(
        is_done(run.record, run.path, run.recipe, other, stages) for other in later
    )


def _has_outputs(record: dict[str, Any], path: Path, stage: Stage) -> bool:
    noted = record["stages"][stage.name].get("facts", {}).get("outputs", ())
    return all((path / output).exists() for output in (*stage.outputs, *noted))


def _digest(recipe: Recipe, stage: Stage, stages: Sequence[Stage]) -> str:
    """Digest of the recipe and the stages up to this one."""
    return digest_of([recipe.digest, [each.name for each in stages[: stages.index(stage) + 1]]])
