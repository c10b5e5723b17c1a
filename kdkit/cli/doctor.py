"""`kdkit doctor`: looks at the machine, the installation and a recipe's models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from kdkit.cli.output import print_json, say
from kdkit.cli.recipes import overrides_option
from kdkit.errors import KdkitError, UsageError

if TYPE_CHECKING:
    from kdkit.pipeline.diagnosis import Finding

_SIGNS = {"good": "     ", "note": "note ", "wrong": "WRONG"}


@click.command("doctor")
@click.argument("recipe", required=False)
@overrides_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(recipe: str | None, overrides: tuple[str, ...], *, as_json: bool) -> int:
    """Look at versions, devices, disks, locks, the hub and plugins; with RECIPE also at its models and their tokens.

    It loads no weights. The exit code is 1 if something is wrong.
    """
    from kdkit import plugins as plugin_loading
    from kdkit.sweeps.reading import load_any
    from kdkit.sweeps.trials import Sweep

    if overrides and recipe is None:
        raise UsageError("-o changes a recipe, and none is given; add the recipe")
    plugins = plugin_loading.load()
    loaded = load_any(recipe, overrides, plugins=plugins) if recipe is not None else None
    base = loaded.base if isinstance(loaded, Sweep) else loaded
    from kdkit.pipeline import diagnosis  # with torch, which a wrong recipe is told without

    found = list(diagnosis.of_machine(plugins, Path("runs"), base.store.dir if base is not None else ""))
    if base is not None:
        found += diagnosis.of_recipe(base)
    if as_json:
        print_json([{"topic": each.topic, "state": each.state, "says": each.says} for each in found])
    else:
        _print(found)
    return KdkitError.exit_code if any(each.state == "wrong" for each in found) else 0


def _print(found: list[Finding]) -> None:
    width = max(len(each.topic) for each in found)
    for each in found:
        head = f"{_SIGNS[each.state]} {each.topic.ljust(width)}  "
        say(head + each.says, indent=len(head))
    wrong, notes = (sum(each.state == state for each in found) for state in ("wrong", "note"))
    say(f"\n{wrong} wrong, {notes} to note" if wrong or notes else "\nnothing is wrong")
