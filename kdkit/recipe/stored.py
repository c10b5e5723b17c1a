"""Recipes that kdkit writes into folders and reads again: `recipe.toml`, `sweep.toml`, `kdkit_recipe.toml`.

They outlive the run, and so say which names their options have: `kdkit_recipe = 2` for today's. A recipe without that
number is of format 1 (see `kdkit.recipe.former_names`). A recipe that a person writes has today's names without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.recipe.former_names import todays
from kdkit.system.parsing import parse_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "kdkit_recipe"
FORMAT = 2


@attrs.frozen
class StoredRecipe:
    """A recipe written by kdkit.

    Attributes:
        tables: The recipe under today's names.
        is_former: Whether it was written with former names: its digest is not that of the same recipe today.
    """

    tables: dict[str, Any]
    is_former: bool


def stored_text(tables: Mapping[str, Any]) -> str:
    """The text of a recipe to be stored."""
    import tomli_w

    return tomli_w.dumps({KEY: FORMAT, **tables})


def read_stored(text: str) -> StoredRecipe:
    """A stored recipe from its text.

    Raises:
        ValueError: It is not TOML, or a later kdkit wrote it.
    """
    tables = parse_toml(text)
    is_former = KEY not in tables
    tables = without_format(tables)
    return StoredRecipe(tables=todays(tables) if is_former else tables, is_former=is_former)


def without_format(tables: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a recipe without the number of its format, if it has one.

    Raises:
        ValueError: The number is not that of today's format.
    """
    number = tables.get(KEY, FORMAT)
    if number != FORMAT or isinstance(number, bool):
        raise ValueError(
            f"{KEY} is {number!r}, but this kdkit reads recipes of format {FORMAT}; use the kdkit that wrote this one"
        )
    return {key: value for key, value in tables.items() if key != KEY}
