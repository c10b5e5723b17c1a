"""`kdkit predict`: generates text with a distilled student."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from kdkit.cli.output import harmless
from kdkit.errors import MissingInput, UsageError
from kdkit.runs.model_card import RECIPE_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.api.interfaces import DataSource
    from kdkit.api.values import Example


@click.command("predict")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "input_path",
    required=True,
    type=click.Path(path_type=Path),
    help="Rows as JSON lines (plain, gzip or zstandard), like those the student was trained on, but without "
    "targets; or with the whole input in a field `source`.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file instead of standard output.")
@click.option(
    "-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Change a value of the student's recipe: -o generation.beams=1. Repeatable.",
)  # fmt: skip
def command(model: Path, input_path: Path, output: Path | None, overrides: tuple[str, ...]) -> None:
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
    from kdkit.data.jsonlines import json_lines, open_lines
    from kdkit.recipe import load_for_writing

    recipe = load_for_writing(folder / RECIPE_FILE, overrides)
    with open_lines(input_path, option="--input", opened=lambda file: file.open("rb")) as lines:
        examples = [
            _example(recipe.data, f"{input_path}:{number}", row)
            for number, row in json_lines(lines, str(input_path), advice="correct the line or remove it")
        ]
    if not examples:
        raise UsageError(f"{input_path} has no rows; give --input a file with one row for each text that you want")
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise UsageError(f"{output} cannot be written: it is a folder, or its folder does not exist")
    from kdkit.data.rows import Encoding, rows_of
    from kdkit.models.generation import predict
    from kdkit.system import devices, progress

    device = devices.pick(recipe.device)
    student = recipe.student.open(folder, device=device)
    texts: dict[str, str] = {}
    encoding = Encoding(kind=recipe.student.model_kind, limits=recipe.tokens)
    rows = rows_of(examples, student.tokenizer, encoding).prompts
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


def _example(source: DataSource, place: str, row: Mapping[str, Any]) -> Example:
    """The input made from a row; its id is its place in the file, so repeated ids do no harm."""
    import attrs

    from kdkit.api.interfaces import RowSource
    from kdkit.api.values import Example
    from kdkit.data.given import checked_prompt

    made: Example | str
    made = "it lacks a field `source`"
    if isinstance(source, RowSource):
        made = checked_prompt(source.prompt(place, row), owner="the run's data set")
    if isinstance(made, str) and isinstance(row.get("source"), str):
        made = Example(id=place, source=row["source"], target="")
    if isinstance(made, str):
        raise UsageError(f"{place}: the row cannot be used because {made}")
    return attrs.evolve(made, meta={**made.meta, "given_id": row.get("id", place.rpartition(":")[2])})
