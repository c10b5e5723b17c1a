"""`kdkit predict`: generates text with a distilled student."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import rich_click as click

from kdkit.cli.output import harmless, say
from kdkit.errors import UsageError
from kdkit.runs.model_card import RECIPE_FILE


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
    from kdkit.pipeline.predict import predict_file, student_folder
    from kdkit.recipe import load_for_writing
    from kdkit.system import progress

    folder = student_folder(model)
    recipe = load_for_writing(folder / RECIPE_FILE, overrides)
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise UsageError(f"{output} cannot be written: it is a folder, or its folder does not exist")
    shown = progress.for_stderr()
    found = predict_file(recipe, folder, input_path, note=partial(say, err=True), progress=shown)
    with output.open("w", encoding="utf-8") if output is not None else nullcontext(sys.stdout) as stream:
        for given_id, text in found:
            line = {"id": given_id, "prediction": text}
            stream.write(harmless(json.dumps(line, ensure_ascii=False)) + "\n")
