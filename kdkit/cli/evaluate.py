"""`kdkit evaluate`: scores the student of a finished run again, without any training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from kdkit.cli.output import print_json, say
from kdkit.errors import MissingInput, UsageError
from kdkit.system.files import make_folder
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command("evaluate")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--suites", metavar="NAME,...", help="Score texts with these metric suites, instead of those of the run's recipe."
)
@click.option(
    "-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Change a value of the run's recipe that needs no training, of evaluation, generation or data: "
    "-o evaluation.rows=500. Repeatable.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Score N rows at most.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="The folder of the result; by default FOLDER/evaluations/NAME, NAME made of what is changed.",
)  # fmt: skip
@click.option("--fresh", is_flag=True, help="Delete what an earlier evaluation left in that folder first.")
@click.option("--full", is_flag=True, help="Print every score at the end, and not only what fits on a screen.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON instead.")
def command(
    *,
    folder: Path,
    suites: str | None,
    overrides: tuple[str, ...],
    limit: int | None,
    output: Path | None,
    fresh: bool,
    full: bool,
    as_json: bool,
) -> None:
    """Score the student of a finished run again, beside its teacher and baselines; nothing is trained.

    FOLDER is a run, which stays as it is, or a sweep, of which every finished trial is scored. With -o data.KEY=VALUE
    the held-out rows of other data are scored, as the run's tokenizer splits them. The same command again resumes.
    """
    from kdkit.recipe.rescored import overrides_of
    from kdkit.sweeps import is_sweep

    names = None if suites is None else [each.strip() for each in suites.split(",") if each.strip()]
    changes = (*overrides, *overrides_of(names, limit))
    if is_sweep(folder):
        if output is not None:
            raise UsageError(f"--output {output} is for one run, and {folder} is a sweep; leave it out")
        _sweep(folder, changes, fresh=fresh, as_json=as_json)
        return
    _print(_evaluated(folder, changes, output=output, fresh=fresh), full=full, as_json=as_json)


def _evaluated(run_dir: Path, changes: Sequence[str], *, output: Path | None, fresh: bool) -> Path:
    """The folder of a run's evaluation."""
    from kdkit.pipeline.evaluate import evaluate
    from kdkit.system import progress
    from kdkit.system.devices import flushing_denormals

    with flushing_denormals():
        return evaluate(run_dir, changes, output=output, fresh=fresh, progress=progress.for_stderr()).run_dir


def _print(found: Path, *, full: bool, as_json: bool) -> None:
    """What an evaluation came to."""
    from kdkit.cli.report import print_closing
    from kdkit.report.summary import summary

    if as_json:
        print_json(summary(found))
    else:
        print_closing(found, full=full)


def _sweep(folder: Path, changes: Sequence[str], *, fresh: bool, as_json: bool) -> None:
    """Evaluate every finished trial, and compare them."""
    from kdkit.cli.report import COMPARISON, compare
    from kdkit.pipeline.evaluate import folder_of
    from kdkit.sweeps import read_sweep

    trials = read_sweep(folder).trials
    done = [trial for trial in trials if trial.status == "done"]
    if not done:
        raise MissingInput(f"{folder} has no finished trial; run the sweep first: kdkit run {folder / 'sweep.toml'}")
    if left := len(trials) - len(done):
        say(f"note: left out {plural(left, 'unfinished trial')} of {folder}", err=True)
    found = []
    for number, trial in enumerate(done, 1):
        say(f"trial {number} of {len(done)}: {trial.title}", err=True)
        found.append(_evaluated(trial.folder, changes, output=None, fresh=fresh))
    if len(found) == 1:
        _print(found[0], full=False, as_json=as_json)
        return
    target = folder_of(folder, changes)
    make_folder(target)
    compare(found, target / COMPARISON, as_json=as_json)
