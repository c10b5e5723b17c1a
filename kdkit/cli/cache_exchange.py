"""`kdkit cache import` and `kdkit cache export`: logits of other tools, and logits for them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import rich_click as click

from kdkit.cli.cache_facts import numbers
from kdkit.cli.output import print_json, say
from kdkit.cli.places import folder_of
from kdkit.cli.run import recipe_options
from kdkit.system.wording import plural

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command("import")
@partial(recipe_options, run_dir="runs/NAME-import-DIGITS")
@click.option("--fresh", is_flag=True, help="First delete an earlier import's files from the run folder.")
@_JSON
def import_(recipe: str, overrides: tuple[str, ...], run_dir: Path | None, *, fresh: bool, as_json: bool) -> None:
    """Import the log-probabilities that another tool kept into the cache of RECIPE, whose teacher is `imported`.

    `kdkit run RECIPE` does the same where they are not there yet. Run the same command again to resume.
    """
    from kdkit.recipe import load_recipe
    from kdkit.system import progress

    loaded = load_recipe(recipe, overrides)
    from kdkit.pipeline.importing import import_logits

    found = import_logits(loaded, run_dir, fresh=fresh, progress=progress.for_stderr())
    told = found.captured
    if as_json:
        names = ("cache", "identity", "codec", "records", "tokens", "bytes")
        print_json({"imported": found.in_words, **{name: getattr(told, name) for name in names}})
    else:
        say(
            f"{found.in_words}\n{told.cache}: "
            f"{numbers({'records': told.records, 'tokens': told.tokens, 'bytes': told.bytes})}"
        )


@click.command()
@click.argument("run_dir", callback=folder_of, metavar="RUN")
@click.argument("out", callback=folder_of, metavar="OUT")
@click.option(
    "--format",
    "into",
    type=click.Choice(["parquet", "distillkit"]),
    default="parquet",
    show_default=True,
    help="A file of Parquet with ids and log-probabilities, or a folder as DistillKit reads it.",
)
@click.option("--entries", type=click.IntRange(min=1), default=128, show_default=True, help="Entries of each token.")
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="The temperature of the probabilities.",
)
@_JSON
def export(run_dir: Path, out: Path, into: str, *, entries: int, temperature: float, as_json: bool) -> None:
    """Write the logits of the rows of the run in RUN, with their token ids, to OUT for other tools."""
    import attrs

    from kdkit.pipeline.exporting import export_logits
    from kdkit.system import progress

    found = export_logits(
        run_dir, out, into=into, entries=entries, temperature=temperature, progress=progress.for_stderr()
    )
    if as_json:
        print_json({"out": str(out), **attrs.asdict(found)})
    else:
        say(f"{out}: {plural(found.rows, 'row')}, {plural(found.tokens, 'token')} with {found.entries} entries each")
        say(f"not in it: {'; '.join(found.lost)}")


@click.command()
@click.argument("logits", callback=folder_of, metavar="LOGITS")
@click.argument("out", callback=folder_of, metavar="OUT")
@click.option("--tokenizer", required=True, metavar="NAME", help="The tokenizer whose ids these are: a name or folder.")
@click.option("--ids", type=click.Path(path_type=Path), metavar="FILE", help="For Megatron's tars: as teacher.ids.")
@_JSON
def rows(logits: Path, out: Path, tokenizer: str, ids: Path | None, *, as_json: bool) -> None:
    """Write the sequences of another tool's log-probabilities, LOGITS, as JSON lines of prompt and completion.

    For those who have no other rows for them. A sequence whose text is not tokenized to the same ids is left out.
    """
    import attrs

    from kdkit.pipeline.guest_rows import write_guest_rows
    from kdkit.system import progress

    found = write_guest_rows(logits, out, tokenizer=tokenizer, ids=ids, progress=progress.for_stderr())
    if as_json:
        print_json({"out": str(out), **attrs.asdict(found)})
    else:
        lost = f"; {plural(found.lost, 'sequence')} left out, as no text gives their ids" if found.lost else ""
        say(f"{out}: {plural(found.rows, 'row')}, at most {plural(found.longest, 'label')} each{lost}")
