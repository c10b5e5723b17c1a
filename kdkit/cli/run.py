"""`kdkit run`: a recipe, from the first unfinished stage to the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import rich_click as click

from kdkit.cli.output import say
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kdkit.logits.cache import Part
    from kdkit.recipe import Recipe
    from kdkit.sweeps.trials import Sweep


R = TypeVar("R")


def recipe_options(command: Callable[..., R], *, run_dir: str = "runs/NAME") -> Callable[..., R]:
    """The argument and options that name a recipe and its run folder, which is `run_dir` by default."""
    for decorate in (
        click.option(
            "--run-dir", type=click.Path(path_type=Path), help=f"The run folder; by default {run_dir}.", metavar="DIR"
        ),
        click.option(
            "-o",
            "--override",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Lay a value over the recipe: -o loss.alpha=0.3. May be repeated.",
        ),
        click.argument("recipe"),
    ):
        command = decorate(command)
    return command


limit_option = click.option(
    "--limit",
    type=click.IntRange(min=10),
    metavar="N",
    help="Take N rows of each split at most (10 or more), of a text its first block, and N / 4 a batch, to try "
    "a recipe; the run folder is runs/NAME-limit-N.",
)


def limited(recipe: str, overrides: tuple[str, ...], limit: int | None) -> tuple[str, ...]:
    """The overrides with those of `--limit`."""
    if limit is None:
        return overrides
    from kdkit.recipe.limited import limited as with_limit

    return with_limit(recipe, overrides, limit)


@click.command("run")
@recipe_options
@limit_option
@click.option("--fresh", is_flag=True, help="Delete what an earlier run left in the folder first.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Of a sweep: how many trials work at a time; by default 1. Unless OMP_NUM_THREADS is set, each has its share "
    "of the cores, and numbers computed with other threads differ in their last bits.",
)
@click.option(
    "--part", metavar="I/N", help="Of a sweep: which of how many parts, from 0; others do the others, on any machine."
)
@click.option(
    "--full", is_flag=True, help="Of a run: print every score at the end, and not only what fits on a screen."
)
@click.option("--json", "as_json", is_flag=True, help="Print the evaluation as JSON instead.")
def command(
    recipe: str,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    *,
    limit: int | None,
    fresh: bool,
    jobs: int | None,
    part: str | None,
    full: bool,
    as_json: bool,
) -> int:
    """Run RECIPE, a TOML file or the name of a shipped recipe; of one with [sweep], every trial.

    Run the same command again to resume at the first unfinished stage. Started by torchrun or accelerate launch,
    several processes do one run together.
    """
    from kdkit.sweeps.reading import load_any
    from kdkit.sweeps.trials import Sweep
    from kdkit.system import launcher

    if hint := launcher.hint():
        say(f"note: {hint}", err=True)
    team = launcher.join()
    loaded = team.all_do(lambda: load_any(recipe, limited(recipe, overrides, limit)))
    if isinstance(loaded, Sweep):
        if team.size > 1:
            raise UsageError(
                f"{recipe} is a sweep, whose trials are processes of their own, and a launcher has started "
                f"{team.size}; start it without one, with --jobs for several trials at a time"
            )
        return _sweep(loaded, run_dir, fresh=fresh, jobs=jobs or 1, part=part, as_json=as_json)
    if jobs is not None or part is not None:
        option = "--jobs" if jobs is not None else "--part"
        raise UsageError(f"{option} is for sweeps, and {recipe} has no [sweep]; leave it out")
    _run(loaded, run_dir, fresh=fresh, full=full, as_json=as_json, leads=team.leads)
    return 0


def _run(recipe: Recipe, run_dir: Path | None, *, fresh: bool, full: bool, as_json: bool, leads: bool) -> None:
    from kdkit.cli.output import print_json
    from kdkit.evaluation import record
    from kdkit.pipeline.run import reread, run
    from kdkit.system import progress
    from kdkit.system.devices import flushing_denormals

    shown, folder = progress.for_stderr(), run_dir if run_dir is not None else Path("runs") / recipe.name
    report = None if fresh else reread(recipe, folder, progress=shown)
    if report is None:
        with flushing_denormals():  # which imports torch
            report = run(recipe, folder, fresh=fresh, progress=shown)
    if not leads:
        return
    if as_json:
        costs = {name: record.as_json(cost) for name, cost in report.costs.items()}
        scores = list(map(record.as_json, report.scores))
        print_json({"run_dir": str(report.run_dir), "headline": report.headline, "scores": scores, "costs": costs})
    else:
        from kdkit.cli.report import print_closing

        print_closing(report.run_dir, full=full)


def _part(text: str) -> Part:
    from kdkit.logits.cache import Part

    return Part.parse(text, of="a sweep")


def _sweep(sweep: Sweep, run_dir: Path | None, *, fresh: bool, jobs: int, part: str | None, as_json: bool) -> int:
    from kdkit.cli.output import print_json
    from kdkit.cli.report import print_closing_of_sweep
    from kdkit.pipeline.sweep import run_sweep
    from kdkit.pipeline.sweep_results import rows_of
    from kdkit.system import progress

    share = _part(part) if part is not None else None
    end = run_sweep(sweep, run_dir, jobs=jobs, part=share, fresh=fresh, progress=progress.for_stderr())
    if as_json:
        print_json({"run_dir": str(end.facts.folder), "trials": rows_of(end.facts)})
    else:
        print_closing_of_sweep(end.report)
    return end.exit_code
