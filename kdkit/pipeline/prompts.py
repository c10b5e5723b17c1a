"""Rows for which a distilled student is to write: those of a file, and those that Python has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.interfaces import RowSource
from kdkit.api.values import Example
from kdkit.data.chats import ChatTemplate
from kdkit.data.files import file_rows
from kdkit.data.given import checked_prompt, reason_of
from kdkit.data.jsonlines import DropCount
from kdkit.data.row_maker import RowMaker
from kdkit.data.row_options import RowOptions
from kdkit.errors import PluginError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kdkit.api.interfaces import DataSource, Tokenizer
    from kdkit.recipe import WritingRecipe

GIVEN_ID = "given_id"
"""Where an example's `meta` has the id that its row gave, or the row's number."""
_NOT_ROWS = "rows must be a list"


def prompts_of_file(recipe: WritingRecipe, path: str, *, note: Callable[[str], None]) -> list[Example]:
    """The inputs that the rows of a file make, in their order.

    Args:
        recipe: The student's.
        path: The file.
        note: Called with a sentence about rows that are left out.

    Raises:
        MissingInput: There is no such file.
        UsageError: A row cannot be used, and the recipe does not leave such rows out; or there is none.
    """
    options = recipe.data if isinstance(recipe.data, RowOptions) else None
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
        made = _example(recipe, row.place, row.values, number=row.number)
        if isinstance(made, Example):
            examples.append(made)
        elif skip is not None:
            skip.add(made, row.place)
        else:
            advice = "; fill it, or leave such rows out with -o data.skip_broken=true" if options is not None else ""
            raise UsageError(f"{row.place}: the row cannot be used because {made}{advice}")
    for drop in skip.drops() if skip is not None else ():
        note(f"{path}: {reason_of(drop)}")
    if not examples:
        raise UsageError(f"{path} has no rows; give --input a file with one row for each text that you want")
    return examples


def answerable(
    examples: list[Example], source: DataSource | None, tokenizer: Tokenizer, path: str, *, note: Callable[[str], None]
) -> list[Example]:
    """The rows without the conversations that the chat template refuses, where the recipe leaves out broken rows."""
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
        note(f"{path}: {reason_of(drop)}")
    if not kept:
        raise UsageError(f"{path} has no row that the chat template of the student takes")
    return kept


def prompts_of(recipe: WritingRecipe, rows: Iterable[object]) -> list[Example]:
    """The inputs that rows of Python make, in their order: see `kdkit.predict`.

    Raises:
        UsageError: A row cannot be used, or `rows` is one row.
    """
    if isinstance(rows, str | bytes | Mapping):
        raise UsageError(f"{_NOT_ROWS}, is one {_kind(rows)}; put it in a list: [row]")
    if type(rows).__name__ == "DataFrame":  # which would give its columns' names
        raise UsageError(f'{_NOT_ROWS}, is a DataFrame; give its rows as dictionaries: frame.to_dict("records")')
    try:
        every = list(rows)
    except TypeError:
        raise UsageError(f"{_NOT_ROWS}, is of type {type(rows).__name__}") from None
    is_chat = getattr(recipe.data, "form", "pair") == "chat"
    if is_chat and every and all(isinstance(row, Mapping) and row.keys() >= {"role", "content"} for row in every):
        raise UsageError(f"{_NOT_ROWS} of conversations, is one conversation; put it in a list: [messages]")
    examples = []
    for number, row in enumerate(every):
        place = f"rows[{number}]"
        made = _of_python(recipe, place, row, number=number, is_chat=is_chat)
        if isinstance(made, str):
            advice = "; give it, or the whole input as a text" if isinstance(row, Mapping) and not is_chat else ""
            raise UsageError(f"{place} cannot be used because {made}{advice}")
        examples.append(made)
    return examples


def _of_python(recipe: WritingRecipe, place: str, row: object, *, number: int, is_chat: bool) -> Example | str:
    """The input that a text, a conversation or a mapping makes, or why there is none."""
    if isinstance(row, Mapping):
        return _example(recipe, place, row, number=number)
    if isinstance(row, str) and not is_chat:
        return _numbered(Example(id=place, source=row, target=""), number)
    if not isinstance(row, str | list | tuple):
        return f"it is {_kind(row)}, and not a text, a list of messages or a mapping with fields"
    if not is_chat:
        return "it is a list, and the student was not trained on conversations; give a text"
    messages = [{"role": "user", "content": row}] if isinstance(row, str) else list(row)
    maker = RowMaker(templates={}, messages="messages", template=getattr(recipe.data, "template", None))
    made = maker.conversation(place, {"messages": messages}, to_answer=True)
    return made if isinstance(made, str) else _numbered(made, number)


def _example(recipe: WritingRecipe, place: str, values: Mapping[str, Any], *, number: int) -> Example | str:
    """The input made from a row, or why there is none; its id is its place: repeated ids do no harm."""
    made: Example | str = "it lacks a field `source`"
    if isinstance(recipe.data, RowSource):
        made = checked_prompt(recipe.data.prompt(place, values), owner="the run's data set")
    if isinstance(made, str) and isinstance(whole := values.get("source"), str):
        made = Example(id=place, source=whole, target="")
    if isinstance(made, str):
        if recipe.no_data:
            raise PluginError(
                f"{place}: the row has no field `source`, and its data set cannot read it: {recipe.no_data}"
            )
        return made
    return _numbered(made, number, values.get("id"))


def _numbered(example: Example, number: int, given: object = None) -> Example:
    return attrs.evolve(example, meta={**example.meta, GIVEN_ID: str(number) if given is None else given})


def _kind(value: object) -> str:
    return "None" if value is None else f"{'mapping' if isinstance(value, Mapping) else type(value).__name__}"
