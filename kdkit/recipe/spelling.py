"""Keys and values of a recipe as they are written on a command line: pieces of TOML without a document."""

from __future__ import annotations

import tomllib
from typing import Any

from kdkit.system.parsing import parse_toml


def key_path(key: str) -> tuple[str, ...]:
    """The keys in a dotted key; text that is not a TOML key is returned whole."""
    return parsed_key(key) or (key,)


def parsed_key(key: str) -> tuple[str, ...] | None:
    """The keys in a dotted key; None if it is not a TOML key."""
    try:
        table = parse_toml(f"{key} = 0")
    except ValueError:
        return None
    path: list[str] = []
    while isinstance(table, dict):
        if len(table) != 1:
            return None
        name, table = next(iter(table.items()))
        path.append(name)
    return tuple(path)


def toml_value(text: str) -> Any:
    """A value from the command line: read as TOML if it is TOML, else as text.

    Raises:
        Beyond: It is nested too deeply, or a whole number is beyond 64 bits.
    """
    try:
        table = parse_toml(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = table["value"]
    # A line break in the text could bring keys of its own, and no option is a date.
    return value if len(table) == 1 and isinstance(value, bool | int | float | str | list | dict) else text
