"""Keys and values of a recipe as they are written on a command line: pieces of TOML without a document."""

from __future__ import annotations

import tomllib
from typing import Any

from kdkit.system.parsing import parse_toml


def key_path(key: str) -> tuple[str, ...]:
    """The keys that a dotted one is made of; what is no key of TOML is one by itself."""
    return parsed_key(key) or (key,)


def parsed_key(key: str) -> tuple[str, ...] | None:
    """The keys that a dotted one is made of; None where it is no key of TOML."""
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
    """A value of the command line: read as TOML; what is no TOML is taken as text.

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
