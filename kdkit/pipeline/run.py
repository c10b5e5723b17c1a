"""A run: the stages in order. The first file to read."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kdkit import plugins
from kdkit.evaluation.record import read_report
from kdkit.pipeline.stages import stages_of
from kdkit.recipe.placing import placed
from kdkit.report.closing.outcome import RunReport
from kdkit.runs import tracking
from kdkit.runs.folders import LOCK, check_folders
from kdkit.runs.opening import open_run
from kdkit.runs.record import check_no_evaluation, check_recipe, read_record
from kdkit.runs.resume import are_done, are_whole, do
from kdkit.system import devices, launcher
from kdkit.system.locks import is_held
from kdkit.system.progress import Measured, Polled, chosen
from kdkit.system.signals import stopped_by
from kdkit.system.team import ALONE, Team

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from os import PathLike

    from kdkit.api.values import Report
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.runs.stage import Stage
    from kdkit.system.progress import Progress


@placed
def run(
    recipe: Recipe,
    run_dir: str | PathLike[str] | None = None,
    *,
    fresh: bool = False,
    progress: Progress | bool | None = None,
    cancel: threading.Event | None = None,
) -> Report:
    """Run a recipe from the first unfinished stage to the report.

    Where a launcher has started several processes, each calls this, and they do the run together.

    Args:
        recipe: See `kdkit.load_recipe`.
        run_dir: The run folder; by default `runs/NAME`.
        fresh: Delete what an earlier run left in the folder first.
        progress: Where progress is shown. By default in a notebook and on a terminal and nowhere else; True for lines
            elsewhere too, False for none. Of several processes, only the first shows any.
        cancel: Set by another thread, it ends the run as Ctrl-C does: after the step or batch, or at the next report of
            progress. What is finished is saved, and the same call resumes.

    Returns:
        The scores, the costs, and where everything lies.

    Raises:
        KdkitError: See `kdkit.errors` for what can go wrong.
        Interrupted: A signal came, or `cancel` was set.
    """
    path = Path(run_dir) if run_dir is not None else Path("runs") / recipe.name
    check_no_evaluation(path)
    if not fresh and (report := reread(recipe, path, progress=chosen(progress))) is not None:
        return report
    team = launcher.join()
    shown = chosen(progress if team.leads else False)
    if cancel is not None:
        shown = Polled(shown)
    took = Measured(shown)
    with stopped_by(cancel), team.watching(), open_here(recipe, path, fresh=fresh, progress=took, team=team) as opened:
        with _followed(opened, stages_of(recipe)):
            do_all(opened, stages_of(recipe))
        if team.size == 1:
            from kdkit.pipeline.times import keep  # with torch, which a finished run is known without

            keep(opened, took)
        return team.all_do(lambda: RunReport.of(read_report(path)))


def reread(recipe: Recipe, path: Path, *, progress: Progress) -> Report | None:
    """The report of a run that is finished and whole; else None. No device is asked for, and torch is not imported.

    Of several processes, which have to agree, none looks. None too if another process works in the folder, which may
    be about to empty it: opening the run then says so.

    Raises:
        Mismatch: The folder belongs to another recipe; the message gives the differences.
        UsageError: The folder holds something else.
    """
    if launcher.started().size > 1:
        return None
    check_folders(recipe, path)
    check_no_evaluation(path)
    check_recipe(path, recipe)
    record, stages = read_record(path), stages_of(recipe)
    if record.get("status") != "done" or is_held(path / LOCK) or not are_whole(record, path, recipe, stages):
        return None
    for stage in stages:
        progress.note(f"{stage.name}: done before")
    return RunReport.of(read_report(path))


def do_all(opened: Run, stages: Sequence[Stage]) -> None:
    """Do the unfinished stages of a run."""
    from kdkit.pipeline.vocabulary import settle  # with torch, which a finished run is known without

    for stage in stages:
        with devices.enough_memory(f"stage {stage.name}"):
            settle(opened)
            do(opened, stage, stages)
    opened.finish()


def open_here(
    recipe: Recipe, path: Path, *, fresh: bool, progress: Progress, team: Team = ALONE
) -> AbstractContextManager[Run]:
    """Open a run folder with the plugins and the device of this process."""
    device, loaded = team.all_do(lambda: devices.pick(recipe.device, team)), dict(plugins.load().loaded)
    return open_run(recipe, path, fresh=fresh, progress=progress, plugins=loaded, device=device, team=team)


@contextmanager
def _followed(run: Run, stages: Sequence[Stage]) -> Iterator[None]:
    """Within the block the run's tracker, if its recipe names one, receives the numbers; at the end also the scores.

    Of several processes only the lead has one; of a run that is done, none.

    Raises:
        MissingInput: The tracker's library is not installed.
    """
    tracker = run.recipe.track
    if tracker is None or run.team.lead_does(lambda: are_done(run, stages)):
        yield
        return
    recipe, path = run.recipe, run.path
    guard = tracking.Guard(
        recipe.names["track"],
        lambda: tracker.open(name=_name_of(run), folder=path, recipe=recipe.resolved),
        run.progress.note,
    )
    run.team.lead_does(guard.start)
    if not run.team.leads:
        yield
        return
    run.tracking = guard
    try:
        yield
    except BaseException:
        guard.finish({}, seconds=tracking.STOP_SECONDS)
        raise
    finally:
        run.tracking = tracking.UNTRACKED
    guard.finish(tracking.scores_of(read_report(path).scores))


def _name_of(run: Run) -> str:
    """The recipe's name, and the folder's where it has another: as trials of a sweep do."""
    name, folder = run.recipe.name, run.path.resolve().name
    return name if folder == name else f"{name}/{folder}"
