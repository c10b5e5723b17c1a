"""Where the store is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kdkit.api.options import STORE_VARIABLE
from kdkit.errors import UsageError
from kdkit.recipe.former_names import STORE_VARIABLE as FORMER
from kdkit.system.files import user_path
from kdkit.system.url import is_url

if TYPE_CHECKING:
    from pathlib import Path


STORE = STORE_VARIABLE


def store_of(named: str, path: Path) -> Path:
    """The folder that runs share: what a recipe names, else the environment, else `cache` beside the run folder.

    A URL is no folder: at one there are only logits (`logits_of`). The trials of a sweep share the store that a run
    beside the sweep has.
    """
    folder = next((each for each in _named(named) if not is_url(each)), "")
    return user_path(folder) if folder else (sweep_of(path) or path.absolute()).parent / "cache"


def sweep_of(path: Path) -> Path | None:
    """The folder of the sweep that a run folder is a trial of, if it is one."""
    trials = path.absolute().parent
    return trials.parent if trials.name == "trials" and (trials.parent / "sweep.json").is_file() else None


def logits_of(named: str, store: Path) -> Path | str:
    """Where the logits of all teachers are kept: in the store, or at the URL that is named instead."""
    place = next(iter(_named(named)), "")
    return f"{place.rstrip('/')}/logits" if is_url(place) else store / "logits"


def _named(named: str) -> list[str]:
    if FORMER in os.environ and STORE not in os.environ:
        raise UsageError(f"the environment variable {FORMER} is now called {STORE}; rename it, or unset it")
    return [each for each in (named, os.environ.get(STORE, "")) if each]
