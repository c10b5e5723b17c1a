"""Scores the student of a finished run again, without any training."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kdkit.errors import DamagedData, UsageError
from kdkit.evaluation.record import read_report
from kdkit.pipeline.run import do_all, open_here
from kdkit.recipe.rescored import load_rescored, name_of, overrides_of
from kdkit.report.closing.outcome import RunReport
from kdkit.runs.folders import LOCK, RECIPE
from kdkit.runs.record import SCORED, check_recipe, read_record
from kdkit.runs.rescoring import FORMAT, Rescoring
from kdkit.runs.resume import are_whole
from kdkit.system import devices
from kdkit.system.locks import is_held
from kdkit.system.progress import chosen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

    from kdkit.api.values import Report
    from kdkit.recipe import Recipe
    from kdkit.runs.stage import Stage
    from kdkit.system.progress import Progress

FOLDER = "evaluations"
"""The folder in a run's that holds its evaluations."""


def evaluate(
    run_dir: str | PathLike[str],
    overrides: Sequence[str] = (),
    *,
    suites: Sequence[str] | None = None,
    limit: int | None = None,
    output: str | PathLike[str] | None = None,
    fresh: bool = False,
    progress: Progress | bool | None = None,
) -> Report:
    """Score the student of a finished run again, beside its teacher and baselines; nothing is trained.

    With `data.*` the rows that this data set holds out are scored, as the run's tokenizer splits them: the teacher's
    logits of these are captured too. The run stays as it is.

    Args:
        run_dir: Its folder.
        overrides: `section.key=value`, laid over its recipe: of `evaluation`, `generation` and `data`, or `device`.
        suites: The metric suites, instead of `evaluation.suites`.
        limit: How many rows are scored at most.
        output: The folder of the result; by default `evaluations/NAME` in the run's, NAME made of what is changed.
        fresh: Delete what an earlier evaluation left in that folder first.
        progress: Where progress is shown, as of `kdkit.run`.

    Returns:
        The scores, the costs, and where everything lies.

    Raises:
        KdkitError: See `kdkit.errors` for what can go wrong.
    """
    scored, shown = Path(run_dir), chosen(progress)
    changes = (*overrides, *overrides_of(suites, limit))
    folder = Path(output) if output is not None else folder_of(scored, changes)
    recipe = _recipe_of(scored, changes)
    before = _student_of(folder, recipe, scored, fresh=fresh)
    if fresh or not _is_finished(folder, recipe, scored):
        with _open(scored, recipe, folder, changes, before, fresh=fresh, progress=shown) as opened:
            do_all(opened, _stages())
    return RunReport.of(read_report(folder))


def folder_of(run_dir: Path, changes: Sequence[str]) -> Path:
    """Where the evaluation of a run lies by default.

    Args:
        run_dir: The run's folder.
        changes: What is laid over its recipe.
    """
    return run_dir / FOLDER / name_of(changes)


def _recipe_of(run_dir: Path, changes: Sequence[str]) -> Recipe:
    """The recipe of an evaluation, once the run is known to be one."""
    from kdkit.pipeline.rescoring.finished import record_of

    record_of(run_dir)
    return load_rescored(run_dir / RECIPE, changes)


def _student_of(folder: Path, recipe: Recipe, run_dir: Path, *, fresh: bool) -> str | None:
    """The student that an earlier evaluation in this folder was about; None where there is none, or nothing tells.

    Raises:
        UsageError: It holds a run, or the evaluation of another one.
        Mismatch: It holds an evaluation with other options.
        DamagedData: Nothing tells what it holds.
    """
    is_own = folder.resolve().parent == (run_dir / FOLDER).resolve()
    try:
        record = read_record(folder)
    except DamagedData as error:
        if is_own and fresh:
            return None
        if is_own:
            raise
        raise DamagedData(
            f"{folder / 'run.json'} is damaged, so nothing tells what {folder} holds; delete that folder, or name "
            "another with --output"
        ) from error
    if not record:
        return None
    if SCORED not in record:
        raise UsageError(f"{folder} holds a run and not an evaluation; name another folder with --output")
    noted = Path(record[SCORED]["run_dir"])
    if not is_own and noted.resolve() != run_dir.resolve():
        raise UsageError(f"{folder} holds the evaluation of another run, {noted}; name another folder with --output")
    if not fresh:
        check_recipe(folder, recipe, advice="name another folder with --output, or delete that evaluation with --fresh")
    student: str | None = record[SCORED].get("student")
    return student


def _stages() -> tuple[Stage, ...]:
    from kdkit.pipeline.rescoring.stages import RESCORING  # with torch

    return RESCORING


def _is_finished(folder: Path, recipe: Recipe, run_dir: Path) -> bool:
    from kdkit.pipeline.rescoring.finished import student_weights

    record = read_record(folder)
    return (
        record.get("status") == "done"
        and not is_held(folder / LOCK)
        and are_whole(record, folder, recipe, _stages())
        and record[SCORED].get("student") == student_weights(run_dir)
    )


@contextmanager
def _open(
    run_dir: Path,
    recipe: Recipe,
    folder: Path,
    changes: Sequence[str],
    before: str | None,
    *,
    fresh: bool,
    progress: Progress,
) -> Iterator[Rescoring]:
    """Open the folder of an evaluation, with the run that it scores."""
    from kdkit.pipeline.rescoring.finished import finished, record_of, student_weights, trained_stages
    from kdkit.pipeline.vocabulary import settled

    run = finished(run_dir, recipe, record_of(run_dir), device=devices.pick(recipe.device), progress=progress)
    trained, weights = trained_stages(run), student_weights(run_dir)
    run.recipe = settled(recipe, run.read_corpus(), progress)
    if before not in {None, weights}:
        progress.note(f"the student of {run_dir} is another than the one that {folder} was about: it is scored again")
    with open_here(recipe, folder, fresh=fresh or before not in {None, weights}, progress=progress) as opened:
        opened.record[SCORED] = {
            "format": FORMAT, "run_dir": str(run_dir), "student": weights, "overrides": list(changes),
        }  # fmt: skip
        opened.record["stages"] |= trained
        yield Rescoring.of(opened, run)
