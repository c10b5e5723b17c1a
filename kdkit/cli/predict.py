"""`kdkit predict`: generates text with a distilled student."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from kdkit.cli.output import harmless, say
from kdkit.errors import MissingInput, UsageError
from kdkit.runs.model_card import RECIPE_FILE

if TYPE_CHECKING:
    from kdkit.api.interfaces import DataSource, Tokenizer
    from kdkit.api.values import Example
    from kdkit.data.files import Row


@click.command("predict")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "input_path",
    required=True,
    help="File of rows like those the student was trained on, but without targets; or with the whole input in a "
    "field `source`: JSON lines, a JSON array, CSV, TSV, Parquet or Arrow, whatever kind the student learned from.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file instead of standard output.")
@click.option(
    "-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Change a value of the student's recipe: -o generation.beams=1. Repeatable.",
)  # fmt: skip
def command(model: Path, input_path: str, output: Path | None, overrides: tuple[str, ...]) -> None:
    """Generate a text for each row of a file: JSON lines with `id` and `prediction`, in the order of the rows.

    MODEL is the folder of a student (runs/NAME/student/best) or a run folder. The student's recipe, which lies in its
    folder, says how rows become inputs and how texts are generated.
    """
    folder = model / "student" / "best" if (model / "student" / "best").is_dir() else model
    if not (folder / RECIPE_FILE).is_file():
        raise MissingInput(
            f"{model} is not a student made by kdkit: it has no {RECIPE_FILE}; give a finished run folder, or "
            "runs/NAME/student/best"
        )
    from kdkit.recipe import load_for_writing

    recipe = load_for_writing(folder / RECIPE_FILE, overrides)
    examples = prompts_of(recipe.data, input_path)
    if not examples:
        raise UsageError(f"{input_path} has no rows; give --input a file with one row for each text that you want")
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise UsageError(f"{output} cannot be written: it is a folder, or its folder does not exist")
    from kdkit.data.rows import Encoding
    from kdkit.models.generation import predict
    from kdkit.system import devices, progress

    device = devices.pick(recipe.device)
    student = recipe.student.open(folder, device=device)
    texts: dict[str, str] = {}
    examples = answerable(examples, recipe.data, student.tokenizer, input_path)
    encoding = Encoding(kind=recipe.student.model_kind, limits=recipe.tokens)
    rows = encoding.prompts(examples, student.tokenizer)
    with (
        devices.enough_memory("predict"),
        progress.for_stderr().task("predict", total=len(rows), unit="rows") as task,
    ):
        for prediction in predict(student, rows, recipe.generation, device=device):
            texts[prediction.id] = prediction.text
            task.advance()
    with output.open("w", encoding="utf-8") if output is not None else nullcontext(sys.stdout) as stream:
        for example in examples:
            line = {"id": example.meta["given_id"], "prediction": texts[example.id]}
            stream.write(harmless(json.dumps(line, ensure_ascii=False)) + "\n")


def prompts_of(source: DataSource, path: str) -> list[Example]:
    """The inputs that the rows of a file make, in their order."""
    from kdkit.api.values import Example
    from kdkit.data.files import file_rows
    from kdkit.data.given import reason_of
    from kdkit.data.jsonlines import DropCount
    from kdkit.data.row_options import RowOptions

    options = source if isinstance(source, RowOptions) else None
    skip = DropCount() if options is not None and options.skip_broken else None
    rows = file_rows(
        path,
        option="--input",
        dialect=options.dialect if options is not None else None,
        skip=skip,
        wanted=options.prompt_columns | {"id", "source"} if options is not None else None,
        advice="correct the row or remove it",
        opened=lambda file: file.open("rb"),
    )
    examples = []
    for row in rows:
        made = _example(source, row)
        if isinstance(made, Example):
            examples.append(made)
        elif skip is not None:
            skip.add(made, row.place)
        else:
            advice = "; fill it, or leave such rows out with -o data.skip_broken=true" if options is not None else ""
            raise UsageError(f"{row.place}: the row cannot be used because {made}{advice}")
    for drop in skip.drops() if skip is not None else ():
        say(f"{path}: {reason_of(drop)}", err=True)
    return examples


def answerable(examples: list[Example], source: DataSource, tokenizer: Tokenizer, path: str) -> list[Example]:
    """The rows without the conversations that the chat template refuses, where the recipe leaves out broken rows."""
    from kdkit.data.chats import ChatTemplate
    from kdkit.data.given import reason_of
    from kdkit.data.jsonlines import DropCount
    from kdkit.data.row_options import RowOptions

    if not isinstance(source, RowOptions) or not source.skip_broken or source.messages is None:
        return examples
    template, skip, kept = ChatTemplate.of(tokenizer), DropCount(), []
    for example in examples:
        opened = template.opened(example.target) if example.form == "chat" else None
        if isinstance(opened, str):
            skip.add(opened, example.id)
        else:
            kept.append(example)
    for drop in skip.drops():
        say(f"{path}: {reason_of(drop)}", err=True)
    if not kept:
        raise UsageError(f"{path} has no row that the chat template of the student takes")
    return kept


def _example(source: DataSource, row: Row) -> Example | str:
    """The input made from a row, or why there is none; its id is its place in the file: repeated ids do no harm."""
    import attrs

    from kdkit.api.interfaces import RowSource
    from kdkit.api.values import Example
    from kdkit.data.given import checked_prompt

    made: Example | str
    made = "it lacks a field `source`"
    if isinstance(source, RowSource):
        made = checked_prompt(source.prompt(row.place, row.values), owner="the run's data set")
    if isinstance(made, str) and isinstance(whole := row.values.get("source"), str):
        made = Example(id=row.place, source=whole, target="")
    if isinstance(made, str):
        return made
    given = row.values.get("id")
    return attrs.evolve(made, meta={**made.meta, "given_id": str(row.number) if given is None else given})
