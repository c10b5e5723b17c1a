"""`kdkit capture`: captures a part of a recipe's logits, so that many processes capture them together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import rich_click as click

from kdkit.cli.output import say
from kdkit.cli.run import recipe_options

if TYPE_CHECKING:
    from pathlib import Path


@click.command("capture")
@partial(recipe_options, run_dir="runs/NAME-capture-I-of-N-CODEC-DIGITS")
@click.option(
    "--part",
    default="0/1",
    show_default=True,
    metavar="I/N",
    help="The part to capture, counted from 0, and the number of parts; other processes capture the others, "
    "here or elsewhere.",
)
@click.option("--fresh", is_flag=True, help="First delete an earlier capture's files from the run folder.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    recipe: str, overrides: tuple[str, ...], run_dir: Path | None, part: str, *, fresh: bool, as_json: bool
) -> None:
    """Capture the teacher's logits for RECIPE, or a part of them, then stop.

    Run the same command again to resume. When all parts are there, `kdkit run` of the recipe takes them out
    of the store, and captures what is missing.
    """
    from kdkit.recipe import load_recipe
    from kdkit.system import progress

    loaded = load_recipe(recipe, overrides)
    from kdkit.cli.output import print_json
    from kdkit.logits.cache import Part

    share = Part.parse(part)
    from kdkit.pipeline.capture_part import capture_part
    from kdkit.system.devices import flushing_denormals
    from kdkit.system.files import size_text
    from kdkit.system.wording import plural

    with flushing_denormals():
        told = capture_part(loaded, share, run_dir, fresh=fresh, progress=progress.for_stderr())
    if as_json:
        names = ("cache", "identity", "tokenizer", "codec", "records", "tokens", "bytes", "bytes_per_token")
        print_json({"part": part, **{name: getattr(told, name) for name in names}})
    else:
        numbers = f"{plural(told.records, 'record')}, {plural(told.tokens, 'token')}"
        say(f"part {part}: {numbers}, {size_text(told.bytes)} in {told.cache}")
