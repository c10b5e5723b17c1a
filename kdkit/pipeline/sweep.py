"""Runs a sweep: every unfinished trial, then the results and the report."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kdkit.errors import KdkitError, Mismatch, UsageError
from kdkit.pipeline.sweep_results import RESULTS, write_results
from kdkit.recipe import read_stored
from kdkit.recipe.stored import KEY
from kdkit.runs.folders import check_no_file
from kdkit.runs.record import FORMER, HOW_TO_KEEP
from kdkit.sweeps.display import shown
from kdkit.sweeps.folder import LOCK, SWEEP, is_former, is_sweep, is_worked_on, write_sweep
from kdkit.sweeps.process import THREADS, Places, threads_of_each
from kdkit.sweeps.reading import load_sweep
from kdkit.sweeps.schedule import Schedule
from kdkit.sweeps.search import searched
from kdkit.sweeps.state import Board
from kdkit.sweeps.titles import columns_of
from kdkit.system.files import make_folder, write_atomically
from kdkit.system.folders import check_inside, delete
from kdkit.system.locks import Lock
from kdkit.system.progress import chosen
from kdkit.system.reading import read_text
from kdkit.system.signals import graceful, stopped_by
from kdkit.system.wording import plural

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence
    from os import PathLike

    from rich.console import RenderableType

    from kdkit.logits.cache import Part
    from kdkit.report.sweep import SweepReport
    from kdkit.sweeps.folder import SweepFacts
    from kdkit.sweeps.process import Launch
    from kdkit.sweeps.trials import Sweep, Trial
    from kdkit.system.progress import Progress
    from kdkit.system.signals import Stop

RECIPE = "sweep.toml"
_OURS = (SWEEP, RECIPE, LOCK, "trials", "logs", "data", "search", f"{RESULTS}.json", f"{RESULTS}.csv")
_REPORTS = ("report.html", "report.md")


@attrs.frozen(kw_only=True)
class SweepEnd:
    """How a sweep ended.

    Attributes:
        report: What it came to.
        done: Trials of this process, or of its part, that are done and can be read.
        failed: Those that are not.
    """

    report: SweepReport
    done: int
    failed: int

    def __repr__(self) -> str:
        """One line: where the sweep is, how many trials are done and failed, and its verdict."""
        return (
            f"<Sweep {self.facts.folder}: {self.done} done, {self.failed} failed; "
            f"{self.report.document.verdict.sentence}>"
        )

    def __rich__(self) -> RenderableType:
        """What rich's `print` shows: the verdict, the chosen student and the report."""
        from kdkit.report.closing import several
        from kdkit.report.page import terminal

        return terminal.Folded(several.of_sweep(self.report))

    def _repr_html_(self) -> str:
        from kdkit.report.closing import several
        from kdkit.report.page import terminal

        return terminal.html(several.of_sweep(self.report))

    @property
    def facts(self) -> SweepFacts:
        """All of it, as its folder tells."""
        return self.report.sweep

    @property
    def exit_code(self) -> int:
        """0 if all are done, 3 if some are, 1 if none is."""
        return 0 if not self.failed else 3 if self.done else 1


def run_sweep(
    sweep: Sweep,
    run_dir: str | PathLike[str] | None = None,
    *,
    jobs: int = 1,
    part: Part | None = None,
    fresh: bool = False,
    progress: Progress | bool | None = None,
    launch: Launch | None = None,
    cancel: threading.Event | None = None,
) -> SweepEnd:
    """Run every trial of a sweep that is not done, each in a process of its own, and write results and report.

    A failure is reported and stops no other trial. Several processes may work in one folder, on several machines too.

    Args:
        sweep: See `kdkit.load_sweep`.
        run_dir: The sweep's folder; by default `runs/NAME`.
        jobs: How many trials work at a time.
        part: Which part of the trials; by default all of them.
        fresh: Delete what earlier trials left in the folder first.
        progress: Where progress is shown; see `kdkit.run`.
        launch: Starts a trial; by default as a process on this machine.
        cancel: Set by another thread, it ends the sweep as Ctrl-C does; see `kdkit.run`.

    Returns:
        What came of it.

    Raises:
        Mismatch: An earlier kdkit made the folder.
        UsageError: The folder is not a sweep's, or is in use and cannot be emptied; or a search is to be split.
        Interrupted: A signal came, or `cancel` was set; the trials that were running have saved a checkpoint.
    """
    folder = Path(run_dir) if run_dir is not None else Path("runs") / sweep.name
    if jobs < 1:
        raise UsageError(f"--jobs must be at least 1, is {jobs}")
    if part is not None and sweep.search is not None:
        raise UsageError(
            "--part cannot be used with [sweep.search], whose trials are not known beforehand; start the "
            "same command on several machines with one --run-dir that all of them can see"
        )
    if part is not None and fresh:
        raise UsageError(
            f"--fresh with --part would delete the work of other parts; delete {folder} before you start the parts"
        )
    _check_folder(folder, fresh=fresh)
    if is_sweep(folder) and not fresh:
        _check_defaults(sweep, folder)
    show = chosen(progress)
    if fresh:
        _empty(folder)
    make_folder(folder)
    check_inside(folder)
    note_sweep(sweep, folder, sweep.trials)
    board = Board(jobs=jobs)
    varied = tuple(sweep.trials[0].told) if sweep.trials else sweep.axes
    with (
        stopped_by(cancel),
        graceful() as stop,
        _ending(stop),
        shown(board, columns_of(varied), show) as watcher,
    ):
        schedule = Schedule(
            folder=folder,
            jobs=jobs,
            launch=launch if launch is not None else Places(jobs=jobs),
            watcher=watcher,
            stop=stop,
            board=board,
        )
        if jobs > 1 and launch is None and THREADS not in os.environ:
            watcher.note(
                f"each trial has {plural(threads_of_each(jobs), 'thread')}, its share of the cores; set "
                f"{THREADS} if the last bits must equal those of another --jobs"
            )
        if sweep.search is None:
            schedule.run(part_of(sweep.trials, part))
        else:
            searched(sweep, folder, schedule, lambda trials: note_sweep(sweep, folder, trials))
        if before := sum(entry.before for entry in board.entries):
            watcher.note(f"{plural(before, 'trial')} already finished")
        if stop:
            done = len(board.of("done"))
            raise stop.leave(f"{done} of {plural(board.total, 'trial')} finished in {folder}")
    report = write_end(folder)
    whole = {trial.id for trial in report.sweep.trials if trial.status == "done"}
    done = sum(entry.trial.id in whole for entry in board.of("done"))
    return SweepEnd(report=report, done=done, failed=len(board.entries) + board.refused - done)


