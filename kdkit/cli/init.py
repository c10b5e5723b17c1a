"""`kdkit init`: from a file of rows to a recipe that runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from kdkit.cli.output import put, say
from kdkit.cli.plan import planned, print_planned
from kdkit.errors import UsageError
from kdkit.system.wording import plural, rounded

if TYPE_CHECKING:
    from kdkit.pipeline.beginning.looking import Columns, Looked
    from kdkit.recipe import Recipe

SHOWN = 3
"""Rows that are shown as the models read them."""
LINE = 76
"""Columns of a terminal that the values of a shown row fit into, with the names before them."""
SMALL = 50_000_000
"""Parameters of a model that is tried without being asked for: some steps of it take seconds."""
_KINDS = {"encoder-decoder": False, "decoder-only": True}


@click.command("init")
@click.argument("file")
@click.option("--source", metavar="COLUMN", help="What the model reads: a column, or a template of columns.")
@click.option("--target", metavar="COLUMN", help="What it should write.")
@click.option("--text", metavar="COLUMN", help="Instead: a text to learn whole.")
@click.option("--messages", metavar="COLUMN", help="Instead: a conversation.")
@click.option(
    "--teacher", default="", metavar="MODEL",
    help="A folder, a name on the hub, a GGUF file, or dist:NAME; by default a new model, trained on the rows.",
)  # fmt: skip
@click.option("--student", default="", metavar="MODEL", help="The same; by default some of the teacher's layers.")
@click.option("--kind", type=click.Choice(list(_KINDS)), help="Of new models; by default what the rows ask for.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="The recipe; by default FILE's name.")
@click.option(
    "--time/--no-time", "timed", default=None,
    help="Estimate how long a run takes, by a few steps that are tried; by default where the models are small, or "
    "where earlier runs tell.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Write over a recipe that is there.")
@click.option("--yes", is_flag=True, help="Ask nothing; without a terminal nothing is asked either.")
def command(
    file: str,
    source: str | None,
    target: str | None,
    text: str | None,
    messages: str | None,
    teacher: str,
    student: str,
    kind: str | None,
    output: Path | None,
    *,
    timed: bool | None,
    force: bool,
    yes: bool,
) -> None:
    """Write a first recipe for FILE: CSV, TSV, JSON, JSON lines, Parquet, Arrow, or a folder of the library datasets.

    It looks at the first rows, and says what it chose and by what. Change the recipe as you like. Beside it, only
    what a few steps took is kept, in the store.
    """
    from kdkit.data.row_forms import check_columns
    from kdkit.pipeline.beginning.looking import Columns, look

    place = output if output is not None else Path(f"{_name_of(file)}.toml")
    if place.exists() and not force:
        raise UsageError(f"{place} is there already; give another --output, or write over it with --force")
    if not place.parent.is_dir():
        raise UsageError(
            f"{place} cannot be written: there is no folder {place.parent}; make it first, or give another --output"
        )
    looked = look(file)
    given = Columns(source=source, target=target, text=text, messages=messages)
    if given.options():
        check_columns(given)
        columns = given
    else:
        columns = looked.guess()
        if columns.is_guessed and not yes and asks():
            columns = _asked(looked, columns)
    looked.check(columns)
    from kdkit.pipeline.beginning import choosing, writing  # with torch, which a mistake is told without
    from kdkit.pipeline.plan_time import largest, with_times
    from kdkit.pipeline.prepared import Prepared
    from kdkit.system import progress

    chosen = choosing.choose_models(
        looked, columns, teacher=teacher, student=student, joined=_KINDS[kind] if kind is not None else None
    )
    lengths = choosing.measure(looked, columns, chosen)
    recipe = writing.recipe_text(looked, columns, chosen, lengths, name=place.stem)
    _told(looked, columns)
    shown = progress.for_stderr()
    prepared = Prepared(_loaded(recipe, place.stem), None, shown)
    plan, rows = planned(prepared, None, SHOWN, shown)  # before it is written: what a plan refuses is not kept
    _write(place, recipe)
    say(f"wrote {place}\n")
    if timed is not False:
        plan = with_times(plan, prepared, shown, at_most=None if timed else SMALL)
    print_planned(plan, rows)
    if timed is None and not plan.timed_by:
        size = rounded(largest(prepared.estimate(plan.store)))
        say(f"\nhow long it takes: kdkit plan {place} --time, which loads a model of {size} parameters for a few steps")
    put(f"\nnext: kdkit run {place}")


def asks() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty()


def _name_of(file: str) -> str:
    """What the recipe is called: the file's name up to its first dot."""
    return Path(file.rstrip("/")).name.partition(".")[0] or "recipe"


def _asked(looked: Looked, columns: Columns) -> Columns:
    """What somebody at the terminal says, who sees the first row."""
    import attrs

    say("The columns do not say what is read and what is written. The first row:", err=True)
    width = max(map(len, looked.columns))
    for name in looked.columns:
        say(f"  {name.ljust(width)}  {_on_one_line(looked.rows[0].get(name), LINE - width)}", err=True)
    say("Answer with a column, or with a template of columns such as {a}: {b}.", err=True)
    return attrs.evolve(
        columns,
        source=click.prompt("What the model reads", default=columns.source, err=True),
        target=click.prompt("What it should write", default=columns.target, err=True),
        is_guessed=False,
    )


def _on_one_line(value: object, width: int) -> str:
    text = " ".join(str("" if value is None else value).split())
    return text if len(text) <= width else f"{text[: max(width - 3, 0)]}..."


def _write(place: Path, recipe: str) -> None:
    from kdkit.system.files import write_atomically

    try:
        write_atomically(place, recipe.encode())
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror}") from error


def _told(looked: Looked, columns: Columns) -> None:
    words = {"text": "learned whole:", "messages": "conversations:"}  # "text text" would read as a slip
    named = ", ".join(f"{words.get(name, name)} {value}" for name, value in columns.options().items())
    guessed = " (guessed: change them if they are others)" if columns.is_guessed else ""
    say(f"{looked.path}: {looked.rows_in_words}; {named}{guessed}")
    if looked.broken:
        say(f"{plural(looked.broken, 'broken row')}: a run refuses the file unless data.skip_broken = true")


def _loaded(text: str, name: str) -> Recipe:
    """The recipe before it is written."""
    from kdkit.recipe import load_recipe
    from kdkit.system.parsing import parse_toml

    return load_recipe({"name": name, **parse_toml(text)})
