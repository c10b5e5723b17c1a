"""Where the store is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kdkit.system.files import user_path
from kdkit.system.url import is_url

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.recipe import Recipe

STORE = "KDKIT_CACHE"


def store_of(recipe: Recipe, path: Path) -> Path:
    """The folder that runs share: the recipe's, else the environment's, else `cache` beside the run folder.

    A URL is no folder: at one there are only logits (`logits_of`). The trials of a sweep share the store that a run
    beside the sweep has.
    """
    named = next((each for each in _named_stores(recipe) if not is_url(each)), "")
    return user_path(named) if named else (sweep_of(path) or path.absolute()).parent / "cache"


def sweep_of(path: Path) -> Path | None:
    """The folder of the sweep that a run folder is a trial of, if it is one."""
    trials = path.absolute().parent
    return trials.parent if trials.name == "trials" and (trials.parent / "sweep.json").is_file() else None


def logits_of(recipe: Recipe, store: Path) -> Path | str:
    """Where the logits of all teachers are kept: in the store, or at the URL that is named instead."""
    named = next(iter(_named_stores(recipe)), "")
    return f"{named.rstrip('/')}/logits" if is_url(named) else store / "logits"


def _named_stores(recipe: Recipe) -> list[str]:
    return [named for named in (recipe.cache.dir, os.environ.get(STORE, "")) if named]