def part_of(trials: Sequence[Trial], part: Part | None) -> Sequence[Trial]:
    """The trials of a part: each `count`th from its index on, in the sweep's order, which is the same everywhere."""
    return trials if part is None else trials[part.index :: part.count]


def write_end(folder: Path) -> SweepReport:
    """Write results and report of the finished trials; a trial whose files are damaged counts as failed."""
    from kdkit.report import sweep

    with _writing(folder):
        report = sweep.write(folder)
        write_results(report.sweep)
    return report


def note_sweep(sweep: Sweep, folder: Path, trials: Sequence[Trial]) -> None:
    """Write the list of trials of a sweep, and its recipe."""
    with _writing(folder):
        write_atomically(folder / RECIPE, sweep.to_toml().encode())
        write_sweep(
            folder,
            name=sweep.name,
            description=sweep.description,
            axes=sweep.axes,
            seeds=sweep.seeds,
            trials=trials,
            reference=sweep.reference,
        )


@contextmanager
def _ending(stop: Stop) -> Iterator[None]:
    """Say how to resume after a second Ctrl-C ended the trials at once."""
    try:
        yield
    except KeyboardInterrupt:
        raise stop.leave("the running trials were stopped at once") from None


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Within the block no other process writes what all trials share."""
    with Lock(folder / LOCK):
        yield


def _check_folder(folder: Path, *, fresh: bool) -> None:
    check_no_file(folder, "--run-dir")
    if is_sweep(folder) and is_former(folder) and not fresh:
        raise Mismatch(
            f"{folder} was made by an earlier kdkit, {FORMER}; use another --run-dir, or --fresh to delete that sweep"
        )
    if not folder.is_dir():
        return
    # Listed first: what another process writes meanwhile comes after its sweep.json, which is then there.
    names = [child.name for child in folder.iterdir()]
    if is_sweep(folder):
        return
    if "run.json" in names:
        raise UsageError(f"{folder} holds a single run, but this recipe is a sweep; name another folder with --run-dir")
    # What is written before sweep.json, or deleted after it, may be all that a kill has left.
    if not all(name == RECIPE or name.startswith((LOCK, f".{RECIPE}.", f".{SWEEP}.")) for name in names):
        raise UsageError(f"{folder} is not empty and is not the folder of a sweep; name another folder with --run-dir")


def _check_defaults(sweep: Sweep, folder: Path) -> None:
    """Refuse a folder whose sweep is this one, but for values that options have had by default since.

    Every trial would begin again beside the old ones.
    """
    try:
        stored = read_stored(read_text(folder / RECIPE))
        if stored.format >= sweep.format or stored.tables != {"name": sweep.name, **sweep.table}:
            return
        before = load_sweep({KEY: stored.format, **stored.tables})
    except (FileNotFoundError, ValueError, KdkitError):
        return  # a damaged one is written again
    if before.base.digest != sweep.base.digest:
        raise Mismatch(
            f"{folder} holds this sweep, begun when options had other defaults; {HOW_TO_KEEP}; add that line to resume "
            "it, or use another --run-dir, or --fresh to delete that sweep"
        )


def _empty(folder: Path) -> None:
    """Delete a sweep's files from its folder, last the file that marks it as a sweep."""
    trials = folder / "trials"
    places = list(trials.iterdir()) if trials.is_dir() else []
    held = [place for place in places if is_worked_on(folder, place.name)]
    if held:
        raise UsageError(f"another kdkit process works in {held[0]}; wait for it, or use another --run-dir")
    delete(folder / name for name in (*_OURS, *_REPORTS) if name not in {SWEEP, LOCK} and (folder / name).exists())
    delete([folder / SWEEP])
