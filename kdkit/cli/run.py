"""`kdkit run`: a recipe, from the first unfinished stage to the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import rich_click as click

if TYPE_CHECKING:
    from collections.abc import Callable


def recipe_options(command: Callable[..., None], *, run_dir: str = "runs/NAME") -> Callable[..., None]:
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


@click.command("run")
@recipe_options
@click.option("--fresh", is_flag=True, help="Delete what an earlier run left in the folder first.")
@click.option("--json", "as_json", is_flag=True, help="Print the evaluation as JSON instead of a table.")
def command(recipe: str, overrides: tuple[str, ...], run_dir: Path | None, *, fresh: bool, as_json: bool) -> None:
    """Run RECIPE, a TOML file or the name of a shipped recipe.

    The same command again goes on at the first unfinished stage. Started by torchrun or accelerate launch, several
    processes do one run together.
    """
    from kdkit import launcher, progress
    from kdkit.recipe import load_recipe

    if hint := launcher.hint():
        click.echo(f"note: {hint}", err=True)
    team = launcher.join()
    loaded = team.all_do(lambda: load_recipe(recipe, overrides))
    from kdkit.cli.output import print_json
    from kdkit.devices import flushing_denormals
    from kdkit.pipeline import run

    with flushing_denormals():
        report = run(loaded, run_dir, fresh=fresh, progress=progress.for_stderr())
    if not team.leads:
        return
    if as_json:
        costs = {name: attrs.asdict(cost) for name, cost in report.costs.items()}
        scores = [attrs.asdict(score) for score in report.scores]
        print_json({"run_dir": str(report.run_dir), "scores": scores, "costs": costs})
    else:
        from kdkit.cli.report import print_closing_table

        print_closing_table(report.run_dir)
