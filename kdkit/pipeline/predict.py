"""A distilled student writes: `kdkit.predict`, and what `kdkit predict` does with the rows of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import MissingInput
from kdkit.pipeline.prompts import GIVEN_ID, answerable, prompts_of, prompts_of_file
from kdkit.recipe import load_for_writing
from kdkit.runs.model_card import RECIPE_FILE
from kdkit.runs.record import scored_run
from kdkit.sweeps.folder import is_sweep
from kdkit.system.progress import chosen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from os import PathLike

    from kdkit.api.interfaces import TextModel
    from kdkit.api.values import Example, Prediction
    from kdkit.recipe import WritingRecipe
    from kdkit.system.progress import Progress

BEST = Path("student", "best")


def predict(
    folder: str | PathLike[str],
    rows: Iterable[str | Sequence[Mapping[str, Any]] | Mapping[str, Any]],
    *,
    device: str | None = None,
    progress: Progress | bool | None = None,
    **generation: Any,
) -> list[Prediction]:
    """Generate a text for each row with a distilled student. The student is opened at each call: give all rows at once.

    Args:
        folder: A finished run folder, or a student's (runs/NAME/student/best).
        rows: Each of them a text (the whole input; for a student of conversations, a message of the user), a
            conversation (a list of messages, each with a role and a content), or a mapping whose fields the recipe's
            templates read as those of a file.
        device: What it writes on; by default as the student's recipe says.
        progress: Where progress is shown; see `kdkit.run`.
        generation: Options of `[generation]` in place of the recipe's: `beams=1, max_new_tokens=32`.

    Returns:
        A prediction for each row, in their order. Its `id` is the row's field `id`, or the row's index.

    Raises:
        MissingInput: The folder is not a run with a student, and not a student.
        RecipeError: An option is wrong.
        UsageError: A row cannot be used.
        DamagedData: The weights are damaged.
    """
    student = student_folder(Path(folder))
    given = {name: value for name, value in generation.items() if value is not None}
    recipe = load_for_writing(student / RECIPE_FILE, generation=given, device=device)
    examples = prompts_of(recipe, rows)
    if not examples:
        return []
    used, model = _opened(recipe, student)
    found = _written(model, recipe, examples, device=used, progress=chosen(progress))
    return [attrs.evolve(each, id=str(example.meta[GIVEN_ID])) for example, each in zip(examples, found, strict=True)]


def student_folder(path: Path) -> Path:
    """The folder of the student that a folder is, or that a run in it has.

    Raises:
        MissingInput: There is none; the message says what the folder is instead.
    """
    for folder in (path / BEST, path):
        if (folder / RECIPE_FILE).is_file():
            return folder
    if not path.is_dir():
        what = "it is a file" if path.exists() else "there is no such folder"
    elif is_sweep(path):
        what = f"it is a sweep, whose students are in its trials ({path / 'trials'})"
    elif (scored := scored_run(path)) is not None:
        what = f"it is an evaluation, of the student of {scored}"
    elif (path / "run.json").is_file():
        what = f"it is a run whose student is not finished (it has no {BEST})"
    else:
        what = f"it has no {RECIPE_FILE}"
    raise MissingInput(
        f"{path} is not a student made by kdkit: {what}; give a finished run folder, or runs/NAME/student/best"
    )


def predict_file(
    recipe: WritingRecipe, folder: Path, path: str, *, note: Callable[[str], None], progress: Progress
) -> list[tuple[Any, str]]:
    """The id and the text for each row of a file.

    Args:
        recipe: The student's.
        folder: The student's.
        path: The file.
        note: Called with a sentence about rows that are left out.
        progress: Where progress is shown.

    Raises:
        MissingInput: There is no such file.
        UsageError: A row cannot be used, or there is none.
    """
    examples = prompts_of_file(recipe, path, note=note)
    device, student = _opened(recipe, folder)
    examples = answerable(examples, recipe.data, student.tokenizer, path, note=note)
    found = _written(student, recipe, examples, device=device, progress=progress)
    return [(example.meta[GIVEN_ID], each.text) for example, each in zip(examples, found, strict=True)]


def _opened(recipe: WritingRecipe, folder: Path) -> tuple[str, TextModel]:
    from kdkit.system import devices  # with torch, which a row that cannot be used is told without

    device = devices.pick(recipe.device)
    return device, recipe.student.open(folder, device=device)


def _written(
    student: TextModel, recipe: WritingRecipe, examples: Sequence[Example], *, device: str, progress: Progress
) -> list[Prediction]:
    """A prediction for each example, in their order."""
    from kdkit.data.rows import Encoding
    from kdkit.models import generation
    from kdkit.system import devices

    rows = Encoding(kind=recipe.student.model_kind, limits=recipe.tokens).prompts(examples, student.tokenizer)
    found: dict[str, Prediction] = {}
    with devices.enough_memory("predict"), progress.task("predict", total=len(rows), unit="rows") as task:
        for prediction in generation.predict(student, rows, recipe.generation, device=device):
            found[prediction.id] = prediction
            task.advance()
    return [found[example.id] for example in examples]
