"""`kdkit plan`: what a run would do, compute and write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from kdkit.cli.run import recipe_options

if TYPE_CHECKING:
    from pathlib import Path


@click.command("plan")
@recipe_options
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(recipe: str, overrides: tuple[str, ...], run_dir: Path | None, *, as_json: bool) -> None:
    """Say what `kdkit run` of RECIPE would do: per stage what is done, tokens, and bytes against free disk.

    It reads the data and the tokenizers, and loads no weights.
    """
    from kdkit import progress
    from kdkit.recipe import load_recipe

    loaded = load_recipe(recipe, overrides)
    from kdkit import plan as plans

    plan = plans.make_plan(loaded, run_dir, progress.for_stderr())
    from kdkit.cli.output import print_json, print_table
    from kdkit.files import size_text

    if as_json:
        print_json(plans.as_json(plan))
        return
    rows = [
        (
            stage.name,
            "done" if stage.done else "to do",
            stage.work,
            f"{stage.tokens:,}" if stage.tokens else "",
            size_text(stage.bytes) if stage.bytes else "",
        )
        for stage in plan.stages
    ]
    print_table(("stage", "state", "work", "tokens", "at most"), rows)
    free = min(plan.free.values())
    click.echo(f"run folder {plan.run_dir}, shared store {plan.store}")
    verdict = "fits" if plan.bytes <= free else "DOES NOT FIT, unless the store has enough of it"
    click.echo(f"still to write: at most {size_text(plan.bytes)}; free: {size_text(free)}: {verdict}")
