"""Recipes that kdkit writes into folders and reads again: `recipe.toml`, `sweep.toml`, `kdkit_recipe.toml`.

They outlive the run, and so say the format that they are in: `kdkit_recipe = 3` is today's. Format 2 had other defaults
(see `kdkit.recipe.defaults`), and format 1, which has no number, had other names of options too (see
`kdkit.recipe.former_names`). A recipe that a person writes is of today's format, unless it says another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.recipe.former_names import todays
from kdkit.system.parsing import parse_toml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY = "kdkit_recipe"
FORMAT = 3
READABLE = (2, FORMAT)
"""Formats of today's names."""
_FIRST = 1
RUNS = "recipe.toml"
KEPT: Mapping[str, str] = {RUNS: "run.json", "sweep.toml": "sweep.json"}
"""The recipe in the folder of a run, of a sweep, and what lies beside it. A sweep's is as a person wrote it."""


@attrs.frozen
class StoredRecipe:
    """A recipe written by kdkit.

    Attributes:
        tables: The recipe under today's names.
        format: The format that it was written in, which decides what options have that it leaves out.
    """

    tables: dict[str, Any]
    format: int

    @property
    def is_former(self) -> bool:
        """Whether it was written with former names: its digest is not that of the same recipe today."""
        return self.format == _FIRST


def stored_text(tables: Mapping[str, Any], format_: int = FORMAT) -> str:
    """The text of a recipe to be stored."""
    import tomli_w

    return tomli_w.dumps({KEY: format_, **tables})


def read_stored(text: str) -> StoredRecipe:
    """A stored recipe from its text.

    Raises:
        ValueError: It is not TOML, or a later kdkit wrote it.
    """
    tables, number = apart(parse_toml(text))
    return StoredRecipe(tables=todays(tables), format=_FIRST) if number is None else StoredRecipe(tables, number)


def is_kept(path: Path, *names: str) -> bool:
    """Whether a file is the recipe that kdkit keeps in the folder of a run or of a sweep, or of these by its name."""
    return path.name in (names or KEPT) and (path.parent / KEPT[path.name]).is_file()


def apart(tables: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
    """The tables of a recipe without the number of its format, and that; None where it has none.

    Raises:
        ValueError: There is no such format, or not yet.
    """
    number = tables.get(KEY)
    if number is not None and (type(number) is not int or number not in READABLE):
        raise ValueError(
            f"{KEY} is {number!r}, but this kdkit reads recipes of the formats {' and '.join(map(str, READABLE))}; "
            "use the kdkit that wrote this one"
        )
    return {key: value for key, value in tables.items() if key != KEY}, number
