"""The store: the folder where runs keep what they share, teachers and logits; and where it is.

cache/
teachers/KEY/       teachers that a run made (see `kdkit.teacherstore`)
logits/DIGEST/      the logits of a teacher (see `kdkit.cache`); these may be at a URL instead
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kdkit.cache.url import is_url
from kdkit.files import user_path

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.recipe import Recipe

STORE = "KDKIT_CACHE"


def store_of(recipe: Recipe, path: Path) -> Path:
    """The folder that runs share: the recipe's, else the environment's, else `cache` beside the run folder.

    A URL is no folder: at one there are only logits (`logits_of`).
    """
    named = next((each for each in _named_stores(recipe) if not is_url(each)), "")
    return user_path(named) if named else path.absolute().parent / "cache"


def logits_of(recipe: Recipe, store: Path) -> Path | str:
    """Where the logits of all teachers are kept: in the store, or at the URL that is named instead."""
    named = next(iter(_named_stores(recipe)), "")
    return f"{named.rstrip('/')}/logits" if is_url(named) else store / "logits"


def _named_stores(recipe: Recipe) -> list[str]:
    return [named for named in (recipe.cache.dir, os.environ.get(STORE, "")) if named]
