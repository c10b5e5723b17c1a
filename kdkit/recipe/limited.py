"""A recipe on a few rows: `--limit`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from kdkit import plugins as plugin_loading
from kdkit.api.training import Training
from kdkit.api.values import SPLITS
from kdkit.errors import UsageError
from kdkit.plugins.fields import options_of
from kdkit.recipe.defaults import former_batch_size
from kdkit.recipe.document import read_document, with_overrides
from kdkit.recipe.sections import SWEEP

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence


ROWS = (("training", "rows"), ("teacher", "fine_tune", "rows"))
"""What says how many of the rows a training has."""


def limited(recipe: str | os.PathLike[str], overrides: Sequence[str], limit: int) -> tuple[str, ...]:
    """The overrides, and those that let a run take so many rows of each split at most, under a name of its own.

    What is wrong with the recipe is left to whoever loads it.

    Args:
        recipe: The recipe.
        overrides: `section.key=value`.
        limit: Rows of each split.

    Raises:
        MissingInput: There is no such recipe.
        UsageError: Its data set cannot be told to read fewer rows.
    """
    document, path = read_document(recipe)
    document, _ = with_overrides(document, overrides)
    table, default = document.table, former_batch_size(document.format) or Training().batch_size
    plugins, data = plugin_loading.load(), table.get("data")
    if not isinstance(data, dict):
        return tuple(overrides)
    component = data.get("name")
    if component not in plugins.names("datasets"):
        return tuple(overrides)
    known = {option.name for option in options_of(plugins.get("datasets", component).load())}
    keys = [f"{split}_rows" for split in SPLITS if f"{split}_rows" in known]
    if "train_rows" not in keys:
        raise UsageError(f'the data set "{component}" has no option train_rows, so --limit cannot shorten it')
    found: dict[str, object] = {f"data.{key}": limit for key in keys if not 0 < _whole(data.get(key)) <= limit}
    for section, content in (("training", table.get("training")), ("teacher.fine_tune", _fine_tune(table))):
        if isinstance(content, dict):
            found |= {f"{section}.{key}": value for key, value in _training(content, limit, default)}
    if "text" in known and not any(data.get(key) for key in ("source", "messages")):  # a row may be a long text
        found["tokens.max_blocks"] = 1
    sweep = table.get(SWEEP)
    sweep = sweep if isinstance(sweep, dict) else {}
    for key in ("grid", "zip", "points"):
        if (fewer := _within(sweep.get(key), (), limit)) != sweep.get(key):
            found[f"{SWEEP}.{key}"] = _inline(fewer)
    name = table.get("name", path.stem if path is not None else "recipe")
    return (*overrides, *(f"{key}={value}" for key, value in found.items()), f'name="{name}-limit-{limit}"')


def limit_of(recipe: Mapping[str, object]) -> int | None:
    """The rows of each split that `--limit` gave a resolved recipe, which its name says; None where it had no limit."""
    found = re.fullmatch(r".*-limit-(\d+)", str(recipe.get("name")), re.DOTALL)
    data = recipe.get("data")
    rows = _whole(data.get("train_rows")) if isinstance(data, dict) else 0
    return int(found[1]) if found is not None and 0 < rows <= int(found[1]) else None


def _training(content: Mapping[str, object], limit: int, default: int) -> Iterator[tuple[str, object]]:
    """What a training needs for so few rows; `default` is the batch size of one that names none."""
    if _whole(content.get("rows")) > limit:
        yield "rows", 0
    if (_whole(content.get("batch_size")) or default) > limit // 4:
        yield "batch_size", max(1, limit // 4)


def _fine_tune(table: dict[str, object]) -> object:
    teacher = table.get("teacher")
    return teacher.get("fine_tune") if isinstance(teacher, dict) else None


def _within(value: object, path: tuple[str, ...], limit: int) -> object:
    """What a sweep varies, with numbers of rows of at most the limit."""
    if isinstance(value, dict):
        return {key: _within(each, (*path, *key.split(".")), limit) for key, each in value.items()}
    if isinstance(value, list):
        return [_within(each, path, limit) for each in value]
    return min(_whole(value), limit) if path in ROWS else value


def _inline(value: object) -> str:
    """A value on one line of TOML."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {_inline(each)}' for key, each in value.items())}}}"
    return f"[{', '.join(map(_inline, value))}]" if isinstance(value, list) else json.dumps(value)


def _whole(value: object) -> int:
    return value if type(value) is int else 0
