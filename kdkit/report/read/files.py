"""Files of a run folder as loose values: what is not there or of another kind is told apart, nothing more is asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from kdkit.errors import DamagedData
from kdkit.recipe import read_stored
from kdkit.system.parsing import DEEPEST_ROW, parse_json
from kdkit.system.reading import read_lines, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def as_table(value: object) -> Mapping[str, Any]:
    """The value where it is a table, else an empty one."""
    return value if isinstance(value, dict) else {}


def number(value: object) -> float | None:
    """The value as a finite number; None for null, NaN and everything that is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def text_of(path: Path, what: str, missing: list[str]) -> str | None:
    """The text of a file; None, and a sentence for `missing`, where there is none."""
    try:
        return read_text(path)
    except FileNotFoundError:
        missing.append(f"{what} is left out: there is no {path.parent.name}/{path.name} yet.")
        return None
    except UnicodeDecodeError as error:
        raise DamagedData(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); write it again") from error


def recipe_of(path: Path, text: str) -> Mapping[str, Any]:
    """The tables of a stored recipe's text."""
    try:
        return read_stored(text).tables
    except ValueError as error:
        raise DamagedData(f"{path} is not the TOML that kdkit wrote: {error}") from error


def json_of(path: Path, what: str, missing: list[str]) -> Mapping[str, Any]:
    """The object of a JSON file; an empty one, and a sentence for `missing`, where there is none."""
    text = text_of(path, what, missing)
    return {} if text is None else object_of(text, f"{path}")


def object_of(text: str, place: str) -> Mapping[str, Any]:
    """A JSON object."""
    try:
        value = parse_json(text, deepest=DEEPEST_ROW)
    except ValueError as error:
        raise DamagedData(f"{place} is not JSON: {error}; delete it and run the recipe again") from error
    if not isinstance(value, dict):
        raise DamagedData(f"{place} holds a {type(value).__name__} where an object belongs")
    return value


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank, split at newlines only: texts may hold other separators."""
    for index, line in enumerate(read_lines(path), 1):
        if line.strip():
            yield index, line


def objects_of(path: Path) -> Iterator[Mapping[str, Any]]:
    """The objects of a file of JSON lines."""
    for index, line in lines_of(path):
        yield object_of(line, f"{path}:{index}")
