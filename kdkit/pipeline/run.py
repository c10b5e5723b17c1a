"""A run: the stages in order. The first file to read."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdkit import plugins
from kdkit.errors import UsageError
from kdkit.evaluation.record import read_report
from kdkit.pipeline.stages import baseline, capture, check, data, distill, evaluate, report, teacher
from kdkit.runs import tracking
from kdkit.runs.run import Stage, open_run
from kdkit.system import devices, launcher
from kdkit.system.digests import digest_of
from kdkit.system.progress import Silent
from kdkit.system.team import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from os import PathLike

    from kdkit.api.values import Report
    from kdkit.logits.cache import Part
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.system.progress import Progress

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
        work=teacher.fit,
        outputs=(),
        leftovers=("teacher", ".teacher.partial", "teacher-training"),
        restore=teacher.restore,
        together=True,
    ),
    Stage(
        name="capture",
        work=capture.fill,
        outputs=("predictions/teacher.jsonl",),
        leftovers=("predictions/teacher.jsonl.partial*",),
        restore=capture.restore,
        together=True,
    ),
    Stage(
        name="distill",
        work=distill.fit,
        outputs=("student/best/config.json", "student/final/config.json"),
        leftovers=("student",),
        together=True,
    ),
    Stage(
        name="baseline",
        work=baseline.fit,
        outputs=(),
        leftovers=("labels-only",),
        restore=baseline.restore,
        together=True,
    ),
    Stage(
        name="evaluate",
        work=evaluate.score,
        outputs=("predictions/student.jsonl", "evaluation.json", "rows.npz"),
        leftovers=tuple(f"predictions/{name}.jsonl*" for name in evaluate.WRITTEN),
        together=True,
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

    Where a launcher has started several processes, each calls this, and they do the run together.

    Args:
        recipe: See `kdkit.load_recipe`.
        run_dir: The run folder; by default `runs/NAME`.
        fresh: Delete what an earlier run left in the folder first.
        progress: Where progress is shown; by default nowhere. Of several processes, only the first shows any.

    Returns:
        The scores, the costs, and where everything lies.

    Raises:
        KdkitError: See `kdkit.errors` for what can go wrong.
    """
    path = Path(run_dir) if run_dir is not None else Path("runs") / recipe.name
    team = launcher.join()
    shown = progress if progress is not None and team.leads else Silent()
    with team.watching(), _open(recipe, path, fresh=fresh, progress=shown, team=team) as opened:
        with _followed(opened, STAGES):
            _do(opened, STAGES)
        return team.all_do(lambda: read_report(path))


def capture_part(
    recipe: Recipe,
    part: Part,
    run_dir: str | PathLike[str] | None = None,
    *,
    fresh: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Capture a part of a recipe's logits: what `run` does up to there, with no text generated.

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
        Where the part lies ("cache"), and how many "records", "tokens" and "bytes" it is.

    Raises:
        KdkitError: See `kdkit.errors` for what can go wrong.
    """
    if not recipe.loss.needs_teacher:
        raise UsageError("the loss of this recipe needs no teacher, so there are no logits to capture")
    path = Path(run_dir) if run_dir is not None else Path("runs") / _part_folder(recipe, part)
    stages = part_stages(part)
    with _open(recipe, path, fresh=fresh, progress=progress or Silent()) as opened:
        _do(opened, stages)
        return opened.facts(stages[-1].name)


def _part_folder(recipe: Recipe, part: Part) -> str:
    digest = digest_of(recipe.digested["codec"])[:6]
    return f"{recipe.name}-capture-{part.suffix}-{recipe.names['codec']}-{digest}"


def part_stages(part: Part) -> tuple[Stage, ...]:
    """The stages of a part's capture."""
    name = f"capture-{part.suffix}"
    last = Stage(
        name=name,
        work=lambda run: capture.fill_part(run, part),
        outputs=(),
        restore=lambda run: capture.restore_part(run, part, name),
    )
    return (*STAGES[:3], last)


def _do(opened: Run, stages: Sequence[Stage]) -> None:
    for stage in stages:
        with devices.enough_memory(f"stage {stage.name}"):
            opened.do(stage, stages)
    opened.finish()


def _open(
    recipe: Recipe, path: Path, *, fresh: bool, progress: Progress, team: Team = ALONE
) -> AbstractContextManager[Run]:
    device, loaded = team.all_do(lambda: devices.pick(recipe.device, team)), dict(plugins.load().loaded)
    return open_run(recipe, path, fresh=fresh, progress=progress, plugins=loaded, device=device, team=team)


@contextmanager
def _followed(run: Run, stages: Sequence[Stage]) -> Iterator[None]:
    """Within the block the run's tracker, if its recipe names one, is told the numbers; at the end also the scores.

    Of several processes only the lead has one; of a run that is done, none.

    Raises:
        MissingInput: The tracker's library is not installed.
    """
    tracker = run.recipe.track
    if tracker is None or run.team.lead_does(lambda: all(run.is_done(stage, stages) for stage in stages)):
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
