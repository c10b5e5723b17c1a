"""`kdkit layers`: shows how much each layer of a recipe's teacher matters, and which the student would keep."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import rich_click as click

from kdkit.cli.output import say
from kdkit.cli.run import recipe_options

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.values import KeptLayers


@click.command("layers")
@recipe_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(recipe: str, overrides: tuple[str, ...], run_dir: Path | None, *, as_json: bool) -> None:
    """Rank the layers of RECIPE's teacher as `student.from_teacher` asks, and show which of them are kept.

    What is measured is kept in the store, where `kdkit run` finds it. A teacher that a run makes is taken from that
    run's folder.
    """
    from kdkit.recipe import load_recipe
    from kdkit.system import progress

    loaded = load_recipe(recipe, overrides)
    import attrs

    from kdkit.cli.output import print_json, print_table
    from kdkit.pipeline.pruning import choose_alone

    pruning = choose_alone(loaded, run_dir, progress.for_stderr())
    if as_json:
        print_json(attrs.asdict(pruning))
        return
    measured = "influence" if pruning.loss is None else "loss without it"
    for stack in pruning.layers:
        if stack.scores is not None:
            print_table((stack.stack.removesuffix("s").replace("_", " "), measured, "kept"), _rows(stack))
    if pruning.loss is not None:
        say(f"loss of the whole teacher: {pruning.loss:.3f} nats per token")
    say(f"kept: {pruning.in_words()}")


def _rows(stack: KeptLayers) -> list[tuple[str, str, str]]:
    """The layers, first those that matter most."""
    scores = [math.inf if score is None else score for score in stack.scores or ()]
    return [
        (
            str(layer),
            "cannot be left out" if math.isinf(scores[layer]) else _shown(scores[layer]),
            "yes" if layer in stack.kept else "no",
        )
        for layer in sorted(range(len(scores)), key=lambda layer: -scores[layer])
    ]


def _shown(score: float) -> str:
    """A score; a loss that was not finite is kept as the largest number there is."""
    return "not finite" if score == sys.float_info.max else f"{score:.3f}"
